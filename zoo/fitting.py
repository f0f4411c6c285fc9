"""The training loop of the zoo's networks: resumable, reproducible, with a moving average of the weights."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Network = TypeVar("Network", bound=nn.Module)
Loss = Callable[[Network, int], tuple[Tensor, dict[str, float]]]
"""Maps (network, step) to the loss and what to log. All randomness comes from the step: a resumed run goes on alike."""


@dataclass(frozen=True)
class FitPlan:
    """How long and how fast to train: AdamW, linear warm-up, then a cosine to zero (or, not annealed, constant)."""

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

    Writes `folder`/last.pt (everything needed to resume) and `folder`/log.jsonl (loss and images per second);
    `on_save(average, step)` is called at every save, to draw samples.
    """
    folder.mkdir(parents=True, exist_ok=True)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(plan.ema_decay), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.lr, betas=plan.betas, weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, plan.lr_scale)
    parts: dict[str, Any] = {"network": network, "average": average, "optimizer": optimizer, "schedule": schedule}
    step = _restore(folder / "last.pt", parts)
    started, first = time.perf_counter(), step
    sums: dict[str, float] = {}
    while step < plan.num_steps:
        sums = _accumulate(sums, _step(network, loss, step, optimizer, plan.gradient_clip))
        schedule.step()
        average.update_parameters(network)
        step += 1
        if step % plan.log_every == 0:
            rate = (step - first) / (time.perf_counter() - started)
            means = {key: value / plan.log_every for key, value in sums.items()}
            _log(folder / "log.jsonl", step, plan.num_steps, rate, means)
            sums = {}
        if step % plan.save_every == 0 or step == plan.num_steps:
            _save(folder / "last.pt", parts, step)
            if on_save:
                on_save(cast(Network, average.module.eval()), step)
    return cast(Network, average.module.eval())


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


def _accumulate(sums: dict[str, float], values: dict[str, float]) -> dict[str, float]:
    return {key: sums.get(key, 0.0) + value for key, value in values.items()}


def _log(path: Path, step: int, num_steps: int, rate: float, values: dict[str, float]) -> None:
    minutes = (num_steps - step) / rate / 60
    shown = "  ".join(f"{key} {value:.4f}" for key, value in values.items())
    print(f"step {step}/{num_steps}  {rate:.2f} steps/s  {minutes:.1f} min left  {shown}", flush=True)
    with path.open("a") as file:
        file.write(json.dumps({"step": step, "steps_per_second": rate, **values}) + "\n")


def _save(path: Path, parts: dict[str, Any], step: int) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save({"step": step, **{name: part.state_dict() for name, part in parts.items()}}, temporary)
    os.replace(temporary, path)


def _restore(path: Path, parts: dict[str, Any]) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"])
