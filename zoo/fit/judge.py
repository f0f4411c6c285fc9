"""Fits the judge of a world on its renders."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from text2latent.zoo.fit.batches import degrade, draw_renders
from text2latent.zoo.fit.fitting import FitPlan, fit
from text2latent.zoo.judge import Judge
from text2latent.zoo.world import World

BATCH = 32
SEED = 101


def make_plan(world: World) -> FitPlan:
    """For how long the judge is fitted, and how fast."""
    return FitPlan(num_steps=world.fit["judge"]["num_steps"], lr=2e-3, weight_decay=0.02, ema_decay=0.998)


def judge_loss(judge: nn.Module, step: int, world: World) -> tuple[Tensor, dict[str, float]]:
    """Return the mean cross-entropy over the attributes that can be seen."""
    rng = np.random.default_rng([SEED, step])
    images, codes = draw_renders(world, rng, BATCH)
    with torch.autocast("cpu", torch.bfloat16):
        logits = judge(degrade(images, rng))
    labels = torch.from_numpy(np.where(world.visible(codes), codes, -100))
    return torch.stack([cross_entropy(head, labels[:, i]) for i, head in enumerate(logits)]).mean(), {}


def fit_judge(world: World, work: Path, destination: Path) -> None:
    """Fit the judge, resumably in `work`/judge, and write its weights as float16 to `destination`."""
    torch.manual_seed(SEED)
    judge = Judge(world).to(memory_format=torch.channels_last)
    judge = fit(judge, partial(judge_loss, world=world), make_plan(world), work / "judge")
    destination.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: _half(tensor) for name, tensor in judge.state_dict().items()}, destination)


def _half(tensor: Tensor) -> Tensor:
    return tensor.contiguous().half() if tensor.is_floating_point() else tensor
