"""What a dataset of pairs is: who made it, how, and which shards are finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from text2latent.common.errors import InputError
from text2latent.models.sources.identity import Identity

FORMAT = "text2latent-pairs"
VERSION = 1


@dataclass(frozen=True)
class ShardRecord:
    """A finished shard: its file name, number of pairs and the SHA-256 of its bytes."""

    name: str
    count: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Description of a dataset of pairs.

    Attributes:
        generator, clip: identities of the networks that made the pairs.
        latent_layout: ``w``, one StyleGAN w per image, broadcast to all layers; ``w_plus`` or ``z``, see
            `text2latent.models.generators.layouts`.
        latent_shape: shape of one stored latent, ``(1, w_dim)`` for the layout ``w``.
        embedding_dim: length of a CLIP embedding.
        dtype: of the stored arrays, ``float16``.
        seed: sample i is drawn from the seed ``seed + i``.
        truncation: psi of the truncation trick, 1 for none.
        precision: ``32`` or ``bf16``, of synthesis and embedding.
        image_format: ``jpg`` where the images are kept, else None.
        shard_size: pairs per shard; the last shard may hold fewer.
        num_pairs: pairs in the finished dataset.
        shards: records of the finished shards in order.
    """

    generator: Identity
    clip: Identity
    latent_layout: str
    latent_shape: tuple[int, ...]
    embedding_dim: int
    dtype: str
    seed: int
    truncation: float
    precision: str
    image_format: str | None
    shard_size: int
    num_pairs: int
    shards: tuple[ShardRecord, ...] = ()

    @property
    def num_shards(self) -> int:
        return -(-self.num_pairs // self.shard_size)

    @property
    def num_finished(self) -> int:
        return sum(record.count for record in self.shards)

    def shard_range(self, index: int) -> range:
        """Sample numbers that belong into shard `index`."""
        start = index * self.shard_size
        return range(start, min(start + self.shard_size, self.num_pairs))

    def finished(self) -> dict[int, ShardRecord]:
        """Records of the finished shards that hold all their samples, by shard index."""
        records = {record.name: record for record in self.shards}
        named = ((index, records.get(shard_name(index))) for index in range(self.num_shards))
        return {index: record for index, record in named if record and record.count == len(self.shard_range(index))}

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of all that the manifest says, whatever its file's layout."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    @property
    def origin(self) -> str:
        """Hex SHA-256 of what decides each pair, which stays the same when a dataset grows."""
        made = {key: value for key, value in self.to_dict().items() if key not in ("num_pairs", "shards")}
        return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        networks = {"generator": self.generator.to_dict(), "clip": self.clip.to_dict()}
        return {"format": FORMAT, "version": VERSION, **asdict(self), **networks}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Manifest:
        """Read what `to_dict` wrote.

        Raises:
            InputError: for another format or version, and for missing or malformed values, all named at once.
        """
        if data.get("format") != FORMAT or data.get("version") != VERSION:
            found = f"{data.get('format')!r} version {data.get('version')!r}"
            raise InputError(f"expected format {FORMAT!r} version {VERSION}, got {found}")
        missing = [field.name for field in fields(cls) if field.name not in data]
        if missing:
            raise InputError(f"{', '.join(missing)}: missing")
        try:
            return cls(**{field.name: _READERS[field.name](data[field.name]) for field in fields(cls)})
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(f"malformed value: {error}") from error


def _positive(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"expected a positive integer, got {value!r}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a string, got {value!r}")
    return value


def _record(value: Any) -> ShardRecord:
    return ShardRecord(_text(value["name"]), _positive(value["count"]), _text(value["sha256"]))


_READERS: dict[str, Callable[[Any], Any]] = {
    "generator": Identity.from_dict,
    "clip": Identity.from_dict,
    "latent_layout": _text,
    "latent_shape": lambda value: tuple(_positive(size) for size in value),
    "embedding_dim": _positive,
    "dtype": _text,
    "seed": int,
    "truncation": float,
    "precision": _text,
    "image_format": lambda value: None if value is None else _text(value),
    "shard_size": _positive,
    "num_pairs": _positive,
    "shards": lambda value: tuple(_record(record) for record in value),
}


def shard_name(index: int) -> str:
    return f"shard-{index:06d}.tar"
