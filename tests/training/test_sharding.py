"""A prior that is split over processes trains, saves and goes on as a whole one; here over one process and two."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from text2latent.models.priors.folder import load_prior
from text2latent.tests.training.training_runs import (
    Losses,
    SendSignal,
    fit,
    make_module,
    make_pairs,
    parameters,
)
from text2latent.training.callbacks import PriorFolder
from text2latent.training.interruption import TrainingInterrupted
from text2latent.training.module import PriorTraining
from text2latent.training.sharding import ShardedEmaWeights, ShardedPriorTraining, ShardedStrategy, WholePrior


@pytest.fixture
def group() -> Iterator[dict[str, Any]]:
    """What makes `fit` split the prior in a group of one process, which is gone afterwards."""
    before = dict(os.environ)
    yield {"strategy": ShardedStrategy(1), "ema": ShardedEmaWeights}
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    os.environ.clear()
    os.environ.update(before)


def whole(module: PriorTraining) -> list[Tensor]:
    return [weight.full_tensor() for weight in parameters(module)]


def test_a_split_prior_is_trained_like_a_whole_one(tmp_path: Path, group: dict[str, Any]) -> None:
    expected, losses = make_module(12), Losses()
    fit(expected, tmp_path / "whole", losses)
    module, split_losses = make_module(12, kind=ShardedPriorTraining), Losses()
    fit(module, tmp_path / "split", split_losses, **group)
    assert isinstance(module.prior, FSDPModule)
    assert isinstance(module.prior.blocks[0], FSDPModule)
    assert split_losses.train == pytest.approx(losses.train, rel=1e-5)
    assert split_losses.val == pytest.approx(losses.val, rel=1e-5)
    for ours, theirs in zip(whole(module), parameters(expected), strict=True):
        torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(load_prior(tmp_path / "split/last.ckpt").prior.parameters(), whole(module), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("first", ["whole", "split"])
def test_a_run_goes_on_split_or_not(tmp_path: Path, group: dict[str, Any], first: str) -> None:
    """Weights, averages, Adam's moments and the position in the data come from a checkpoint of the other kind."""
    expected, losses = make_module(13), Losses()
    fit(expected, tmp_path / "expected", losses)
    kinds: dict[str, Any] = {"whole": (PriorTraining, {}), "split": (ShardedPriorTraining, group)}
    kind, settings = kinds.pop(first)
    with pytest.raises(TrainingInterrupted) as stopped:
        fit(make_module(13, kind=kind), tmp_path / "run", SendSignal(7), **settings)
    ((kind, settings),) = kinds.values()
    module, rest = make_module(13, kind=kind), Losses()
    fit(module, tmp_path / "run", rest, checkpoint=stopped.value.checkpoint, **settings)
    assert rest.train == pytest.approx(losses.train[7:], rel=1e-5)
    averaged = whole(module) if settings else parameters(module)
    for ours, theirs in zip(averaged, parameters(expected), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_whole_prior_is_at_hand_after_each_validation(tmp_path: Path, group: dict[str, Any]) -> None:
    module, prior = make_module(8, kind=ShardedPriorTraining), make_module(8).prior
    seen: list[list[Tensor]] = []
    watcher = PriorFolder(lambda metrics: seen.append([weight.detach().clone() for weight in prior.parameters()]))
    fit(module, tmp_path, WholePrior(prior), watcher, **group)
    assert len(seen) == 2
    for ours, theirs in zip(seen[-1], whole(module), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(seen[0][0], seen[1][0])


def test_a_step_that_is_not_finite_is_left_out(tmp_path: Path, group: dict[str, Any]) -> None:
    pairs, lines = make_pairs(), []
    pairs.latents[3] = torch.nan
    module = make_module(7, kind=ShardedPriorTraining, skip_non_finite=True, announce=lines.append)
    fit(module, tmp_path, pairs=pairs, **group)
    assert module.skipped_steps == len(lines) >= 1
    assert all(weight.isfinite().all() for weight in whole(module))
