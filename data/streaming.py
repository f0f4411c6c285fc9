"""Pairs read from shards while training goes on, shuffled within bounds, in an order that can be entered anywhere.

An epoch's order follows from the seed and the epoch: the shards are permuted, the row of pairs that they make is cut
into a part for each worker of each process, a part into batches, and the pairs of some consecutive batches (a group)
are permuted. Where a batch lies follows by arithmetic, so a resumed run reads nothing twice; only a group and a
shard are in memory. Everyone gets as many batches, so that nobody waits at an epoch's end.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from text2latent.common.errors import InputError, UsageError
from text2latent.data.manifest import Manifest, shard_name
from text2latent.data.shards import Pairs, read_recorded
from text2latent.data.storage import Store
from text2latent.data.workers import Sent, send

SHUFFLE_PAIRS = 20_000  # in the group of one worker

Batch = tuple[Tensor, Tensor]


def finite_rows(pairs: Pairs) -> NDArray[np.bool_]:
    """Which of N pairs have neither NaN nor infinity, bool ``[N]``."""
    latents, embeddings = (np.isfinite(values.reshape(len(values), -1)).all(axis=1) for values in pairs)
    return np.asarray(latents & embeddings)


def describe_samples(samples: NDArray[np.int64], manifest: Manifest, limit: int = 8) -> str:
    """Samples and their shards in words: ``samples 3, 17 of shard-000000.tar``."""
    shown = ", ".join(map(str, samples[:limit])) + (", ..." if len(samples) > limit else "")
    shards = sorted({shard_name(int(index)) for index in samples // manifest.shard_size})
    named = ", ".join(shards[:limit]) + (", ..." if len(shards) > limit else "")
    return f"sample{'s' if len(samples) > 1 else ''} {shown} of {named}"


def share(total: int, parts: int, part: int) -> range:
    """Part number `part` of `parts` consecutive parts of ``range(total)``, whose sizes differ by at most 1."""
    return range(total * part // parts, total * (part + 1) // parts)


def num_batches(total: int, parts: int, batch_size: int) -> int:
    """Batches that each of `parts` parts of `total` pairs is cut into, of near equal sizes up to `batch_size`.

    None is empty, for which batches of 1 may become 2 where the parts differ in size.

    Raises:
        UsageError: when a part would have no pairs.
    """
    if total < parts:
        raise UsageError(f"--data.path: {total} pairs are too few for {parts} processes and workers")
    largest = -(-total // parts)
    return min(-(-largest // batch_size), total // parts)


def this_process() -> tuple[int, int]:
    """Rank of this process and number of processes in torch.distributed's group; (0, 1) where there is none."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


@dataclass(frozen=True)
class EpochOrder:
    """Order of the samples from `first` on in one epoch, shard after shard.

    Attributes:
        shards: indices of the shards, permuted.
        starts: where each begins in the row of all pairs, and where the last ends: one more than `shards`.
        first: number of the first sample that takes part.
        shard_size: pairs per shard.
    """

    shards: NDArray[np.int64]
    starts: NDArray[np.int64]
    first: int
    shard_size: int

    @classmethod
    def draw(cls, manifest: Manifest, first: int, seed: int, epoch: int) -> EpochOrder:
        """The order of an epoch: shards in an order that follows from `seed` and `epoch`, from pair `first` on."""
        indices = np.arange(first // manifest.shard_size, manifest.num_shards)
        shards = np.random.default_rng((seed, epoch)).permutation(indices)
        begins = np.maximum(shards * manifest.shard_size, first)
        ends = np.minimum((shards + 1) * manifest.shard_size, manifest.num_pairs)
        return cls(shards, np.concatenate([[0], np.cumsum(ends - begins)]), first, manifest.shard_size)

    def pieces(self, positions: range) -> Iterator[tuple[int, range]]:
        """Shards, and the samples of each, that lie at consecutive positions."""
        place = int(np.searchsorted(self.starts, positions.start, side="right")) - 1
        while place < len(self.shards) and self.starts[place] < positions.stop:
            shard = int(self.shards[place])
            offset = max(shard * self.shard_size, self.first) - int(self.starts[place])
            begin = max(positions.start, int(self.starts[place]))
            end = min(positions.stop, int(self.starts[place + 1]))
            yield shard, range(begin + offset, end + offset)
            place += 1


class StreamedPairs(IterableDataset[Sent]):
    """Batches of latents ``[B, L, D]`` and embeddings ``[B, E]``, float32, of the samples from `first` on.

    Args:
        first: number of the first sample that takes part.
        batch_size: the largest B.
        num_workers: processes of the DataLoader that read; 0 is the main process.
        shuffle_pairs: pairs in a group, which are permuted.
        skip_non_finite: whether other pairs of the group take the place of those with NaN or infinity; else
            reading stops at them.
        announce: gets a line for each pair left out.
    """

    def __init__(
        self,
        store: Store,
        manifest: Manifest,
        first: int,
        batch_size: int,
        seed: int = 0,
        num_workers: int = 0,
        shuffle_pairs: int = SHUFFLE_PAIRS,
        skip_non_finite: bool = False,
        announce: Callable[[str], None] = print,
    ) -> None:
        self.store, self.manifest, self.first, self.seed = store, manifest, first, seed
        self.skip_non_finite, self.announce = skip_non_finite, announce
        self.workers = max(num_workers, 1)
        self.rank, self.processes = this_process()
        self._parts = self.processes * self.workers
        self._total = manifest.num_pairs - first
        self._part_batches = num_batches(self._total, self._parts, batch_size)
        self._group_batches = max(shuffle_pairs // batch_size, 1)
        self._epoch, self._start = 0, 0
        self._records = manifest.finished()
        self._held: tuple[int, Pairs] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Take the order of this epoch from the next iteration on."""
        self._epoch = epoch

    def start_at(self, batch: int) -> None:
        """Begin the next iterations at batch number `batch` of this process."""
        self._start = batch

    def __len__(self) -> int:
        """Batches of this process in an epoch, those before the start included."""
        return self._part_batches * self.workers

    def samples(self, epoch: int, batch: int) -> NDArray[np.int64]:
        """Numbers ``[B]`` of the samples in batch number `batch` of this process."""
        order = EpochOrder.draw(self.manifest, self.first, self.seed, epoch)
        part, batch = self.rank * self.workers + batch % self.workers, batch // self.workers
        group = batch // self._group_batches
        positions = self._group_positions(part, group)
        numbers = np.concatenate([np.asarray(samples) for _, samples in order.pieces(positions)])
        rows = self._permutation(epoch, part, group, len(numbers))
        begin, end = self._bounds(part, batch)
        return numbers[rows][begin - positions.start : end - positions.start]

    def __iter__(self) -> Iterator[Sent]:
        """Batches: those of this worker, or in a main process that has no workers those of all, in the same order."""
        worker = get_worker_info()
        if worker is not None:
            return map(send, self._read_part(worker.id))
        # Copies, since each part holds a shard.
        parts = [copy.copy(self)._read_part(worker) for worker in range(self.workers)]
        return (batch for batches in zip_longest(*parts) for batch in batches if batch is not None)

    def _read_part(self, worker: int) -> Iterator[Batch]:
        # The loader asks its workers in turn and starts with the first, whichever batch that is.
        turn = (self._start + worker) % self.workers
        done = (self._start - turn + self.workers - 1) // self.workers
        order = EpochOrder.draw(self.manifest, self.first, self.seed, self._epoch)
        part = self.rank * self.workers + turn
        for group in range(done // self._group_batches, -(-self._part_batches // self._group_batches)):
            for batch, (latents, embeddings) in self._read_group(order, part, group):
                if batch >= done:
                    yield torch.from_numpy(latents).float(), torch.from_numpy(embeddings).float()

    def _bounds(self, part: int, batch: int) -> tuple[int, int]:
        mine = share(self._total, self._parts, part)
        within = share(len(mine), self._part_batches, batch)
        return mine.start + within.start, mine.start + within.stop

    def _group_positions(self, part: int, group: int) -> range:
        last = min((group + 1) * self._group_batches, self._part_batches) - 1
        return range(self._bounds(part, group * self._group_batches)[0], self._bounds(part, last)[1])

    def _permutation(self, epoch: int, part: int, group: int, size: int) -> NDArray[np.int64]:
        return np.random.default_rng((self.seed, epoch, part, group)).permutation(size)

    def _read_group(self, order: EpochOrder, part: int, group: int) -> Iterator[tuple[int, Pairs]]:
        """Numbers and pairs of the batches of a group."""
        positions = self._group_positions(part, group)
        pieces = [self._read_piece(shard, samples) for shard, samples in order.pieces(positions)]
        latents, embeddings = (np.concatenate(column) for column in zip(*pieces, strict=True))
        rows = self._permutation(self._epoch, part, group, len(latents))
        first = group * self._group_batches
        for batch in range(first, min(first + self._group_batches, self._part_batches)):
            begin, end = self._bounds(part, batch)
            chosen = rows[begin - positions.start : end - positions.start]
            yield batch, (latents[chosen], embeddings[chosen])

    def _read_piece(self, shard: int, samples: range) -> Pairs:
        """Pairs of some consecutive samples of a shard, which is kept in case the next group goes on in it."""
        if self._held is None or self._held[0] != shard:
            self._held = None
            pairs = read_recorded(self.store, shard, self._records.get(shard), self.manifest)
            self._held = shard, self._without_non_finite(shard, pairs)
        latents, embeddings = self._held[1]
        start = shard * self.manifest.shard_size
        rows = slice(samples.start - start, samples.stop - start)
        return latents[rows], embeddings[rows]

    def _without_non_finite(self, shard: int, pairs: Pairs) -> Pairs:
        """Pairs of a shard in which finite ones take the place of those that aren't, so that counts stay."""
        finite = finite_rows(pairs)
        if finite.all():
            return pairs
        bad = np.flatnonzero(~finite) + shard * self.manifest.shard_size
        found = f"{self.store}: {describe_samples(bad, self.manifest)}: NaN or infinity"
        if not self.skip_non_finite or not finite.any():
            raise InputError(f"{found}; expected finite values (--on-non-finite skip leaves them out)")
        self.announce(f"{found}; left out, other pairs of the shard take their place")
        good = np.flatnonzero(finite)
        rows = np.where(finite, np.arange(len(finite)), good[np.arange(len(finite)) % len(good)])
        return pairs[0][rows], pairs[1][rows]
