"""Training of the prior against a bare PyTorch loop, and its resumption against the uninterrupted run."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from text2latent.data.datamodule import PairTensors, RowBatches
from text2latent.models.priors.folder import load_prior
from text2latent.tests.training.training_runs import (
    BATCH,
    DECAY,
    STEPS_PER_EPOCH,
    Losses,
    SendSignal,
    assert_equal,
    fit,
    loader,
    make_module,
    make_pairs,
    parameters,
)
from text2latent.training.callbacks import EmaWeights, PriorFolder
from text2latent.training.interruption import TrainingInterrupted
from text2latent.training.module import NonFiniteLoss, PriorTraining


def epochs(pairs: PairTensors) -> Iterator[tuple[Tensor, Tensor]]:
    rows, epoch = RowBatches(len(pairs), BATCH, True, seed=3), 0
    while True:
        rows.set_epoch(epoch)
        yield from (pairs[indices] for indices in rows)
        epoch += 1


def bare_loop(steps: int, every: int = 1, eps: float = 1e-8) -> tuple[list[float], list[Tensor]]:
    """Losses and averaged weights of the same training, written out without Lightning and by textbook formulas."""
    module = make_module(steps)
    prior, objective = module.prior.train(), module.objective
    named = dict(prior.named_parameters())
    first, second = ({name: torch.zeros_like(p) for name, p in named.items()} for _ in range(2))
    losses, average = [], {}
    for step, (latents, embeddings) in zip(range(steps), epochs(make_pairs()), strict=False):
        seed = int(np.random.SeedSequence((0, 0, step, 0)).generate_state(1, np.uint64)[0] >> np.uint64(1))
        loss = objective.loss(prior, latents, embeddings, torch.Generator().manual_seed(seed))
        gradients = dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))
        lr = 1e-2 * min(1, (step + 1) / 4) * (1 + math.cos(math.pi * step / steps)) / 2
        for name, p in named.items():
            g = gradients[name] * min(1, 1 / norm)
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.99 * second[name] + 0.01 * g**2
            m, v = first[name] / (1 - 0.9 ** (step + 1)), second[name] / (1 - 0.99 ** (step + 1))
            p.data = p.data * (1 - lr * (0.01 if p.ndim > 1 else 0)) - lr * m / (v.sqrt() + eps)
            if (step + 1) % every == 0:
                updates = (step + 1) // every - 1
                decay = min(DECAY, (1 + updates) / (10 + updates)) if updates else 0
                average[name] = decay * average.get(name, 0) + (1 - decay) * p.data
        losses.append(float(loss.detach()))
    return losses, list(average.values())


@pytest.mark.parametrize(("every", "eps"), [(1, 1e-8), (5, 1e-3)])
def test_training_is_adamw_with_clipping_warmup_cosine_and_ema(tmp_path: Path, every: int, eps: float) -> None:
    module, losses = make_module(12, eps=eps), Losses()
    fit(module, tmp_path, losses, ema=partial(EmaWeights, every_steps=every))
    expected_losses, expected_weights = bare_loop(12, every, eps)
    assert losses.train == pytest.approx(expected_losses, rel=1e-4)
    for ours, expected in zip(parameters(module), expected_weights, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("step", [4, 5, 7, 11])
def test_resumed_training_equals_the_uninterrupted(tmp_path: Path, step: int) -> None:
    """Interrupted within an epoch, at its end (5), at a validation (4) and off all of these."""
    whole, losses = make_module(13, dropout=0.2), Losses()
    fit(whole, tmp_path / "whole", losses)
    with pytest.raises(TrainingInterrupted) as stopped:
        fit(make_module(13, dropout=0.2), tmp_path / "cut", SendSignal(step))
    assert stopped.value.step == step
    torch.manual_seed(99)
    resumed, rest = make_module(13, dropout=0.2), Losses()
    fit(resumed, tmp_path / "cut", rest, checkpoint=stopped.value.checkpoint)
    assert rest.train == losses.train[step:]
    assert rest.val[-2:] == losses.val[-2:]
    assert_equal(parameters(resumed), parameters(whole))


def test_resumes_from_the_checkpoint_of_a_validation_and_of_a_step(tmp_path: Path) -> None:
    whole = make_module(13)
    fit(whole, tmp_path / "whole")
    for every_steps, died_after in ((1000, 8), (3, 9)):
        folder = tmp_path / str(every_steps)
        with pytest.raises(RuntimeError, match="power cut"):
            fit(make_module(13), folder, Dies(10), every_steps=every_steps)
        state = torch.load(folder / "last.ckpt", weights_only=True)
        assert state["global_step"] == died_after
        resumed = make_module(13)
        fit(resumed, folder, checkpoint=folder / "last.ckpt", every_steps=every_steps)
        assert_equal(parameters(resumed), parameters(whole))


class Dies(pl.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("power cut")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_handlers_are_given_back(tmp_path: Path, signum: int) -> None:
    before = signal.getsignal(signum)
    with pytest.raises(TrainingInterrupted, match=signal.Signals(signum).name):
        fit(make_module(20), tmp_path, SendSignal(2, signum))
    assert signal.getsignal(signum) is before


def test_signal_in_the_last_step_lets_the_run_end(tmp_path: Path) -> None:
    trainer = fit(make_module(6), tmp_path, SendSignal(6))
    assert trainer.global_step == 6


def test_checkpoint_describes_itself_and_holds_the_averaged_weights(tmp_path: Path) -> None:
    module = make_module(8)
    fit(module, tmp_path)
    trained = load_prior(tmp_path / "last.ckpt")
    assert_equal([*trained.prior.parameters()], parameters(module))
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    raw = [state["current_model_state"][f"prior.{name}"] for name, _ in module.prior.named_parameters()]
    assert not all(torch.equal(a, b) for a, b in zip(raw, parameters(module), strict=True))


def test_best_checkpoint_has_the_lowest_validation_loss(tmp_path: Path) -> None:
    losses, steps = Losses(), []

    class Steps(pl.Callback):
        def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            steps.append(trainer.global_step)

    # A learning rate this high makes the loss go up again.
    fit(make_module(24, lr=0.3, schedule="constant"), tmp_path, losses, Steps(), val_every=2)
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert best["global_step"] == steps[int(np.argmin(losses.val))]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 24
    assert np.argmin(losses.val) < len(losses.val) - 1


def test_validation_is_comparable_over_time_and_of_the_averaged_weights(tmp_path: Path) -> None:
    still = Losses()
    fit(make_module(9, lr=1e-30), tmp_path / "still", still, val_every=3)
    assert len(set(still.val)) == 1
    seen: list[dict[str, float]] = []
    module = make_module(9)
    fit(module, tmp_path / "moving", PriorFolder(seen.append), val_every=3)
    assert [metrics["step"] for metrics in seen] == [3, 6, 9]
    losses = []
    for index, (latents, embeddings) in enumerate(loader(make_pairs(12, seed=1), False)):
        seed = int(np.random.SeedSequence((0, 1, index, 0)).generate_state(1, np.uint64)[0] >> np.uint64(1))
        with torch.no_grad():
            loss = module.objective.loss(module.prior.eval(), latents, embeddings, torch.Generator().manual_seed(seed))
        losses.append(float(loss) * len(latents))
    assert seen[-1]["val_loss"] == pytest.approx(sum(losses) / 12, rel=1e-5)


class Weights(pl.Callback):
    def __init__(self) -> None:
        self.after: list[Tensor] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(module, PriorTraining)
        self.after.append(torch.cat([parameter.detach().flatten() for parameter in module.prior.parameters()]))


def spoilt_pairs() -> PairTensors:
    """Pairs of which one, in the second batch of the first epoch, has no finite latent."""
    pairs, order = make_pairs(), RowBatches(STEPS_PER_EPOCH * BATCH, BATCH, True, seed=3)
    pairs.latents[order.rows(0, 1)[2]] = math.nan
    return pairs


def test_a_gradient_that_is_not_finite_stops_training_before_it_does_harm(tmp_path: Path) -> None:
    module, weights = make_module(50), Weights()
    with pytest.raises(NonFiniteLoss, match=r"loss nan.* at step 2, learning rate .*: batch 1 of epoch 0"):
        fit(module, tmp_path, weights, pairs=spoilt_pairs(), every_steps=1)
    assert len(weights.after) == 1
    assert load_prior(tmp_path / "last.ckpt").prior.state_dict().keys()
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 1
    assert all(value.isfinite().all() for value in module.prior.state_dict().values())


@pytest.mark.parametrize("fused", [True, False])
def test_a_gradient_that_is_not_finite_is_left_out_on_demand(
    tmp_path: Path, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    adamw = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda *args, **settings: adamw(*args, **settings | {"fused": fused}))
    reported: list[str] = []
    weights, losses = Weights(), Losses()
    module = make_module(10, skip_non_finite=True, announce=reported.append, log_every_steps=5)
    fit(module, tmp_path, weights, losses, pairs=spoilt_pairs())
    assert len(reported) == module.skipped_steps == 2
    assert "at step 2" in reported[0]
    assert reported[0].endswith("batch 1 of epoch 0; left out")
    assert torch.equal(weights.after[1], weights.after[0])
    assert not torch.equal(weights.after[2], weights.after[1])
    assert weights.after[-1].isfinite().all()
    assert math.isfinite(module.metrics["train_loss"])


def test_too_many_steps_left_out_end_training(tmp_path: Path) -> None:
    pairs = make_pairs()
    pairs.latents[:] = math.inf
    with pytest.raises(NonFiniteLoss, match="as in the 20 steps before"):
        fit(make_module(50, skip_non_finite=True), tmp_path, pairs=pairs, val_every=1000)


def test_a_validation_loss_that_is_not_finite_reaches_no_checkpoint(tmp_path: Path) -> None:
    module = make_module(8)
    module.prior.latent_mean.fill_(math.nan)  # buffers don't get gradients of their own
    with pytest.raises(NonFiniteLoss):
        fit(module, tmp_path, val_every=1, every_steps=1)
    assert not list(tmp_path.glob("*.ckpt"))


class Clock:
    """A clock that goes on when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


def test_time_limit_ends_the_run_annealed(tmp_path: Path) -> None:
    """Steps of 1/64 s, for half a second."""
    rates: list[float] = []
    clock = Clock()

    class Rates(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])
            clock.seconds += 1 / 64

    module = make_module(10**9, max_seconds=0.5, warmup_steps=0, clock=clock.monotonic)
    trainer = fit(module, tmp_path, Rates(), val_every=10**6)
    assert trainer.global_step == 33
    assert rates == pytest.approx([1e-2 * (1 + math.cos(math.pi * step / 32)) / 2 for step in range(33)], abs=1e-12)
    assert (tmp_path / "last.ckpt").exists()


@pytest.fixture(scope="module")
def schedules() -> dict[str, PriorTraining]:
    names = ("cosine", "constant")
    return {name: make_module(1000, max_seconds=60.0, warmup_steps=100, schedule=name) for name in names}


@given(st.integers(0, 2000), st.floats(0, 120))
def test_progress_is_that_of_the_limit_that_comes_first(
    schedules: dict[str, PriorTraining], step: int, seconds: float
) -> None:
    progress = schedules["cosine"].progress(step, seconds)
    assert progress == pytest.approx(min(1.0, max(step / 1000, seconds / 60)))


@given(st.integers(0, 1000))
def test_schedules(schedules: dict[str, PriorTraining], step: int) -> None:
    warm = min(1, (step + 1) / 101)
    assert schedules["constant"].lr_factor(step) == pytest.approx(warm)
    assert schedules["cosine"].lr_factor(step) == pytest.approx(warm * math.cos(math.pi * step / 2000) ** 2)
