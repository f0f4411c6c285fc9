"""Pairs for training: in memory where they fit, else streamed from shards through a bounded shuffle.

Samples are independent and equally distributed, since each comes from its own seed; so the first `val_pairs` keys are
as fair a validation set as any. They lie in the first shards, and stay the same when a dataset grows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from text2latent.common.errors import InputError
from text2latent.data.manifest import Manifest
from text2latent.data.records import read_manifest
from text2latent.data.shards import Pairs, iterate_shards, load_pairs, require_complete
from text2latent.data.stats import PairStatistics, load_statistics
from text2latent.data.storage import open_store
from text2latent.data.streaming import (
    Batch,
    StreamedPairs,
    describe_samples,
    finite_rows,
    num_batches,
    share,
    this_process,
)
from text2latent.data.workers import Reception, as_it_is, leave_signals_to_the_main_process

MEMORY_SHARE = 0.5  # of the memory that is free
VAL_SHARE, MOST_VAL_PAIRS = 10, 1000
"""By default one pair in so many is held out, and never more than so many."""


class PairTensors(Dataset[Batch]):
    """Pairs in memory, drawn a whole batch at a time: far cheaper than collating single pairs.

    Args:
        latents: ``[N, L, D]``.
        embeddings: ``[N, E]``.
    """

    def __init__(self, latents: Tensor, embeddings: Tensor) -> None:
        self.latents, self.embeddings = latents, embeddings

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, rows: Any) -> Batch:
        """Latents ``[B, L, D]`` and embeddings ``[B, E]``, float32, of the rows in an index tensor ``[B]``."""
        return self.latents[rows].float(), self.embeddings[rows].float()


class RowBatches(Sampler[Tensor]):
    """Index tensors ``[B]``, one per batch, in an order that follows from the seed and the epoch.

    Each process of a group gets its own part of the rows, see `data.streaming.share`.

    Args:
        batch_size: the largest B; all batches have nearly the same size.
        shuffle: whether each epoch has an order of its own.

    Raises:
        UsageError: when there are fewer rows than processes.
    """

    def __init__(self, size: int, batch_size: int, shuffle: bool, seed: int = 0) -> None:
        self.size, self.shuffle, self.seed = size, shuffle, seed
        rank, processes = this_process()
        self._rows = share(size, processes, rank)
        self._batches = num_batches(size, processes, batch_size)
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order of this epoch from the next iteration on."""
        self._epoch = epoch

    def rows(self, epoch: int, batch: int) -> Tensor:
        """Rows ``[B]`` of batch number `batch` of this process."""
        return self._order(epoch)[self._slice(batch)]

    def __iter__(self) -> Iterator[Tensor]:
        order = self._order(self._epoch)
        return (order[self._slice(batch)] for batch in range(len(self)))

    def __len__(self) -> int:
        return self._batches

    def _order(self, epoch: int) -> Tensor:
        if not self.shuffle:
            return torch.arange(self.size)
        return torch.randperm(self.size, generator=torch.Generator().manual_seed(self.seed + epoch))

    def _slice(self, batch: int) -> slice:
        within = share(len(self._rows), self._batches, batch)
        return slice(self._rows.start + within.start, self._rows.start + within.stop)


class ResumableBatches:
    """Batches of a loader, with the position in the epoch as state that Lightning keeps in its checkpoints.

    The loader's order must follow from its epoch alone, as that of `RowBatches` and of `StreamedPairs` does.

    Args:
        loader: yields the same batches in the same order in each run of an epoch.
        announce: gets a line when the loader has to do without shared memory, or without its workers.
    """

    def __init__(self, loader: DataLoader[Any], announce: Callable[[str], None] = lambda line: None) -> None:
        self.loader, self._reception = loader, Reception(announce)
        self._given = 0
        self._skip = 0

    @property
    def sampler(self) -> Any:
        """What decides the order, which Lightning calls `set_epoch` of."""
        return self.loader.dataset if isinstance(self.loader.dataset, StreamedPairs) else self.loader.sampler

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        self._given, self._skip = self._skip, 0
        for batch in self._rest():
            self._given += 1
            yield batch

    def _rest(self) -> Iterator[Any]:
        """Batches behind those given: a stream is entered there, rows in memory are passed over."""
        if isinstance(self.loader.dataset, StreamedPairs):
            self.loader.dataset.start_at(self._given)
            return self._reception.iterate(self.loader)
        return islice(iter(self.loader), self._given, None)

    def state_dict(self) -> dict[str, int]:
        return {"batches": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Skip in the next epoch what was given already; nothing where that was all."""
        self._skip = state["batches"] % len(self)


def fits_in_memory(manifest: Manifest, processes: int = 1) -> bool:
    """Whether all pairs in float16, once for each process of this machine, take less than half of its free memory."""
    values = int(np.prod(manifest.latent_shape)) + manifest.embedding_dim
    return 2 * values * manifest.num_pairs * processes < MEMORY_SHARE * psutil.virtual_memory().available


def default_val_pairs(num_pairs: int) -> int:
    """Pairs that are held out of a dataset by default: a tenth, at least 1 and at most 1000."""
    return min(MOST_VAL_PAIRS, max(1, num_pairs // VAL_SHARE))


class PairDataModule(pl.LightningDataModule):
    """Training and validation batches of a dataset made by sample.py.

    A batch is a tuple of latents ``[B, L, D]`` and CLIP image embeddings ``[B, E]``, both float32. Each process of a
    group gets its own pairs, every pair once per epoch, and all get as many batches.

    Attributes (after `setup`):
        manifest: of the dataset.
        statistics: of the dataset.
        val_pairs: number of pairs that are held out.

    Args:
        path: folder or address of the dataset.
        batch_size: most pairs per batch and process.
        val_pairs: pairs held out, those with the lowest keys; None: what the dataset bears, see `default_val_pairs`.
        num_workers: processes that read shards when streaming; in memory none are needed.
        in_memory: whether to hold all pairs in memory; None: where they fit.
        seed: of the order of the training pairs.
        processes: of this machine that train, each with pairs of its own in memory.
        skip_non_finite: whether pairs with NaN or infinity are left out; else they are an error.
        announce: gets a line when pairs are left out.
    """

    manifest: Manifest
    statistics: PairStatistics
    val_pairs: int

    def __init__(
        self,
        path: str | Path,
        batch_size: int = 256,
        val_pairs: int | None = None,
        num_workers: int = 0,
        in_memory: bool | None = None,
        seed: int = 0,
        processes: int = 1,
        skip_non_finite: bool = False,
        announce: Callable[[str], None] = print,
    ) -> None:
        super().__init__()
        self.path, self.batch_size, self._asked_val_pairs = path, batch_size, val_pairs
        self.num_workers, self.in_memory, self.seed = num_workers, in_memory, seed
        self.processes, self.skip_non_finite, self.announce = processes, skip_non_finite, announce
        self._train: PairTensors | None = None
        self._val: PairTensors | None = None
        self._samples: Tensor | None = None
        self._order: RowBatches | StreamedPairs | None = None

    def setup(self, stage: str | None = None) -> None:
        """Check the dataset and read what stays in memory.

        Raises:
            InputError: when the dataset isn't finished, is damaged, holds no more than `val_pairs` pairs, or has NaN
                or infinity that isn't to be left out.
        """
        if self._val is not None:
            return
        self.manifest = read_manifest(self.path)
        require_complete(self.path, self.manifest)
        self.statistics = load_statistics(self.path)
        self.val_pairs = self._count_val_pairs()
        in_memory = self.in_memory
        if fits_in_memory(self.manifest, self.processes) if in_memory is None else in_memory:
            samples, (latents, embeddings) = self._finite(load_pairs(self.path))
            rest = int(np.searchsorted(samples, self.val_pairs))
            self._samples = torch.from_numpy(samples[rest:])
            self._train = PairTensors(latents[rest:], embeddings[rest:])
            self._val = PairTensors(latents[:rest], embeddings[:rest])
        else:
            self._val = PairTensors(*self._finite(self._first_pairs())[1])

    def _count_val_pairs(self) -> int:
        pairs = self.manifest.num_pairs
        held_out = default_val_pairs(pairs) if self._asked_val_pairs is None else self._asked_val_pairs
        if held_out >= pairs:
            raise InputError(f"--data.val_pairs: expected fewer than the {pairs} pairs in {self.path}")
        if self.statistics.count != pairs:
            raise InputError(
                f"{self.path}: statistics are of {self.statistics.count} pairs, not {pairs}; run sample.py again"
            )
        return held_out

    def _first_pairs(self) -> Pairs:
        shards = range(-(-self.val_pairs // self.manifest.shard_size))
        latents, embeddings = zip(*iterate_shards(self.path, self.manifest, shards), strict=True)
        return np.concatenate(latents)[: self.val_pairs].copy(), np.concatenate(embeddings)[: self.val_pairs].copy()

    def _finite(self, pairs: Pairs, first: int = 0) -> tuple[NDArray[np.int64], tuple[Tensor, Tensor]]:
        """Numbers and tensors of the pairs from sample `first` on that have neither NaN nor infinity."""
        finite = finite_rows(pairs)
        samples = first + np.flatnonzero(finite)
        if len(samples) < len(finite):
            found = f"{self.path}: {describe_samples(first + np.flatnonzero(~finite), self.manifest)}: NaN or infinity"
            if not self.skip_non_finite:
                raise InputError(f"{found}; expected finite values (--on-non-finite skip leaves them out)")
            self.announce(f"{found}; left out")
            pairs = pairs[0][finite], pairs[1][finite]
        return samples, (torch.from_numpy(pairs[0]), torch.from_numpy(pairs[1]))

    @property
    def num_train_pairs(self) -> int:
        return self.manifest.num_pairs - self.val_pairs if self._train is None else len(self._train)

    def pairs(self, n: int) -> tuple[Tensor, Tensor]:
        """Latents ``[n, L, D]`` and image embeddings ``[n, E]``, float16, of the first n training pairs.

        Where pairs with NaN or infinity are left out there may be fewer when streaming.

        Raises:
            InputError: when there are fewer, or for NaN or infinity that isn't to be left out.
        """
        if n > self.num_train_pairs:
            raise InputError(f"{self.path}: expected at least {n} training pairs, there are {self.num_train_pairs}")
        if self._train is not None:
            return self._train.latents[:n], self._train.embeddings[:n]
        size = self.manifest.shard_size
        shards = range(self.val_pairs // size, -(-(self.val_pairs + n) // size))
        parts = zip(*iterate_shards(self.path, self.manifest, shards), strict=True)
        first = self.val_pairs - size * shards.start
        latents, embeddings = (np.concatenate(part)[first : first + n] for part in parts)
        return self._finite((latents, embeddings), self.val_pairs)[1]

    def embeddings(self, n: int) -> Tensor:
        """Image embeddings ``[n, E]`` float32 of the first n training pairs; see `pairs`."""
        return self.pairs(n)[1].float()

    def limited(self, num_pairs: int | None) -> PairDataModule:
        """A copy with the first training pairs only, None for all; they must be in memory."""
        assert self._train is not None
        limited = copy.copy(self)
        limited._train = PairTensors(*self.pairs(len(self._train) if num_pairs is None else num_pairs))
        return limited

    def train_dataloader(self) -> ResumableBatches:
        """Shuffled batches of this process."""
        if self._train is not None:
            self._order = RowBatches(len(self._train), self.batch_size, True, self.seed)
            return ResumableBatches(self._loader(self._train, self._order))
        self._order = StreamedPairs(
            open_store(self.path),
            self.manifest,
            self.val_pairs,
            self.batch_size,
            self.seed,
            self.num_workers,
            skip_non_finite=self.skip_non_finite,
            announce=self.announce,
        )
        loader = DataLoader(
            self._order,
            batch_size=None,
            num_workers=self.num_workers,
            collate_fn=as_it_is,
            worker_init_fn=leave_signals_to_the_main_process,
            pin_memory=torch.cuda.is_available(),
        )
        return ResumableBatches(loader, self.announce)

    def describe_batch(self, epoch: int, batch: int) -> str:
        """Samples and shards of a batch that this process was given, in words."""
        if isinstance(self._order, RowBatches):
            assert self._samples is not None
            samples = self._samples[self._order.rows(epoch, batch)].numpy()
        else:
            assert self._order is not None
            samples = self._order.samples(epoch, batch)
        return f"batch {batch} of epoch {epoch}, {describe_samples(samples, self.manifest)}"

    def val_dataloader(self) -> DataLoader[Any]:
        """Held-out batches of this process, in key order."""
        assert self._val is not None
        return self._loader(self._val, RowBatches(len(self._val), self.batch_size, False))

    @staticmethod
    def _loader(pairs: PairTensors, batches: RowBatches) -> DataLoader[Any]:
        return DataLoader(pairs, batch_size=None, sampler=batches, pin_memory=torch.cuda.is_available())
