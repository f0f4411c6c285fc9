"""Shards of pairs: tar files in webdataset's layout, written atomically, checked and read whole.

Sample i has the key `f"{i:09d}"` and the members `KEY.embedding.npy` `[E]`, optionally `KEY.jpg`, and
`KEY.latent.npy` `[L, D]`, arrays in float16.

Reading goes past `webdataset` and `tarfile`: the members are tiny and of equal shape, and for 50,000 pairs parsing
each through webdataset takes 6.8 s on one core, tarfile 2.8 s, walking the headers here 0.2 s. The walk needs no
defence of its own against damage, because a shard's SHA-256 is compared first.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from text2latent.configs.errors import InputError
from text2latent.data.manifest import (
    Manifest,
    ShardRecord,
    gather_records,
    read_manifest,
    record_path,
    shard_name,
    write_atomic,
    write_json,
)
from text2latent.data.stats import Moments, PairStatistics, save_statistics

__all__ = [
    "encode_shard",
    "finish_dataset",
    "key_of",
    "load_pairs",
    "publish_shard",
    "read_manifest",
    "read_shard",
    "require_complete",
]

BLOCK = 512  # bytes of a tar block
DTYPE = np.dtype("<f2")

Pairs = tuple[NDArray[np.float16], NDArray[np.float16]]


def key_of(sample: int) -> str:
    """Key of sample number `sample`."""
    return f"{sample:09d}"


def _npy(array: NDArray[np.float16]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


@lru_cache
def _npy_header(shape: tuple[int, ...]) -> bytes:
    """Bytes that come before the values in an npy file of float16 and `shape`."""
    whole = _npy(np.zeros(shape, DTYPE))
    return whole[: len(whole) - DTYPE.itemsize * int(np.prod(shape))]


def encode_shard(
    start: int,
    latents: NDArray[np.float16],
    embeddings: NDArray[np.float16],
    images: Sequence[bytes] | None = None,
) -> bytes:
    """Bytes of a shard; the same pairs give the same bytes.

    Args:
        start: number of the first sample.
        latents: ``[N, L, D]`` float16.
        embeddings: ``[N, E]`` float16.
        images: N encoded JPEG files, or None.
    """
    import webdataset

    latent_header, embedding_header = _npy_header(latents.shape[1:]), _npy_header(embeddings.shape[1:])
    buffer = io.BytesIO()
    with webdataset.TarWriter(buffer, mtime=0, encoder=False) as writer:
        for row, (latent, embedding) in enumerate(zip(latents, embeddings, strict=True)):
            sample = {
                "__key__": key_of(start + row),
                "latent.npy": latent_header + latent.astype(DTYPE).tobytes(),
                "embedding.npy": embedding_header + embedding.astype(DTYPE).tobytes(),
            }
            writer.write(sample if images is None else sample | {"jpg": images[row]})
    return buffer.getvalue()


def publish_shard(folder: Path, index: int, count: int, data: bytes) -> ShardRecord:
    """Write shard `index` of `count` pairs. It appears whole, after its record, or not at all.

    Raises:
        InputError: when it can't be written.
    """
    record = ShardRecord(shard_name(index), count, hashlib.sha256(data).hexdigest())
    write_json(record_path(folder, record.name), vars(record))
    write_atomic(folder / record.name, data)
    return record


def read_bytes(folder: Path, record: ShardRecord) -> bytes:
    """Bytes of a shard, compared with its record.

    Raises:
        InputError: when the shard is missing, can't be read, or its SHA-256 is another.
    """
    path = folder / record.name
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: shard is missing; run sample.py again to make it") from error
    except OSError as error:
        raise InputError(f"cannot read shard {path}: {error.strerror or error}") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != record.sha256:
        raise InputError(
            f"{path}: shard is truncated, corrupt or of another dataset: expected SHA-256 {record.sha256[:12]}, "
            f"got {digest[:12]} in {len(data)} bytes; run sample.py again to make it anew"
        )
    return data


def is_whole(folder: Path, record: ShardRecord) -> bool:
    """Whether a shard is there with the bytes that its record tells of."""
    try:
        read_bytes(folder, record)
    except InputError:
        return False
    return True


def _members(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size in bytes of each member of a USTAR archive."""
    position = 0
    while position < len(data) and data[position]:
        name = data[position : position + 100].rstrip(b"\0").decode()
        size = int(data[position + 124 : position + 135], 8)
        position += BLOCK
        yield name, position, size
        position += -(-size // BLOCK) * BLOCK


def _values(data: bytes, offset: int, size: int, shape: tuple[int, ...]) -> NDArray[np.float16]:
    header, length = _npy_header(shape), int(np.prod(shape))
    if size != len(header) + DTYPE.itemsize * length or not data.startswith(header, offset):
        raise ValueError(f"expected float16 {list(shape)}")
    return np.frombuffer(data, DTYPE, length, offset + len(header)).reshape(shape)


def _unpack(data: bytes, samples: range, manifest: Manifest) -> Pairs:
    latents = np.empty((len(samples), *manifest.latent_shape), np.float16)
    embeddings = np.empty((len(samples), manifest.embedding_dim), np.float16)
    targets = {"latent.npy": latents, "embedding.npy": embeddings}
    seen = dict.fromkeys(targets, 0)
    for name, offset, size in _members(data):
        key, _, field = name.partition(".")
        if field in targets:
            row = seen[field]
            if row == len(samples) or key != key_of(samples[row]):
                raise ValueError(f"{name}: expected the keys {key_of(samples[0])} to {key_of(samples[-1])} in order")
            targets[field][row] = _values(data, offset, size, targets[field].shape[1:])
            seen[field] = row + 1
    if set(seen.values()) != {len(samples)}:
        raise ValueError(f"expected {len(samples)} pairs, found {seen}")
    return latents, embeddings


def read_shard(folder: str | Path, index: int, manifest: Manifest) -> Pairs:
    """Latents ``[n, L, D]`` and embeddings ``[n, E]``, float16, of shard `index`, in key order.

    Raises:
        InputError: when the shard is missing, truncated, corrupt or isn't of this dataset; the message names it.
    """
    record = manifest.finished().get(index) if index < manifest.num_shards else None
    if record is None:
        raise InputError(f"{Path(folder) / shard_name(index)}: shard is not in the manifest; run sample.py again")
    return _read_recorded(Path(folder), index, record, manifest)


def _read_recorded(folder: Path, index: int, record: ShardRecord, manifest: Manifest) -> Pairs:
    data = read_bytes(folder, record)
    try:
        return _unpack(data, manifest.shard_range(index), manifest)
    except (ValueError, IndexError) as error:
        raise InputError(f"{folder / record.name}: not a shard of this dataset: {error}") from error


def require_complete(folder: str | Path, manifest: Manifest) -> None:
    """Refuse a dataset that lacks shards.

    Raises:
        InputError: with the number of pairs there and expected.
    """
    if len(manifest.finished()) < manifest.num_shards:
        raise InputError(
            f"{folder}: holds {manifest.num_finished} of {manifest.num_pairs} pairs; run sample.py again to finish it"
        )


def iterate_shards(folder: str | Path, manifest: Manifest, indices: Sequence[int] | None = None) -> Iterator[Pairs]:
    """Read shards one after another, all in order by default; see `read_shard`."""
    records = manifest.finished()
    for index in range(manifest.num_shards) if indices is None else indices:
        if index not in records:
            raise InputError(f"{Path(folder) / shard_name(index)}: shard is not in the manifest; run sample.py again")
        yield _read_recorded(Path(folder), index, records[index], manifest)


def load_pairs(folder: str | Path) -> Pairs:
    """All pairs of a finished dataset, in key order.

    Returns:
        Latents ``[N, L, D]`` (``[N, 1, w_dim]`` for the layout ``w``) and embeddings ``[N, E]``, float16.

    Raises:
        InputError: when the folder holds no finished dataset, or a shard is missing, truncated, corrupt or foreign.
    """
    manifest = read_manifest(folder)
    require_complete(folder, manifest)
    latents = np.empty((manifest.num_pairs, *manifest.latent_shape), np.float16)
    embeddings = np.empty((manifest.num_pairs, manifest.embedding_dim), np.float16)
    start = 0
    for shard_latents, shard_embeddings in iterate_shards(folder, manifest):
        rows = slice(start, start + len(shard_latents))
        latents[rows], embeddings[rows] = shard_latents, shard_embeddings
        start = rows.stop
    return latents, embeddings


def finish_dataset(folder: str | Path) -> PairStatistics:
    """Read a complete dataset back once, write its statistics and gather its records in the manifest.

    The statistics follow the order of the shards, so they don't depend on who made which shard.

    Raises:
        InputError: when a shard is missing or damaged, or the results can't be written.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    require_complete(folder, manifest)
    latents = Moments.of(np.empty((0, *manifest.latent_shape)))
    embeddings = Moments.of(np.empty((0, manifest.embedding_dim)))
    for shard_latents, shard_embeddings in iterate_shards(folder, manifest):
        latents, embeddings = latents + Moments.of(shard_latents), embeddings + Moments.of(shard_embeddings)
    statistics = PairStatistics.from_moments(latents, embeddings, manifest.latent_shape)
    save_statistics(folder, statistics)
    gather_records(folder, manifest)
    return statistics
