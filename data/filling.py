"""Which shards a process makes: those of its share that aren't there, and that nobody else is making just now."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from text2latent.configs.errors import UsageError
from text2latent.data.manifest import Manifest, ShardRecord, shard_name
from text2latent.data.records import claim_name, claimant
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
    manifest: Manifest,
    indices: Sequence[int],
    draw: Callable[[range], bytes],
    on_found: Callable[[int], object] = lambda count: None,
) -> None:
    """Make the shards of `indices` that aren't there whole.

    A shard that another process has claimed is put off to the end, and made then if it still isn't there: its maker
    may be dead. So any number of processes share the work, at the price of at most one shard made twice by each.

    Args:
        place: of the dataset.
        manifest: as `open_dataset` returned it.
        indices: shards to see to.
        draw: gives the bytes of the shard that holds these samples.
        on_found: told the number of pairs of each shard that needs no making.

    Raises:
        InputError: when a shard can't be written.
    """
    store, finished, there = open_store(place), manifest.finished(), open_store(place).names()
    waiting, put_off = deque(indices), set[int]()
    while waiting:
        index = waiting.popleft()
        samples = manifest.shard_range(index)
        if _is_done(store, index, finished.get(index), shard_name(index) in there):
            on_found(len(samples))
            continue
        with _claim(store, index) as is_ours:
            if is_ours or index in put_off:
                publish_shard(store, index, len(samples), draw(samples))
            else:
                waiting.append(index)
                put_off.add(index)


def _is_done(store: Store, index: int, record: ShardRecord | None, was_there: bool) -> bool:
    """Whether a shard is there: whole, if it was when this process began, else because somebody has just made it."""
    if record is not None:
        return is_whole(store, record)
    return not was_there and store.exists(shard_name(index))


@contextmanager
def _claim(store: Store, index: int) -> Iterator[bool]:
    """Context in which this process has claimed a shard; False where another has."""
    is_ours = store.create(claim_name(index), claimant())
    try:
        yield is_ours
    finally:
        if is_ours or store.exists(shard_name(index)):
            store.remove(claim_name(index))
