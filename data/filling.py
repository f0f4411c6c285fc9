"""Which shards a process makes: those of its share that aren't there, and that nobody else is making just now."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from text2latent.common.errors import InputError, UsageError
from text2latent.data.manifest import shard_name
from text2latent.data.records import claim_name, claimant, read_manifest
from text2latent.data.shards import is_whole, publish_shard
from text2latent.data.storage import Store, open_store

_RANGE = re.compile(r"(\d+)(?:\.\.(\d+))?")


def parse_shards(text: str | None, num_shards: int) -> list[int]:
    """Shard indices that `--shards` names, in order; all where it is None.

    Args:
        text: a number, a range with both ends such as ``0..99``, or several of these joined by commas.
        num_shards: of the dataset; indices beyond are left out, since the last task of a job array may have fewer.

    Raises:
        UsageError: for another text, or a range that ends before it begins.
    """
    if text is None:
        return list(range(num_shards))
    indices: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise UsageError(f"--shards: expected shard numbers such as 0..99 or 3,7, got {text!r}")
        indices.update(range(first, min(last + 1, num_shards)))
    return sorted(indices)


def fill_shards(
    place: str | Path | Store,
    indices: Sequence[int],
    draw: Callable[[range], bytes],
    on_found: Callable[[int], object] = lambda count: None,
) -> None:
    """Make the shards of `indices` that aren't there whole.

    A shard that another process has claimed is put off to the end, and made then if it still isn't there: its maker
    may be dead. So any number of processes share the work, at the price that at the end each may make once more what
    others are still at.

    Args:
        place: of a dataset that `open_dataset` has started.
        draw: gives the bytes of the shard that holds these samples.
        on_found: gets the number of pairs of each shard that needs no making.

    Raises:
        InputError: when a shard can't be written.
    """
    store = open_store(place)
    there = store.names()  # before the records, so that none that counts is missing
    manifest = read_manifest(store)
    finished = manifest.finished()
    waiting, put_off = deque(indices), set[int]()
    while waiting:
        index = waiting.popleft()
        samples, record = manifest.shard_range(index), finished.get(index)
        if record is not None and is_whole(store, record):
            on_found(len(samples))
            continue
        with _claim(store, index) as is_ours:
            if shard_name(index) not in there and store.exists(shard_name(index)):  # made since this process began
                on_found(len(samples))
            elif is_ours or index in put_off:
                publish_shard(store, index, len(samples), draw(samples))
            else:
                waiting.append(index)
                put_off.add(index)


@contextmanager
def _claim(store: Store, index: int) -> Iterator[bool]:
    """Context in which this process has claimed a shard; False where another has."""
    is_ours = store.create(claim_name(index), claimant())
    try:
        yield is_ours
    finally:
        with suppress(InputError):  # what failed before is what is to be reported
            if is_ours or store.exists(shard_name(index)):
                store.remove(claim_name(index))
