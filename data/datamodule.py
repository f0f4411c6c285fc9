"""Pairs for training: in memory where they fit, else streamed from shards through a bounded shuffle.

Samples are independent and equally distributed, since each comes from its own seed; so the first `val_pairs` keys are
as fair a validation set as any. They lie in the first shards, and stay the same when a dataset grows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import psutil
import torch
import webdataset
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from text2latent.configs.errors import InputError
from text2latent.data.manifest import Manifest
from text2latent.data.records import read_manifest
from text2latent.data.shards import Pairs, iterate_shards, load_pairs, require_complete
from text2latent.data.stats import PairStatistics, load_statistics

SHUFFLE_PAIRS = 20_000  # in the buffer of one streaming worker
MEMORY_SHARE = 0.5  # of the memory that is free

Batch = tuple[Tensor, Tensor]


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


class RowBatches(DistributedSampler[Any]):
    """Index tensors ``[B]``, one per batch, in an order that follows from the seed and the epoch.

    As a DistributedSampler it gives each process its own share, and Lightning tells it the epoch.

    Args:
        size: number of rows.
        batch_size: B; the last batch may be smaller unless `drop_last`.
        shuffle: whether each epoch has an order of its own.
        seed: of the order.
        drop_last: whether incomplete batches are left out.
    """

    def __init__(self, size: int, batch_size: int, shuffle: bool, seed: int = 0, drop_last: bool = False) -> None:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if distributed else (0, 1)
        super().__init__(range(size), world, rank, shuffle, seed, drop_last)  # type: ignore[arg-type]
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[Any]:
        rows = torch.tensor(list(super().__iter__()))
        return iter(rows.split(self.batch_size)[: len(self)])

    def __len__(self) -> int:
        if self.drop_last:
            return self.num_samples // self.batch_size
        return -(-self.num_samples // self.batch_size)


def _read_rows(
    indices: Iterable[int], folder: Path, manifest: Manifest, first: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of the shards `indices` from sample `first` on, copied so that no row keeps its shard in memory."""
    for index in indices:
        skipped = max(first - index * manifest.shard_size, 0)
        for latents, embeddings in iterate_shards(folder, manifest, [index]):
            for latent, embedding in zip(latents[skipped:], embeddings[skipped:], strict=True):
                yield latent.copy(), embedding.copy()


def _collate(rows: Sequence[tuple[np.ndarray, np.ndarray]]) -> Batch:
    latents, embeddings = zip(*rows, strict=True)
    return torch.from_numpy(np.stack(latents)).float(), torch.from_numpy(np.stack(embeddings)).float()


def stream_pairs(
    folder: Path, manifest: Manifest, first: int, batch_size: int, seed: int, shuffle_pairs: int = SHUFFLE_PAIRS
) -> webdataset.DataPipeline:
    """Batches of the samples from `first` on, shards and pairs shuffled, each pair once per epoch.

    webdataset splits the shards over processes and workers, shuffles and batches; `shards.iterate_shards` reads, since
    it is many times as fast for these tiny members and compares checksums.
    """
    shards = list(range(first // manifest.shard_size, manifest.num_shards))
    return webdataset.DataPipeline(
        [shards],
        webdataset.detshuffle(len(shards), len(shards), seed),
        webdataset.split_by_node,
        webdataset.split_by_worker,
        partial(_read_rows, folder=folder, manifest=manifest, first=first),
        webdataset.detshuffle(shuffle_pairs, shuffle_pairs, seed),
        webdataset.batched(batch_size, collation_fn=_collate, partial=True),
    )


def fits_in_memory(manifest: Manifest) -> bool:
    """Whether all pairs in float16 take less than half of the memory that is free."""
    values = int(np.prod(manifest.latent_shape)) + manifest.embedding_dim
    return 2 * values * manifest.num_pairs < MEMORY_SHARE * psutil.virtual_memory().available


class PairDataModule(pl.LightningDataModule):
    """Training and validation batches of a dataset made by sample.py.

    A batch is a tuple of latents ``[B, L, D]`` and CLIP image embeddings ``[B, E]``, both float32.

    Attributes (after `setup`):
        manifest: of the dataset.
        statistics: of the dataset.

    Args:
        path: folder of the dataset.
        batch_size: pairs per batch and process.
        val_pairs: pairs held out, those with the lowest keys.
        num_workers: processes that read shards when streaming; in memory none are needed.
        in_memory: whether to hold all pairs in memory; None: where they fit.
        seed: of the order of the training pairs.
    """

    manifest: Manifest
    statistics: PairStatistics

    def __init__(
        self,
        path: str | Path,
        batch_size: int = 256,
        val_pairs: int = 1000,
        num_workers: int = 0,
        in_memory: bool | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.path, self.batch_size, self.val_pairs = Path(path), batch_size, val_pairs
        self.num_workers, self.in_memory, self.seed = num_workers, in_memory, seed
        self._train: PairTensors | webdataset.DataPipeline | None = None
        self._val: PairTensors | None = None

    def setup(self, stage: str | None = None) -> None:
        """Check the dataset and read what stays in memory.

        Raises:
            InputError: when the dataset isn't finished, is damaged, or holds no more than `val_pairs` pairs.
        """
        if self._val is not None:
            return
        self.manifest = read_manifest(self.path)
        require_complete(self.path, self.manifest)
        self.statistics = load_statistics(self.path)
        self._check_counts()
        in_memory = fits_in_memory(self.manifest) if self.in_memory is None else self.in_memory
        if in_memory:
            latents, embeddings = map(torch.from_numpy, load_pairs(self.path))
            self._train = PairTensors(latents[self.val_pairs :], embeddings[self.val_pairs :])
            self._val = PairTensors(latents[: self.val_pairs], embeddings[: self.val_pairs])
        else:
            self._train = stream_pairs(self.path, self.manifest, self.val_pairs, self.batch_size, self.seed)
            self._val = PairTensors(*map(torch.from_numpy, self._first_pairs()))

    def _check_counts(self) -> None:
        pairs = self.manifest.num_pairs
        if self.val_pairs >= pairs:
            raise InputError(f"--data.val_pairs: expected fewer than the {pairs} pairs in {self.path}")
        if self.statistics.count != pairs:
            raise InputError(
                f"{self.path}: statistics are of {self.statistics.count} pairs, not {pairs}; run sample.py again"
            )

    def _first_pairs(self) -> Pairs:
        shards = range(-(-self.val_pairs // self.manifest.shard_size))
        latents, embeddings = zip(*iterate_shards(self.path, self.manifest, shards), strict=True)
        return np.concatenate(latents)[: self.val_pairs].copy(), np.concatenate(embeddings)[: self.val_pairs].copy()

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches; an incomplete last one is left out where there is a complete one."""
        if isinstance(self._train, PairTensors):
            drop_last = len(self._train) >= self.batch_size
            return self._loader(self._train, RowBatches(len(self._train), self.batch_size, True, self.seed, drop_last))
        workers = self.num_workers
        return DataLoader(
            self._train,  # type: ignore[arg-type]
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,  # they count the epochs that the shuffle follows
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Held-out batches in key order."""
        assert self._val is not None
        return self._loader(self._val, RowBatches(len(self._val), self.batch_size, False))

    @staticmethod
    def _loader(pairs: PairTensors, batches: RowBatches) -> DataLoader[Any]:
        return DataLoader(pairs, batch_size=None, sampler=batches, pin_memory=torch.cuda.is_available())
