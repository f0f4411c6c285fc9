"""Identity of a pretrained network: a name for people; for machines a SHA-256 of its weights, and its settings."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from text2latent.common.errors import InputError

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Identity:
    """Identity of a pretrained network.

    Attributes:
        name: what people call it, e.g. ``faces`` or a folder's name.
        source: where it was loaded from (zoo name, path or hub id); it may differ between machines.
        sha256: hex digest of the weights file, or of all of them in order; this alone decides equality of weights. A
            generator folder that holds another file's weights has that file's, see `generators.folder.folder_sha256`.
            Empty where nobody has written it down, as in files of other programs.
        settings: by name, all else that its results depend on, such as a CLIP's activation, preprocessing, context
            length and tokenizer. Empty where the weights decide all, and in records that were written before there
            were settings in them.
        arguments: plain values that the user said of the source, as `--clip-args`; with them it is loaded again.
        parents: names and digests of the networks that it was tuned from, the nearest first; what was made with one of
            them may be used with it, see `require_same`.
    """

    name: str
    source: str
    sha256: str
    settings: Mapping[str, str] = field(default_factory=dict, hash=False)
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    parents: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary with `name`, `source`, `sha256`, and what else it has."""
        found: dict[str, Any] = {"name": self.name, "source": self.source, "sha256": self.sha256}
        parents = [list(parent) for parent in self.parents]
        more = {"settings": dict(self.settings), "arguments": dict(self.arguments), "parents": parents}
        return found | {key: value for key, value in more.items() if value}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Identity:
        """Read what `to_dict` wrote.

        Raises:
            InputError: when a key is missing or a value is of another type.
        """
        keys = ("name", "source", "sha256")
        wrong = [key for key in keys if not isinstance(data.get(key), str)]
        if wrong:
            raise InputError(f"identity: {', '.join(wrong)}: expected strings, got {dict(data)!r}")
        settings, arguments = (data.get(key, {}) for key in ("settings", "arguments"))
        if not (isinstance(settings, Mapping) and isinstance(arguments, Mapping)):
            raise InputError(f"identity: settings, arguments: expected keys and values, got {dict(data)!r:.300}")
        texts = {str(key): str(value) for key, value in settings.items()}
        named = {key: data[key] for key in keys}
        return cls(**named, settings=texts, arguments=dict(arguments), parents=read_parents(data.get("parents", ())))

    def differences(self, other: Identity) -> list[str]:
        """What sets another network apart from this one, a phrase each; none where the two are the same.

        Settings are compared where both have them: a record from before has weights alone, and is taken by these.
        """
        if self.sha256 != other.sha256:
            return ["the weights are not the same"]
        names = sorted({*self.settings, *other.settings}) if self.settings and other.settings else []
        return [
            f"{name} {self.settings.get(name, 'unknown')} there, {other.settings.get(name, 'unknown')} here"
            for name in names
            if self.settings.get(name) != other.settings.get(name)
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.sha256[:12] or 'no checksum known'})"


def read_parents(written: Any) -> tuple[tuple[str, str], ...]:
    """Parents from what `Identity.to_dict` wrote.

    Raises:
        InputError: for anything else.
    """
    pairs = list(written) if isinstance(written, (list, tuple)) else [written]
    if not all(isinstance(pair, (list, tuple)) and [type(part) for part in pair] == [str, str] for pair in pairs):
        raise InputError(f"identity: parents: expected pairs of name and digest, got {written!r:.300}")
    return tuple((name, digest) for name, digest in pairs)


def sha256_of(path: str | Path, chunk: int = CHUNK_BYTES) -> str:
    """Hex SHA-256 of a file's bytes, read `chunk` bytes at a time."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(chunk):
            digest.update(block)
    return digest.hexdigest()


def require_same(expected: Identity, actual: Identity, what: str) -> None:
    """Refuse a network other than the expected one, or one tuned from it; warns of that, and of unknown checksums.

    Args:
        expected: the identity that something was made with.
        actual: the identity at hand.
        what: what is compared, for the message, e.g. ``generator``.

    Raises:
        InputError: when weights or settings differ; the message names both networks and what differs.
    """
    if not expected.sha256:
        doubt = f"{what}: it is not known whether {actual} is {expected.name or 'the one'} that was used, of which"
        warnings.warn(f"{doubt} no checksum is known", stacklevel=2)
    elif expected.sha256 in [digest for _, digest in actual.parents]:
        warnings.warn(f"{what}: {actual} was tuned from {expected}, which this prior was trained with", stacklevel=2)
    elif differing := expected.differences(actual):
        told = "" if expected.sha256 != actual.sha256 else "the weights are the same, but "
        raise InputError(f"{what}: expected {expected}, got {actual}: {told}{'; '.join(differing)}")
