"""The training loop of the zoo's networks: resumable, reproducible, with a moving average of the weights."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from text2latent.common.files import replacing

Network = TypeVar("Network", bound=nn.Module)
Loss = Callable[[Network, int], tuple[Tensor, dict[str, float]]]
"""Maps (network, step) to the loss and what to log. All randomness comes from the step: a resumed run goes on alike."""
Logged = Mapping[str, float | Tensor]
"""What a step has to log; tensors hold one number and may stay on their device."""


@dataclass(frozen=True)
class FitPlan:
    """How long and how fast to train: AdamW, linear warm-up, then a cosine to zero (or, not annealed, constant).

    `max_minutes` limits the wall-clock time of one call; run again, training goes on for as long.
    """

    num_steps: int
    lr: float
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    warmup_steps: int = 200
    anneal: bool = True
    ema_decay: float = 0.998
    gradient_clip: float = 1.0
    log_every: int = 100
    save_every: int = 500
    max_minutes: float | None = None

    def lr_scale(self, step: int) -> float:
        """Return the factor of the learning rate at a step."""
        warmup = min(1.0, (step + 1) / self.warmup_steps)
        if not self.anneal:
            return warmup
        return warmup * 0.5 * (1 + math.cos(math.pi * min(step / self.num_steps, 1.0)))


def fit(
    network: Network,
    loss: Loss[Network],
    plan: FitPlan,
    folder: Path,
    on_save: Callable[[Network, int], None] | None = None,
) -> Network:
    """Train `network`, going on from `folder`/last.pt if there is one, and return its moving average in eval mode.

    Writes into `folder` as `run_steps` does; `on_save(average, step)` is called at every save, to draw samples.
    """
    average = moving_average(network, plan.ema_decay)
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.lr, betas=plan.betas, weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, plan.lr_scale)

    def steps(first: int) -> Iterator[Logged]:
        for step in range(first, plan.num_steps):
            logged = _step(network, loss, step, optimizer, plan.gradient_clip)
            schedule.step()
            average.update_parameters(network)
            yield logged

    def saved(step: int) -> None:
        if on_save:
            on_save(cast(Network, average.module.eval()), step)

    parts = {"network": network, "average": average, "optimizer": optimizer, "schedule": schedule}
    run_steps(steps, parts, plan, folder, saved)
    return cast(Network, average.module.eval())


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Return a copy of `network` whose `update_parameters` lets weights and buffers follow those of the network."""
    return AveragedModel(network, multi_avg_fn=partial(_follow, decay), use_buffers=True)


@torch.no_grad()
def _follow(decay: float, averages: Sequence[Tensor], values: Sequence[Tensor], _: Tensor | int) -> None:
    """Let averages follow values; whole numbers and infinities, as an attention's mask has them, are taken over."""
    for average, value in zip(averages, values, strict=True):
        if average.is_floating_point():
            average.copy_(torch.where(value.isinf(), value, average.lerp(value, 1 - decay)))
        else:
            average.copy_(value)


def run_steps(
    steps: Callable[[int], Iterable[Logged]],
    parts: Mapping[str, Any],
    plan: FitPlan,
    folder: Path,
    on_save: Callable[[int], None],
) -> None:
    """Take the steps of a training up to the plan's number, or until its minutes are over.

    Writes `folder`/last.pt (everything needed to resume, from where a run goes on if it is there) and
    `folder`/log.jsonl (means of what the steps logged, and steps per second).

    Args:
        steps: maps the number of the first step to an iterable that takes a step for each item: what there is to log.
        parts: all that changes in a step, each with a `state_dict`.
        plan: its numbers of steps and minutes.
        folder: made if it is not there.
        on_save: called after every save, with the number of steps taken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    step = first = _restore(folder / "last.pt", parts)
    started = time.perf_counter()
    sums: dict[str, float | Tensor] = {}
    for logged in steps(first):
        step += 1
        sums = {key: sums.get(key, 0.0) + value for key, value in logged.items()}
        minutes = (time.perf_counter() - started) / 60
        if step % plan.log_every == 0:
            means = {key: float(value) / plan.log_every for key, value in sums.items()}
            _log(folder / "log.jsonl", step, plan, (step - first) / minutes / 60, minutes, means)
            sums = {}
        is_last = step == plan.num_steps or (plan.max_minutes is not None and minutes >= plan.max_minutes)
        if is_last or step % plan.save_every == 0:
            _save(folder / "last.pt", parts, step)
            on_save(step)
        if is_last:
            break


def _step(
    network: Network, loss: Loss[Network], step: int, optimizer: torch.optim.Optimizer, clip: float
) -> dict[str, float]:
    network.train()
    value, logged = loss(network, step)
    optimizer.zero_grad(set_to_none=True)
    value.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
    optimizer.step()
    return {"loss": value.item(), **logged}


def _log(path: Path, step: int, plan: FitPlan, rate: float, minutes: float, values: Mapping[str, float]) -> None:
    left = (plan.num_steps - step) / rate / 60
    left = left if plan.max_minutes is None else min(left, max(plan.max_minutes - minutes, 0.0))
    shown = "  ".join(f"{key} {value:.4f}" for key, value in values.items())
    print(f"step {step}/{plan.num_steps}  {rate:.2f} steps/s  {left:.1f} min left  {shown}", flush=True)
    with path.open("a") as file:
        file.write(json.dumps({"step": step, "steps_per_second": rate, **values}) + "\n")


def _save(path: Path, parts: Mapping[str, Any], step: int) -> None:
    with replacing(path) as temporary:
        torch.save({"step": step, **{name: part.state_dict() for name, part in parts.items()}}, temporary)


def _restore(path: Path, parts: Mapping[str, Any]) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"])
