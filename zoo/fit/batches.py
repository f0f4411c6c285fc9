"""Batches of a world's renders, each a function of a seed and a step alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from text2latent.zoo.drawing.renders import render
from text2latent.zoo.world import World


def to_tensor(images: np.ndarray) -> Tensor:
    """Turn uint8 `[N, H, W, 3]` into float32 `[N, 3, H, W]` in [-1, 1] (channels last in memory)."""
    return scale_pixels(torch.from_numpy(images))


def scale_pixels(images: Tensor) -> Tensor:
    """As `to_tensor`, of a uint8 tensor `[N, H, W, 3]` on any device."""
    return images.permute(0, 3, 1, 2).float().div(127.5).sub(1)


def draw_renders(world: World, rng: np.random.Generator, n: int) -> tuple[Tensor, np.ndarray]:
    """Draw `n` pictures: images `[n, 3, 128, 128]` in [-1, 1] and their value indices `[n, len(world.names)]`."""
    codes = world.draw_codes(rng, n)
    return to_tensor(render(world, codes, world.draw_nuisance(rng, n))), codes


def degrade(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Blur, shift and add noise to a batch, as a generator might; keeps shape and range [-1, 1]."""
    size = images.shape[-1]
    if rng.random() < 0.4:
        smaller = int(size * rng.uniform(0.45, 1.0))
        images = interpolate(interpolate(images, size=smaller, mode="area"), size=size, mode="bilinear")
    dx, dy = rng.integers(-4, 5, 2)
    images = torch.roll(images, (int(dy), int(dx)), dims=(2, 3))
    noise = torch.from_numpy(rng.standard_normal(images.shape, dtype=np.float32))
    return (images + rng.uniform(0, 0.08) * noise).clamp(-1, 1)
