from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from text2latent.zoo.fit.fitting import FitPlan, fit, moving_average


def small_network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))


def regression(network: nn.Module, step: int) -> tuple[Tensor, dict[str, float]]:
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
    loss = (network(x) - x.sum(dim=1, keepdim=True)).square().mean()
    return loss, {"double": 2 * loss.item()}


class Interrupted:
    """A loss that raises KeyboardInterrupt, once, when it is asked for the given step."""

    def __init__(self, at: int):
        self.at: int | None = at
        self.steps: list[int] = []

    def __call__(self, network: nn.Module, step: int) -> tuple[Tensor, dict[str, float]]:
        if step == self.at:
            self.at = None
            raise KeyboardInterrupt
        self.steps.append(step)
        return regression(network, step)


PLAN = FitPlan(num_steps=23, lr=0.05, warmup_steps=5, ema_decay=0.8, log_every=4, save_every=6, weight_decay=0.01)


def assert_same(first: nn.Module, second: nn.Module) -> None:
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize("at", [3, 6, 11, 22])
def test_an_interrupted_and_resumed_run_equals_an_uninterrupted_one(tmp_path, at):
    straight = fit(small_network(), regression, PLAN, tmp_path / "straight")
    loss = Interrupted(at)
    with pytest.raises(KeyboardInterrupt):
        fit(small_network(), loss, PLAN, tmp_path / "broken")
    resumed = fit(small_network(seed=9 if at >= PLAN.save_every else 0), loss, PLAN, tmp_path / "broken")
    assert_same(resumed, straight)
    assert loss.steps == [*range(at), *range(at - at % PLAN.save_every, PLAN.num_steps)]
    ends = [torch.load(tmp_path / run / "last.pt", weights_only=True) for run in ("straight", "broken")]
    for name, tensor in ends[0]["network"].items():
        assert torch.equal(tensor, ends[1]["network"][name]), name


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = fit(small_network(), regression, PLAN, tmp_path)
    loss = Interrupted(at=0)
    again = fit(small_network(seed=5), loss, PLAN, tmp_path)
    assert loss.steps == []
    assert_same(first, again)


def test_minutes_end_a_call_and_the_next_goes_on(tmp_path):
    loss = Interrupted(at=-1)
    plan = dataclasses.replace(PLAN, max_minutes=1e-9)
    for step in range(3):
        fit(small_network(), loss, plan, tmp_path)
        assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == step + 1
    assert loss.steps == [0, 1, 2]
    assert_same(fit(small_network(), loss, PLAN, tmp_path), fit(small_network(), regression, PLAN, tmp_path / "other"))


def test_training_reduces_the_loss_and_returns_a_network_in_eval_mode(tmp_path):
    network = small_network()
    before = regression(network, 1000)[0].item()
    plan = FitPlan(num_steps=150, lr=0.03, warmup_steps=10, ema_decay=0.9)
    fitted = fit(network, regression, plan, tmp_path)
    assert not any(module.training for module in fitted.modules())
    assert fitted is not network
    assert regression(fitted, 1000)[0].item() < 0.3 * before


class Constant(nn.Module):
    """One weight whose gradient is what `pull` says."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))


def pull(network: nn.Module, step: int) -> tuple[Tensor, dict[str, float]]:
    return 0.7 * network.weight.sum(), {}


def scales(plan: FitPlan) -> list[float]:
    """The schedule, written down anew: a ramp to 1, times half a cosine wave where the plan is annealed."""
    ramp = [min(1.0, (step + 1) / plan.warmup_steps) for step in range(plan.num_steps)]
    wave = [(1 + math.cos(math.pi * step / plan.num_steps)) / 2 for step in range(plan.num_steps)]
    return [a * b if plan.anneal else a for a, b in zip(ramp, wave, strict=True)]


@pytest.mark.parametrize("anneal", [True, False])
def test_steps_and_average_against_closed_form(tmp_path, anneal):
    """Under a constant gradient every step of Adam has the length of its learning rate."""
    plan = FitPlan(num_steps=30, lr=0.1, warmup_steps=8, anneal=anneal, ema_decay=0.9, save_every=1000)
    seen: list[float] = []

    def loss(network: nn.Module, step: int) -> tuple[Tensor, dict[str, float]]:
        seen.append(float(network.weight.detach()))
        return pull(network, step)

    average = fit(Constant(), loss, plan, tmp_path)
    weights = -0.1 * np.cumsum(scales(plan))
    np.testing.assert_allclose(seen, [0.0, *weights[:-1]], atol=1e-6)
    expected = weights[0]
    for weight in weights[1:]:
        expected = 0.9 * expected + 0.1 * weight
    assert average.weight.item() == pytest.approx(expected, abs=1e-6)


def test_schedule_warms_up_and_anneals_to_zero():
    plan = FitPlan(num_steps=1000, lr=1.0, warmup_steps=100)
    assert plan.lr_scale(0) == pytest.approx(0.01)
    assert plan.lr_scale(500) == pytest.approx(0.5)
    assert plan.lr_scale(1000) == pytest.approx(0, abs=1e-12)
    assert plan.lr_scale(5000) == pytest.approx(0, abs=1e-12)
    constant = FitPlan(num_steps=1000, lr=1.0, warmup_steps=100, anneal=False)
    assert [constant.lr_scale(step) for step in (49, 99, 999)] == pytest.approx([0.5, 1, 1])


def test_gradients_are_clipped(tmp_path):
    """A gradient of 1000 clipped to 1 is one like the others, so that Adam's steps stay equal."""

    def loss(network: nn.Module, step: int) -> tuple[Tensor, dict[str, float]]:
        return (1000.0 if step == 2 else 1.0) * network.weight.sum(), {}

    plan = FitPlan(num_steps=10, lr=0.1, warmup_steps=1, anneal=False, ema_decay=0.0, gradient_clip=1.0)
    assert fit(Constant(), loss, plan, tmp_path / "clipped").weight.item() == pytest.approx(-1.0, abs=1e-5)
    loose = FitPlan(num_steps=10, lr=0.1, warmup_steps=1, anneal=False, ema_decay=0.0, gradient_clip=1e6)
    assert abs(fit(Constant(), loss, loose, tmp_path / "loose").weight.item() + 1.0) > 0.1


def test_the_log_holds_means_and_rate(tmp_path):
    values: list[float] = []

    def loss(network: nn.Module, step: int) -> tuple[Tensor, dict[str, float]]:
        value, logged = regression(network, step)
        values.append(value.item())
        return value, logged

    fit(small_network(), loss, PLAN, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8, 12, 16, 20]
    for line in lines:
        mean = np.mean(values[line["step"] - 4 : line["step"]])
        assert line["loss"] == pytest.approx(mean)
        assert line["double"] == pytest.approx(2 * mean)
        assert line["steps_per_second"] > 0


def test_samples_are_drawn_of_the_average_at_every_save(tmp_path):
    calls: list[tuple[int, bool]] = []

    def on_save(average: nn.Module, step: int) -> None:
        saved = torch.load(tmp_path / "last.pt", weights_only=True)
        assert saved["step"] == step
        for name, tensor in average.state_dict().items():
            assert torch.equal(tensor, saved["average"][f"module.{name}"])
        calls.append((step, average.training))

    fit(small_network(), regression, PLAN, tmp_path, on_save)
    assert calls == [(6, False), (12, False), (18, False), (23, False)]


class Unsaveable(nn.Linear):
    """A network that cannot be pickled once `broken` is set."""

    broken = False

    def get_extra_state(self) -> Any:
        return (lambda: None) if self.broken else 0

    def set_extra_state(self, state: Any) -> None:
        assert state == 0


def test_a_failing_save_keeps_the_last_checkpoint(tmp_path):
    def loss(network: nn.Module, step: int) -> tuple[Tensor, dict[str, float]]:
        network.broken = step >= 5
        return network(torch.ones(1, 2)).square().sum(), {}

    plan = FitPlan(num_steps=9, lr=0.1, warmup_steps=1, save_every=4)
    with pytest.raises(Exception, match="pickle"):
        fit(Unsaveable(2, 1), loss, plan, tmp_path)
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    assert saved["step"] == 4
    network = Unsaveable(2, 1)
    network.load_state_dict(saved["network"])


def test_a_damaged_checkpoint_is_not_taken_for_a_fresh_start(tmp_path):
    fit(small_network(), regression, PLAN, tmp_path)
    whole = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(whole[: len(whole) // 2])
    loss = Interrupted(at=-1)
    with pytest.raises((RuntimeError, OSError)):
        fit(small_network(), loss, PLAN, tmp_path)
    assert loss.steps == []


def test_the_average_takes_over_infinities_and_whole_numbers():
    """As the mask of a text tower's attention has them, and the counters of normalisation layers."""
    network = torch.nn.BatchNorm1d(2)
    network.register_buffer("mask", torch.tensor([0.0, -torch.inf]), persistent=False)
    average = moving_average(network, 0.9)
    for _ in range(3):
        network(torch.rand(4, 2))
        average.update_parameters(network)
    assert average.module.mask.tolist() == [0.0, -torch.inf]
    assert average.module.num_batches_tracked == 3
