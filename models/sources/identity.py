"""Identity of a set of weights: a name for people, a SHA-256 for machines."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
    """

    name: str
    source: str
    sha256: str

    def to_dict(self) -> dict[str, str]:
        """A JSON-ready dictionary with the keys ``name``, ``source``, ``sha256``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Identity:
        """Read what `to_dict` wrote.

        Raises:
            InputError: when a key is missing or a value isn't a string.
        """
        keys = ("name", "source", "sha256")
        wrong = [key for key in keys if not isinstance(data.get(key), str)]
        if wrong:
            raise InputError(f"identity: {', '.join(wrong)}: expected strings, got {dict(data)!r}")
        return cls(**{key: data[key] for key in keys})

    def __str__(self) -> str:
        return f"{self.name} ({self.sha256[:12] or 'no checksum known'})"


def sha256_of(path: str | Path, chunk: int = CHUNK_BYTES) -> str:
    """Hex SHA-256 of a file's bytes, read `chunk` bytes at a time."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(chunk):
            digest.update(block)
    return digest.hexdigest()


def require_same(expected: Identity, actual: Identity, what: str) -> None:
    """Refuse weights other than the expected ones; warns where no checksum is known of these.

    Args:
        expected: the identity that something was made with.
        actual: the identity at hand.
        what: what is compared, for the message, e.g. ``generator``.

    Raises:
        InputError: when the digests differ; the message names both.
    """
    if not expected.sha256:
        doubt = f"{what}: it is not known whether {actual} is {expected.name or 'the one'} that was used, of which"
        warnings.warn(f"{doubt} no checksum is known", stacklevel=2)
    elif expected.sha256 != actual.sha256:
        raise InputError(f"{what}: expected {expected}, got {actual}: the weights are not the same")
