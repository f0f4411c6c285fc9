"""Streams of pairs: each pair once, the same order again from anywhere, little memory, for any number of readers."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from text2latent.benchmarks.cluster import streaming_peak
from text2latent.common.errors import UsageError
from text2latent.data.datamodule import ResumableBatches
from text2latent.data.records import read_manifest
from text2latent.data.storage import open_store
from text2latent.data.streaming import StreamedPairs, num_batches, share
from text2latent.tests.data.pair_folders import write_numbers


def stream(folder: Path, rank: int = 0, processes: int = 1, **settings: int) -> StreamedPairs:
    """What the process `rank` of several would read."""
    arguments = {"first": 40, "batch_size": 7, "seed": 5, "shuffle_pairs": 20, **settings}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("text2latent.data.streaming.this_process", lambda: (rank, processes))
        return StreamedPairs(open_store(folder), read_manifest(folder), **arguments)


def load(pairs: StreamedPairs, workers: int = 0) -> ResumableBatches:
    return ResumableBatches(DataLoader(pairs, batch_size=None, num_workers=workers))


def numbers_of(batches: ResumableBatches) -> list[list[int]]:
    return [latents[:, 0, 0].int().tolist() for latents, _ in batches]


@given(total=st.integers(1, 500), parts=st.integers(1, 20), batch_size=st.integers(1, 60))
def test_parts_and_batches_are_even_and_none_is_empty(total: int, parts: int, batch_size: int) -> None:
    if total < parts:
        with pytest.raises(UsageError, match="too few"):
            num_batches(total, parts, batch_size)
        return
    batches = num_batches(total, parts, batch_size)
    shares = [share(total, parts, part) for part in range(parts)]
    assert list(chain(*shares)) == list(range(total))
    sizes = [len(share(len(mine), batches, batch)) for mine in shares for batch in range(batches)]
    assert 1 <= min(sizes) <= max(sizes) <= max(min(batch_size, min(sizes) + 2), 2)


@settings(deadline=None, max_examples=25)
@given(
    processes=st.integers(1, 4),
    workers=st.integers(1, 3),
    batch_size=st.integers(1, 50),
    shuffle_pairs=st.integers(1, 100),
    first=st.integers(0, 100),
)
def test_every_pair_once_and_as_many_batches_for_all(
    numbers: Path, processes: int, workers: int, batch_size: int, shuffle_pairs: int, first: int
) -> None:
    options = {"num_workers": workers, "batch_size": batch_size, "shuffle_pairs": shuffle_pairs, "first": first}
    seen, lengths = [], set()
    for rank in range(processes):
        pairs = stream(numbers, rank, processes, **options)
        batches = [latents[:, 0, 0].int().tolist() for latents, _ in pairs]
        assert len(batches) == len(pairs)
        lengths.add(len(batches))
        seen += list(chain(*batches))
    assert sorted(seen) == list(range(first, 230))
    assert len(lengths) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_the_rest_of_an_epoch_follows_wherever_it_was_left(numbers: Path, workers: int) -> None:
    whole = numbers_of(load(stream(numbers, num_workers=workers), workers))
    assert sorted(chain(*whole)) == list(range(40, 230))
    for given_batches in (1, 2, 9, len(whole) - 1):
        resumed = load(stream(numbers, num_workers=workers), workers)
        resumed.load_state_dict({"batches": given_batches})
        assert numbers_of(resumed) == whole[given_batches:]
        assert resumed.state_dict() == {"batches": len(whole)}


def test_entering_an_epoch_late_reads_only_what_follows(numbers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, read = stream(numbers), []
    original = pairs._read_piece
    monkeypatch.setattr(pairs, "_read_piece", lambda shard, samples: read.append(shard) or original(shard, samples))
    pairs.start_at(len(pairs) - 1)
    assert len(list(pairs)) == 1
    assert len(read) <= 2


def test_epochs_and_seeds_have_orders_of_their_own_that_can_be_repeated(numbers: Path) -> None:
    orders = []
    for seed, epoch in ((5, 0), (5, 1), (6, 0), (5, 0)):
        batches = load(stream(numbers, seed=seed))
        batches.sampler.set_epoch(epoch)
        orders.append(numbers_of(batches))
    assert orders[0] == orders[3]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_pairs_are_mixed_within_groups_and_shards_among_each_other(numbers: Path) -> None:
    order = list(chain(*numbers_of(load(stream(numbers, first=0, batch_size=1, shuffle_pairs=64)))))
    shards = list(dict.fromkeys(number // 32 for number in order))
    assert shards != sorted(shards)
    neighbours = np.abs(np.diff(order))
    assert np.mean(neighbours == 1) < 0.2
    assert {number // 32 for number in order[:64]} == set(shards[:2])


@pytest.mark.parametrize(("processes", "workers"), [(1, 1), (2, 1), (2, 3)])
def test_samples_of_a_batch_can_be_told(numbers: Path, processes: int, workers: int) -> None:
    for rank in range(processes):
        pairs = stream(numbers, rank, processes, num_workers=workers)
        pairs.set_epoch(3)
        for batch in range(workers):
            pairs.start_at(batch)
            latents, _ = next(iter(pairs))
            assert pairs.samples(3, batch).tolist() == latents[:, 0, 0].int().tolist()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux shows a process's peak there")
def test_memory_stays_the_same_over_ten_times_the_shards(tmp_path: Path) -> None:
    """20,000 pairs of 2 KiB in the tenfold dataset would be 40 MB more."""
    few, many = (write_numbers(tmp_path / str(pairs), pairs, 512, width=512) for pairs in (2_048, 20_480))
    assert streaming_peak(many, shuffle_pairs=4096) - streaming_peak(few, shuffle_pairs=4096) < 16 * 2**20


COUNT = """
import sys, torch
from text2latent.data.datamodule import PairDataModule
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
data = PairDataModule(sys.argv[1], batch_size=8, val_pairs=30, num_workers=2, in_memory=sys.argv[2] == "memory")
data.setup("fit")
loader = data.train_dataloader()
for epoch in range(2):
    loader.sampler.set_epoch(epoch)
    seen = [int(key) for latents, _ in loader for key in latents[:, 0, 0]]
    torch.distributed.barrier()
    with open(f"{sys.argv[3]}/{rank}-{epoch}", "w") as file:
        print(len(loader), *seen, file=file)
torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize("kind", ["memory", "stream"])
def test_two_ranks_with_two_workers_each_see_every_key_once(numbers: Path, tmp_path: Path, kind: str) -> None:
    """200 pairs in 7 shards of 32 divide evenly neither by ranks nor by workers nor by batches."""
    script = tmp_path / "count.py"
    script.write_text(COUNT)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*launcher, str(script), str(numbers), kind, str(tmp_path)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    written = {(rank, epoch): (tmp_path / f"{rank}-{epoch}").read_text().split() for rank in (0, 1) for epoch in (0, 1)}
    keys = {place: list(map(int, seen)) for place, (_, *seen) in written.items()}
    assert len({length for length, *_ in written.values()}) == 1
    for epoch in (0, 1):
        assert sorted(keys[0, epoch] + keys[1, epoch]) == list(range(30, 230))
        assert abs(len(keys[0, epoch]) - len(keys[1, epoch])) <= 2
    assert keys[0, 0] != keys[0, 1]


def test_fewer_pairs_than_readers_are_refused(numbers: Path) -> None:
    with pytest.raises(UsageError, match="3 pairs are too few for 4 processes and workers"):
        stream(numbers, 0, 2, first=227, num_workers=2)


def test_tensors_are_float32(numbers: Path) -> None:
    latents, embeddings = next(iter(stream(numbers)))
    assert latents.dtype == embeddings.dtype == torch.float32
    assert latents.shape[1:] == (1, 4)
    torch.testing.assert_close(latents[:, 0], -embeddings)


def test_without_workers_of_its_own_the_loader_has_the_same_order(numbers: Path) -> None:
    for start in (0, 5):
        orders = []
        for workers in (0, 2):
            batches = load(stream(numbers, num_workers=2), workers)
            batches.load_state_dict({"batches": start})
            orders.append(numbers_of(batches))
        assert orders[0] == orders[1]
