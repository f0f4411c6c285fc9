"""Fits the mapping network of a world's generator: z -> w, whose meaning is known in closed form.

Where an attribute changes its value, w jumps. Gradient descent is slow to find such steps and leaves them blunt, so the
first two layers start as a set of steps at the places where they belong; training puts them together and finishes them.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from text2latent.models.generators.layers import FullyConnectedLayer
from text2latent.models.generators.stylegan2 import MappingNetwork
from text2latent.zoo.fit.fitting import FitPlan, fit
from text2latent.zoo.world import W_SCALE, Z_DIM, World

BATCH = 512
SEED = 202
HALF_WIDTH = 0.015
"""Half the width of a step in z, in standard deviations: of any attribute, about 1 % of z lie on each step."""


def _quantiles(n: int) -> list[float]:
    """The n - 1 points that cut the standard normal distribution into n parts of equal probability."""
    return torch.special.ndtri(torch.arange(1, n, dtype=torch.float64) / n).tolist()


def _set_row(layer: FullyConnectedLayer, row: int, weights: dict[int, float], bias: float) -> None:
    """Make unit `row` compute activation(sum of weights[i] * x[i] + bias)."""
    layer.weight[row] = 0.0
    for column, value in weights.items():
        layer.weight[row, column] = value / layer.weight_gain
    layer.bias[row] = bias / layer.bias_gain


@torch.no_grad()
def start_as_steps(mapping: MappingNetwork, world: World) -> int:
    """Set the first two layers of a mapping network with leaky ReLU; returns the number of steps.

    A pair of first-layer units brackets every place t where an attribute changes: lrelu((z - t) / h + 1) less
    lrelu((z - t) / h - 1) is 0.4 below the step and 2 above it, and the second layer takes that difference. All other
    first-layer units bend at evenly spread quantiles of a nuisance, to make it uniform.
    """
    first, second = mapping.get_submodule("fc0"), mapping.get_submodule("fc1")
    assert isinstance(first, FullyConnectedLayer)
    assert isinstance(second, FullyConnectedLayer)
    steps = [(axis, t) for axis, size in enumerate(world.sizes) for t in _quantiles(size)]
    second.weight[:, : 2 * len(steps)] = 0.0
    for index, (axis, t) in enumerate(steps):
        for row, offset in ((2 * index, 1.0), (2 * index + 1, -1.0)):
            _set_row(first, row, {axis: 1 / HALF_WIDTH}, offset - t / HALF_WIDTH)
        scale = 1 / math.sqrt(2)  # undoes the activation's gain
        _set_row(second, index, {2 * index: scale, 2 * index + 1: -scale}, -1.2)
    row = 2 * len(steps)
    bends = (len(first.weight) - row) // len(world.nuisances)
    for axis in range(len(world.sizes), len(world.sizes) + len(world.nuisances)):
        for t in _quantiles(bends + 1):
            _set_row(first, row, {axis: 1.0}, -t)
            row += 1
    return len(steps)


def make_plan(world: World) -> FitPlan:
    """For how long the mapping network is fitted, and how fast."""
    num_steps = world.fit["generator"]["num_mapping_steps"]
    return FitPlan(num_steps=num_steps, lr=2e-3, ema_decay=0.999, log_every=500, save_every=2000)


def mapping_loss(mapping: nn.Module, step: int, world: World) -> tuple[Tensor, dict[str, float]]:
    """Return the mean squared error of w against what z stands for, relative to `W_SCALE`."""
    z = torch.randn(BATCH, Z_DIM, generator=torch.Generator().manual_seed(SEED * 1_000_003 + step))
    return mse_loss(mapping(z), world.latents(*world.meaning(z))) / W_SCALE**2, {}


def fit_mapping(mapping: MappingNetwork, world: World, work: Path) -> MappingNetwork:
    """Fit a mapping network with random weights, resumably in `work`/mapping."""
    start_as_steps(mapping, world)
    return fit(mapping, partial(mapping_loss, world=world), make_plan(world), work / "mapping")
