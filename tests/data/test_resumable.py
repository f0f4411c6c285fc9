"""A loader entered where it was left, against the list of its batches."""

from __future__ import annotations

from itertools import chain, islice
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from text2latent.data.datamodule import PairTensors, RowBatches
from text2latent.data.resumable import ResumableBatches

BATCHES = 5


def make() -> ResumableBatches:
    numbers = torch.arange(4 * BATCHES)
    pairs = PairTensors(numbers[:, None, None], numbers[:, None])
    return ResumableBatches(DataLoader(pairs, batch_size=None, sampler=RowBatches(len(pairs), 4, True, seed=1)))


def rows(batches: Any) -> list[list[float]]:
    return [latents.flatten().tolist() for latents, _ in batches]


@pytest.mark.parametrize("given", range(BATCHES))
def test_the_rest_of_the_epoch_follows_and_then_whole_epochs(given: int) -> None:
    whole = rows(make())
    left = make()
    assert rows(islice(left, given)) == whole[:given]
    state = left.state_dict()
    resumed = make()
    resumed.load_state_dict(state)
    assert rows(resumed) == whole[given:]
    assert rows(resumed) == whole
    assert len(resumed) == BATCHES


def test_a_finished_epoch_is_followed_by_a_whole_one() -> None:
    done = make()
    whole = rows(done)
    resumed = make()
    resumed.load_state_dict(done.state_dict())
    assert rows(resumed) == whole


def test_the_sampler_hears_of_the_epoch() -> None:
    batches = make()
    first = rows(batches)
    batches.sampler.set_epoch(1)
    second = rows(batches)
    assert first != second
    assert sorted(chain(*first)) == sorted(chain(*second))
