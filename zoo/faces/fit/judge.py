"""Fits the judge on renders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from text2latent.zoo.faces.attributes import visible
from text2latent.zoo.faces.fit.batches import degrade, draw_renders
from text2latent.zoo.faces.judge import WEIGHTS, Judge
from text2latent.zoo.fit.fitting import FitPlan, fit

PLAN = FitPlan(num_steps=2500, lr=2e-3, weight_decay=0.02, ema_decay=0.998)
BATCH = 32
SEED = 101


def judge_loss(judge: nn.Module, step: int) -> tuple[Tensor, dict[str, float]]:
    """Return the mean cross-entropy over the attributes that can be seen."""
    rng = np.random.default_rng([SEED, step])
    images, codes = draw_renders(rng, BATCH)
    with torch.autocast("cpu", torch.bfloat16):
        logits = judge(degrade(images, rng))
    labels = torch.from_numpy(np.where(visible(codes), codes, -100))
    return torch.stack([cross_entropy(head, labels[:, i]) for i, head in enumerate(logits)]).mean(), {}


def fit_judge(work: Path, destination: Path = WEIGHTS, plan: FitPlan = PLAN) -> None:
    """Fit the judge, resumably in `work`/judge, and write its weights as float16 to `destination`."""
    torch.manual_seed(SEED)
    judge = fit(Judge().to(memory_format=torch.channels_last), judge_loss, plan, work / "judge")
    destination.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: _half(tensor) for name, tensor in judge.state_dict().items()}, destination)


def _half(tensor: Tensor) -> Tensor:
    return tensor.contiguous().half() if tensor.is_floating_point() else tensor
