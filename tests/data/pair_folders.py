"""Datasets that tests of data read, and ways to damage their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from text2latent.data.manifest import Manifest
from text2latent.data.records import open_dataset
from text2latent.data.shards import encode_shard, publish_shard
from text2latent.data.stats import finish_dataset
from text2latent.models.sources.identity import Identity

MANIFEST = Manifest(
    generator=Identity("faces", "faces", "a" * 64),
    clip=Identity("small-clip", "faces", "b" * 64),
    latent_layout="w",
    latent_shape=(1, 8),
    embedding_dim=5,
    dtype="float16",
    seed=0,
    truncation=1.0,
    precision="32",
    image_format=None,
    shard_size=16,
    num_pairs=50,
)
NUMBERS = Identity("numbers", "numbers", "0" * 64)


def write_numbers(folder: Path, num_pairs: int, shard_size: int, width: int = 4) -> Path:
    """A dataset whose pair i holds the number i in its latent and -i in its embedding."""
    manifest = Manifest(NUMBERS, NUMBERS, "w", (1, width), width, "float16", 0, 1.0, "32", None, shard_size, num_pairs)
    open_dataset(folder, manifest)
    for index in range(manifest.num_shards):
        rows = manifest.shard_range(index)
        numbers = np.repeat(np.arange(rows.start, rows.stop, dtype=np.float16)[:, None], width, axis=1)
        publish_shard(folder, index, len(rows), encode_shard(rows.start, numbers[:, None], -numbers))
    finish_dataset(folder)
    return folder


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
