"""Whether a dataset is what its manifest says: every shard is read back, and what is wrong with it is named."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from text2latent.common.errors import InputError
from text2latent.data.manifest import Manifest, ShardRecord, shard_name
from text2latent.data.records import read_manifest
from text2latent.data.shards import BLOCK, OWNER_DIGITS, Member, Pairs, decode_shard, key_of, read_members
from text2latent.data.stats import STATISTICS, PairMoments, PairStatistics, add_moments, load_statistics, measure_pairs
from text2latent.data.storage import Store, open_store

STATISTICS_TOLERANCE = 1e-6  # relative to the largest value; orders of summation differ by far less

_SHARD = re.compile(r"shard-(\d{6,})\.tar")


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file of a dataset.

    Attributes:
        kind: ``missing``, ``truncated``, ``corrupt``, ``duplicate``, ``foreign``, ``unreadable`` or ``not finite``.
        detail: what was found and what was expected.
    """

    kind: str
    name: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}: {self.detail}"


def find_problems(
    place: str | Path | Store, indices: Sequence[int] | None = None, on_shard: Callable[[int], object] = lambda n: None
) -> Iterator[Problem]:
    """Read a dataset back, and yield what is wrong as it is found.

    Args:
        indices: of the shards to read; None reads all, and then compares the statistics too.
        on_shard: called with the number of pairs that a shard should have, after each.

    Raises:
        InputError: when there is no manifest.
    """
    store = open_store(place)
    manifest, names = read_manifest(store), store.names()
    records = {record.name: record for record in manifest.shards}
    yield from _strangers(manifest, names)
    yield from _repetitions(manifest)
    moments, whole = None, True
    for index in range(manifest.num_shards) if indices is None else indices:
        found = _examine(store, manifest, index, records.get(shard_name(index)))
        if isinstance(found, Problem):
            whole = False
            yield found
        else:
            moments = found if moments is None else add_moments(moments, found)
        on_shard(len(manifest.shard_range(index)))
    if whole and moments is not None and indices is None:
        yield from _compare_statistics(store, manifest, moments)


def _strangers(manifest: Manifest, names: set[str]) -> Iterator[Problem]:
    """Tar files that no shard of the dataset is named like."""
    for name in sorted(name for name in names if name.endswith(".tar")):
        match = _SHARD.fullmatch(name)
        if match is None:
            yield Problem("foreign", name, "not the name of a shard")
        elif int(match[1]) >= manifest.num_shards:
            yield Problem("foreign", name, f"the dataset's {manifest.num_pairs} pairs end before this shard")


def _repetitions(manifest: Manifest) -> Iterator[Problem]:
    """Shards whose records have the same checksum."""
    first: dict[str, str] = {}
    for record in manifest.shards:
        same = first.setdefault(record.sha256, record.name)
        if same != record.name:
            yield Problem("duplicate", record.name, f"has the checksum of {same}")


def _examine(store: Store, manifest: Manifest, index: int, record: ShardRecord | None) -> Problem | PairMoments:
    """What is wrong with a shard, or the moments of its pairs."""
    name = shard_name(index)
    try:
        data = store.read(name)
    except FileNotFoundError:
        return Problem("missing", name, "recorded as finished, but not there" if record else "not made yet")
    except InputError as error:
        return Problem("unreadable", name, str(error))
    if record is not None and hashlib.sha256(data).hexdigest() == record.sha256:
        try:
            pairs = decode_shard(data, manifest.shard_range(index), manifest)
        except (ValueError, IndexError):
            return diagnose(data, index, manifest, record)
        return _find_infinite(pairs, index, manifest) or measure_pairs(*pairs)
    return diagnose(data, index, manifest, record)


def diagnose(data: bytes, index: int, manifest: Manifest, record: ShardRecord | None) -> Problem:
    """Say what is wrong with the bytes of a shard that isn't the recorded one of its place."""
    name = shard_name(index)
    try:
        members = list(read_members(data))
    except ValueError as error:
        return Problem("corrupt", name, f"not a tar archive of pairs: {error}")
    end = members[-1].offset + members[-1].size if members else 0
    if len(data) < end + BLOCK or not members:
        return Problem("truncated", name, f"ends after {len(data)} bytes, within the archive")
    return _diagnose_members(data, members, index, manifest) or Problem(
        "corrupt" if record else "foreign",
        name,
        f"its SHA-256 isn't the recorded {record.sha256[:12]}" if record else "there is no record of it",
    )


def _diagnose_members(data: bytes, members: list[Member], index: int, manifest: Manifest) -> Problem | None:
    name, first = shard_name(index), members[0]
    for what, owner, identity in (("generator", first.owner, manifest.generator), ("CLIP", first.group, manifest.clip)):
        if owner and owner != identity.sha256[:OWNER_DIGITS]:
            return Problem("foreign", name, f"made with another {what}: expected {identity}, got {owner[:12]}")
    samples = manifest.shard_range(index)
    key = first.name.partition(".")[0]
    if key.isdigit() and key != key_of(samples[0]):
        other = int(key) // manifest.shard_size
        if other < manifest.num_shards:
            return Problem("duplicate", name, f"holds the samples of {shard_name(other)}")
        return Problem("foreign", name, f"starts with sample {int(key)}, expected {samples[0]}")
    try:
        decode_shard(data, samples, manifest)
    except (ValueError, IndexError) as error:
        return Problem("foreign", name, f"not pairs of this dataset: {error}")
    return None


def _find_infinite(pairs: Pairs, index: int, manifest: Manifest) -> Problem | None:
    for what, values in zip(("latent", "embedding"), pairs, strict=True):
        finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        if not finite.all():
            sample = manifest.shard_range(index)[int(np.argmin(finite))]
            return Problem("not finite", shard_name(index), f"{what} of sample {sample} has NaN or infinity")
    return None


def _compare_statistics(store: Store, manifest: Manifest, moments: PairMoments) -> Iterator[Problem]:
    try:
        stored = load_statistics(store)
    except InputError as error:
        yield Problem("missing" if not store.exists(STATISTICS) else "unreadable", STATISTICS, str(error))
        return
    actual = PairStatistics.from_moments(*moments, manifest.latent_shape)
    for name, expected in vars(actual).items():
        found = np.asarray(getattr(stored, name))
        scale = np.abs(expected).max() or 1.0
        if found.shape != np.shape(expected) or not np.all(np.abs(found - expected) <= STATISTICS_TOLERANCE * scale):
            yield Problem("corrupt", STATISTICS, f"{name} isn't that of the pairs; run sample.py again")
            return
