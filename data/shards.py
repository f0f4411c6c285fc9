"""Shards of pairs: tar files in webdataset's layout, written atomically, checked and read whole.

Sample i has the key `f"{i:09d}"` and the members `KEY.embedding.npy` `[E]`, optionally `KEY.jpg`, and
`KEY.latent.npy` `[L, D]`, arrays in float16. A member's owner and group are the first digits of the SHA-256 of the
generator and of CLIP, so that a stray shard shows whose it is.

Reading goes past `webdataset` and `tarfile`: the members are tiny and of equal shape, and for 50,000 pairs parsing
each through webdataset takes 6.8 s on one core, tarfile 2.8 s, walking the headers here 0.2 s. The walk needs no
defence of its own against damage, because a shard's SHA-256 is compared first.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from text2latent.common.errors import InputError
from text2latent.data.manifest import Manifest, ShardRecord, shard_name
from text2latent.data.records import encode_json, read_manifest, record_name
from text2latent.data.storage import Store, open_store
from text2latent.models.sources.identity import Identity

BLOCK = 512  # bytes of a tar block
DTYPE = np.dtype("<f2")
OWNER_DIGITS = 16  # of a SHA-256, as many as show well in a listing; the field of a tar holds 32
READS = 2

Pairs = tuple[NDArray[np.float16], NDArray[np.float16]]


def key_of(sample: int) -> str:
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
    generator: Identity | None = None,
    clip: Identity | None = None,
) -> bytes:
    """Bytes of a shard; the same pairs give the same bytes.

    Args:
        start: number of the first sample.
        latents: ``[N, L, D]`` float16.
        embeddings: ``[N, E]`` float16.
        images: N encoded JPEG files, or None.
        generator, clip: whose pairs these are; None for random weights.
    """
    import webdataset

    latent_header, embedding_header = _npy_header(latents.shape[1:]), _npy_header(embeddings.shape[1:])
    buffer = io.BytesIO()
    with webdataset.TarWriter(buffer, _owner(generator), _owner(clip), mtime=0, encoder=False) as writer:
        for row, (latent, embedding) in enumerate(zip(latents, embeddings, strict=True)):
            sample = {
                "__key__": key_of(start + row),
                "latent.npy": latent_header + latent.astype(DTYPE).tobytes(),
                "embedding.npy": embedding_header + embedding.astype(DTYPE).tobytes(),
            }
            writer.write(sample if images is None else sample | {"jpg": images[row]})
    return buffer.getvalue()


def _owner(identity: Identity | None) -> str:
    return "" if identity is None else identity.sha256[:OWNER_DIGITS]


def publish_shard(place: str | Path | Store, index: int, count: int, data: bytes) -> ShardRecord:
    """Write shard `index` of `count` pairs. It appears whole, after its record, or not at all.

    Raises:
        InputError: when it can't be written.
    """
    store = open_store(place)
    record = ShardRecord(shard_name(index), count, hashlib.sha256(data).hexdigest())
    store.write(record_name(record), encode_json(vars(record)))
    store.write(record.name, data)
    return record


def read_bytes(place: str | Path | Store, record: ShardRecord) -> bytes:
    """Bytes of a shard, compared with its record.

    Raises:
        InputError: when the shard is missing, can't be read, or its SHA-256 is another.
    """
    store = open_store(place)
    path = store.locate(record.name)
    for _ in range(READS):  # a transfer may spoil what is whole where it lies
        try:
            data = store.read(record.name)
        except FileNotFoundError as error:
            raise InputError(f"{path}: shard is missing; run sample.py again to make it") from error
        digest = hashlib.sha256(data).hexdigest()
        if digest == record.sha256:
            return data
    raise InputError(
        f"{path}: shard is truncated, corrupt or of another dataset: expected SHA-256 {record.sha256[:12]}, "
        f"got {digest[:12]} in {len(data)} bytes; run sample.py again to make it anew"
    )


def is_whole(place: str | Path | Store, record: ShardRecord) -> bool:
    """Whether a shard is there with the bytes that its record names."""
    try:
        read_bytes(place, record)
    except InputError:
        return False
    return True


@dataclass(frozen=True)
class Member:
    """A file in a tar: its name, where its bytes are, and its owner and group."""

    name: str
    offset: int
    size: int
    owner: str
    group: str


def read_members(data: bytes) -> Iterator[Member]:
    """Members of a USTAR archive.

    Raises:
        ValueError: for bytes that are none.
    """
    position = 0
    while position < len(data) and data[position]:
        header = data[position : position + BLOCK]
        size = int(header[124:135], 8)
        position += BLOCK
        yield Member(_string(header[:100]), position, size, _string(header[265:297]), _string(header[297:329]))
        position += -(-size // BLOCK) * BLOCK


def _string(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode()


def _values(data: bytes, offset: int, size: int, shape: tuple[int, ...]) -> NDArray[np.float16]:
    header, length = _npy_header(shape), int(np.prod(shape))
    if size != len(header) + DTYPE.itemsize * length or not data.startswith(header, offset):
        raise ValueError(f"expected float16 {list(shape)}")
    return np.frombuffer(data, DTYPE, length, offset + len(header)).reshape(shape)


def decode_shard(data: bytes, samples: range, manifest: Manifest) -> Pairs:
    """Latents ``[n, L, D]`` and embeddings ``[n, E]``, float16, of a shard's bytes.

    Raises:
        ValueError, IndexError: when these aren't the pairs of `samples` in the shapes of `manifest`.
    """
    latents = np.empty((len(samples), *manifest.latent_shape), np.float16)
    embeddings = np.empty((len(samples), manifest.embedding_dim), np.float16)
    targets = {"latent.npy": latents, "embedding.npy": embeddings}
    seen = dict.fromkeys(targets, 0)
    for member in read_members(data):
        key, _, field = member.name.partition(".")
        if field in targets:
            row = seen[field]
            if row == len(samples) or key != key_of(samples[row]):
                raise ValueError(
                    f"{member.name}: expected the keys {key_of(samples[0])} to {key_of(samples[-1])} in order"
                )
            targets[field][row] = _values(data, member.offset, member.size, targets[field].shape[1:])
            seen[field] = row + 1
    if set(seen.values()) != {len(samples)}:
        raise ValueError(f"expected {len(samples)} pairs, found {seen}")
    return latents, embeddings


def read_shard(place: str | Path | Store, index: int, manifest: Manifest) -> Pairs:
    """Latents ``[n, L, D]`` and embeddings ``[n, E]``, float16, of shard `index`, in key order.

    Raises:
        InputError: when the shard is missing, truncated, corrupt or isn't of this dataset; the message names it.
    """
    (pairs,) = iterate_shards(place, manifest, [index])
    return pairs


def require_complete(place: str | Path | Store, manifest: Manifest) -> None:
    """Refuse a dataset that lacks shards.

    Raises:
        InputError: with the number of pairs there and expected.
    """
    if len(manifest.finished()) < manifest.num_shards:
        raise InputError(
            f"{place}: holds {manifest.num_finished} of {manifest.num_pairs} pairs; run sample.py again to finish it"
        )


def read_recorded(store: Store, index: int, record: ShardRecord | None, manifest: Manifest) -> Pairs:
    """As `read_shard`, for who has looked up the shard's record (None: there is none) before."""
    path = store.locate(shard_name(index))
    if record is None:
        raise InputError(f"{path}: shard is not in the manifest; run sample.py again")
    data = read_bytes(store, record)
    try:
        return decode_shard(data, manifest.shard_range(index), manifest)
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: not a shard of this dataset: {error}") from error


def iterate_shards(
    place: str | Path | Store, manifest: Manifest, indices: Sequence[int] | None = None
) -> Iterator[Pairs]:
    """Read shards one after another, all in order by default; see `read_shard`."""
    store, records = open_store(place), manifest.finished()
    for index in range(manifest.num_shards) if indices is None else indices:
        yield read_recorded(store, index, records.get(index), manifest)


def load_pairs(place: str | Path | Store) -> Pairs:
    """All pairs of a finished dataset, in key order.

    Returns:
        Latents ``[N, L, D]`` (``[N, 1, w_dim]`` for the layout ``w``) and embeddings ``[N, E]``, float16.

    Raises:
        InputError: when the place holds no finished dataset, or a shard is missing, truncated, corrupt or foreign.
    """
    manifest = read_manifest(place)
    require_complete(place, manifest)
    latents = np.empty((manifest.num_pairs, *manifest.latent_shape), np.float16)
    embeddings = np.empty((manifest.num_pairs, manifest.embedding_dim), np.float16)
    start = 0
    for shard_latents, shard_embeddings in iterate_shards(place, manifest):
        rows = slice(start, start + len(shard_latents))
        latents[rows], embeddings[rows] = shard_latents, shard_embeddings
        start = rows.stop
    return latents, embeddings
