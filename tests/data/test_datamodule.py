"""What training is fed: which pairs, in which order."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from text2latent.common.errors import InputError
from text2latent.data.datamodule import (
    PairDataModule,
    PairTensors,
    ResumableBatches,
    RowBatches,
    default_val_pairs,
    fits_in_memory,
)
from text2latent.data.records import open_dataset, read_manifest
from text2latent.data.shards import encode_shard, load_pairs, publish_shard
from text2latent.tests.data.pair_folders import write_numbers

NUM_PAIRS = 230


def make(folder: Path, **settings: object) -> PairDataModule:
    module = PairDataModule(folder, **{"batch_size": 16, "val_pairs": 40, **settings})
    module.setup("fit")
    return module


def numbers_of(batches: list[tuple[Tensor, Tensor]]) -> list[int]:
    return [int(value) for latents, _ in batches for value in latents[:, 0, 0]]


def epochs_of(module: PairDataModule, count: int = 2) -> list[list[int]]:
    """Numbers of each epoch, set as Lightning sets it."""
    loader, found = module.train_dataloader(), []
    for epoch in range(count):
        loader.sampler.set_epoch(epoch)
        found.append(numbers_of(list(loader)))
    return found


@pytest.mark.parametrize("in_memory", [True, False])
def test_batches_hold_matching_pairs_in_float32(numbers: Path, in_memory: bool) -> None:
    module = make(numbers, in_memory=in_memory)
    for loader in (module.train_dataloader(), module.val_dataloader()):
        for latents, embeddings in loader:
            assert latents.dtype == embeddings.dtype == torch.float32
            assert latents.shape[1:] == (1, 4)
            assert latents.shape[0] == embeddings.shape[0] <= 16
            torch.testing.assert_close(latents[:, 0], -embeddings, rtol=0, atol=0)


@pytest.mark.parametrize("in_memory", [True, False])
def test_the_lowest_keys_are_held_out(numbers: Path, in_memory: bool) -> None:
    module = make(numbers, in_memory=in_memory)
    assert numbers_of(list(module.val_dataloader())) == list(range(40))
    assert not set(numbers_of(list(module.train_dataloader()))) & set(range(40))


def test_a_stream_gives_every_training_pair_once_per_epoch(numbers: Path) -> None:
    epochs = epochs_of(make(numbers, in_memory=False))
    for epoch in epochs:
        assert sorted(epoch) == list(range(40, NUM_PAIRS))
    assert epochs[0] != epochs[1]
    assert epochs[0] != sorted(epochs[0])


def test_a_stream_over_two_workers_gives_every_training_pair_once_per_epoch(numbers: Path) -> None:
    epochs = epochs_of(make(numbers, in_memory=False, num_workers=2))
    assert all(sorted(epoch) == list(range(40, NUM_PAIRS)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_memory_gives_every_training_pair_once_per_epoch(numbers: Path) -> None:
    module = make(numbers, in_memory=True)
    assert len(module.train_dataloader()) == 12
    epochs = epochs_of(module)
    assert all(sorted(epoch) == list(range(40, NUM_PAIRS)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_a_batch_larger_than_the_data_is_filled_as_far_as_it_goes(numbers: Path) -> None:
    for in_memory in (True, False):
        (batch,) = make(numbers, in_memory=in_memory, batch_size=1000).train_dataloader()
        assert sorted(numbers_of([batch])) == list(range(40, NUM_PAIRS))


@pytest.mark.parametrize("in_memory", [True, False])
def test_the_order_follows_from_the_seed(numbers: Path, in_memory: bool) -> None:
    def first_epoch(seed: int) -> list[int]:
        return numbers_of(list(make(numbers, in_memory=in_memory, seed=seed).train_dataloader()))

    assert first_epoch(0) == first_epoch(0)
    assert first_epoch(0) != first_epoch(1)


def test_each_epoch_has_its_own_order_which_can_be_repeated() -> None:
    batches = RowBatches(100, 10, shuffle=True, seed=0)
    orders = []
    for epoch in (0, 1, 0):
        batches.set_epoch(epoch)
        orders.append(torch.cat(list(batches)).tolist())
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == list(range(100))


@pytest.mark.parametrize(("size", "lengths"), [(25, [8, 8, 9]), (20, [10, 10]), (7, [7]), (21, [7, 7, 7])])
def test_lengths_of_batches(size: int, lengths: list[int]) -> None:
    batches = RowBatches(size, 10, shuffle=False)
    assert [len(batch) for batch in batches] == lengths
    assert len(batches) == len(lengths)


def test_a_damaged_shard_is_named_while_streaming(tmp_path: Path) -> None:
    folder = write_numbers(tmp_path / "pairs", 100, 20)
    module = make(folder, in_memory=False, val_pairs=10)
    (folder / "shard-000003.tar").write_bytes((folder / "shard-000003.tar").read_bytes()[:5000])
    with pytest.raises(InputError, match=r"shard-000003\.tar: shard is truncated"):
        list(module.train_dataloader())


def test_too_many_held_out_pairs_are_refused(numbers: Path) -> None:
    with pytest.raises(InputError, match=r"--data\.val_pairs: expected fewer than the 230 pairs"):
        make(numbers, val_pairs=230)


def test_a_tenth_of_the_pairs_is_held_out_by_default(numbers: Path) -> None:
    assert [default_val_pairs(pairs) for pairs in (2, 19, 1000, 9_990, 10_000, 10**9)] == [1, 1, 100, 999, 1000, 1000]
    for in_memory in (True, False):
        module = make(numbers, val_pairs=None, in_memory=in_memory)
        assert (module.val_pairs, module.num_train_pairs) == (23, 207)
        assert sum(len(latents) for latents, _ in module.val_dataloader()) == 23


def test_statistics_of_fewer_pairs_are_refused(tmp_path: Path) -> None:
    folder = write_numbers(tmp_path / "pairs", 20, 10)
    old = (folder / "statistics.npz").read_bytes()
    longer = replace(read_manifest(folder), num_pairs=30, shards=())
    open_dataset(folder, longer)
    rows = np.zeros((10, 1, 4), np.float16)
    publish_shard(folder, 2, 10, encode_shard(20, rows, rows[:, 0]))
    assert (folder / "statistics.npz").read_bytes() == old
    with pytest.raises(InputError, match="statistics are of 20 pairs, not 30"):
        make(folder, val_pairs=5)


def test_pairs_are_held_in_memory_where_they_fit(numbers: Path) -> None:
    manifest = read_manifest(numbers)
    assert fits_in_memory(manifest)
    assert not fits_in_memory(replace(manifest, num_pairs=10**13))


class Recorder(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.epochs: list[list[int]] = []
        self.held_out: list[int] = []

    def on_train_epoch_start(self) -> None:
        self.epochs.append([])

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        self.epochs[-1] += numbers_of([batch])
        return self.weight.sum()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.held_out += numbers_of([batch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("in_memory", [True, False])
def test_lightning_trains_on_it(numbers: Path, in_memory: bool) -> None:
    recorder = Recorder()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            max_epochs=2,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(recorder, datamodule=PairDataModule(numbers, 16, 40, in_memory=in_memory))
    assert [len(set(epoch)) for epoch in recorder.epochs] == [190] * 2
    assert recorder.epochs[0] != recorder.epochs[1]
    assert recorder.held_out == list(range(40)) * 2


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    """100 pairs in shards of 20, of which the numbers 3, 47 and 48 are not finite."""
    folder = write_numbers(tmp_path / "pairs", 100, 20)
    for index, bad in ((0, [3]), (2, [7, 8])):
        numbers = np.repeat(np.arange(index * 20, index * 20 + 20, dtype=np.float16)[:, None], 4, axis=1)
        latents = numbers.copy()
        latents[bad, 1] = np.nan
        publish_shard(folder, index, 20, encode_shard(index * 20, latents[:, None], -numbers))
    return folder


@pytest.mark.parametrize("in_memory", [True, False])
def test_what_is_not_finite_stops_and_is_named(spoilt: Path, in_memory: bool) -> None:
    with pytest.raises(InputError, match=r"samples? 3(, 47, 48)? of shard-000000\.tar.*: NaN or infinity"):
        make(spoilt, in_memory=in_memory, val_pairs=10)
    with pytest.raises(InputError, match=r"samples 47, 48 of shard-000002\.tar: NaN or infinity.*--on-non-finite"):
        list(make(spoilt, in_memory=in_memory, val_pairs=2).train_dataloader()) if not in_memory else make(
            write_only_second(spoilt), in_memory=True
        )


def write_only_second(folder: Path) -> Path:
    numbers = np.repeat(np.arange(20, dtype=np.float16)[:, None], 4, axis=1)
    publish_shard(folder, 0, 20, encode_shard(0, numbers[:, None], -numbers))
    return folder


@pytest.mark.parametrize("in_memory", [True, False])
def test_what_is_not_finite_is_left_out_on_demand(spoilt: Path, in_memory: bool) -> None:
    lines: list[str] = []
    module = make(spoilt, in_memory=in_memory, val_pairs=10, skip_non_finite=True, announce=lines.append)
    batches = list(module.train_dataloader())
    seen = numbers_of(batches)
    assert all(torch.isfinite(latents).all() for latents, _ in batches)
    assert len(seen) == (88 if in_memory else 90)
    assert set(seen) == set(range(10, 100)) - {47, 48}
    assert numbers_of(list(module.val_dataloader())) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert any("3" in line and "shard-000000.tar" in line for line in lines)
    assert any("47, 48" in line and "shard-000002.tar" in line for line in lines)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_batch_is_described_by_its_samples(numbers: Path, in_memory: bool) -> None:
    module = make(numbers, in_memory=in_memory, batch_size=3)
    loader = module.train_dataloader()
    loader.sampler.set_epoch(1)
    for number, batch in enumerate(loader):
        samples = ", ".join(map(str, numbers_of([batch])))
        assert module.describe_batch(1, number).startswith(f"batch {number} of epoch 1, samples {samples} of shard-")


@pytest.mark.parametrize("in_memory", [True, False])
def test_the_first_training_pairs_are_given_as_they_are_stored(tiny_pairs: Path, in_memory: bool) -> None:
    module = PairDataModule(tiny_pairs, val_pairs=10, in_memory=in_memory)
    module.setup("fit")
    latents, embeddings = load_pairs(tiny_pairs)
    given_latents, given_embeddings = module.pairs(30)
    assert np.array_equal(given_latents.numpy(), latents[10:40])
    assert np.array_equal(given_embeddings.numpy(), embeddings[10:40])
    with pytest.raises(InputError, match="expected at least 41 training pairs, there are 40"):
        module.pairs(41)


def test_a_limited_copy_has_the_first_pairs_only(tiny_pairs: Path) -> None:
    module = PairDataModule(tiny_pairs, batch_size=4, val_pairs=10, in_memory=True)
    module.setup("fit")
    limited = module.limited(7)
    seen = torch.cat([embeddings for _, embeddings in limited.train_dataloader()])
    assert (limited.num_train_pairs, module.num_train_pairs) == (7, 40)
    expected = module.embeddings(7)
    assert sorted(map(tuple, seen.tolist())) == sorted(map(tuple, expected.tolist()))


BATCHES = 5


def resumable() -> ResumableBatches:
    numbers = torch.arange(4 * BATCHES)
    pairs = PairTensors(numbers[:, None, None], numbers[:, None])
    return ResumableBatches(DataLoader(pairs, batch_size=None, sampler=RowBatches(len(pairs), 4, True, seed=1)))


def latents_of(batches: Any) -> list[list[float]]:
    return [latents.flatten().tolist() for latents, _ in batches]


@pytest.mark.parametrize("given", range(BATCHES))
def test_the_rest_of_the_epoch_follows_and_then_whole_epochs(given: int) -> None:
    whole = latents_of(resumable())
    left = resumable()
    assert latents_of(islice(left, given)) == whole[:given]
    state = left.state_dict()
    resumed = resumable()
    resumed.load_state_dict(state)
    assert latents_of(resumed) == whole[given:]
    assert latents_of(resumed) == whole
    assert len(resumed) == BATCHES


def test_a_finished_epoch_is_followed_by_a_whole_one() -> None:
    done = resumable()
    whole = latents_of(done)
    resumed = resumable()
    resumed.load_state_dict(done.state_dict())
    assert latents_of(resumed) == whole


def test_the_sampler_hears_of_the_epoch() -> None:
    batches = resumable()
    first = latents_of(batches)
    batches.sampler.set_epoch(1)
    second = latents_of(batches)
    assert first != second
    assert sorted(chain(*first)) == sorted(chain(*second))
