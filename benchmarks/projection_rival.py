"""StyleGAN's own projector, by its paper (arXiv:1912.04958, appendix D): what ours is measured against."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from text2latent.inference.optimization.spaces import STATISTICS_SAMPLES, STATISTICS_SEED
from text2latent.inference.projection.features import ImageFeatures, feature_distance
from text2latent.models.generators.base import Generator

LEARNING_RATE, RAMP_UP, RAMP_DOWN = 0.1, 0.05, 0.25
"""Of Adam, and the shares of the steps over which it rises in a line and falls as a cosine."""
NOISE, NOISE_SHARE = 0.05, 0.75
"""Noise on w at the start, as a share of its deviation, and the share of the steps over which it falls to 0."""


def rate_at(step: int, steps: int) -> float:
    """Learning rate of a step from 0."""
    done = step / steps
    down = min(1.0, (1 - done) / RAMP_DOWN)
    return LEARNING_RATE * (0.5 - 0.5 * math.cos(down * math.pi)) * min(1.0, done / RAMP_UP)


def noise_at(step: int, steps: int) -> float:
    """Noise of a step from 0, in deviations of w."""
    return NOISE * max(0.0, 1 - step / steps / NOISE_SHARE) ** 2


def project_as_stylegan(
    generator: Generator,
    features: ImageFeatures,
    pictures: Tensor,
    steps: int = 1000,
    on_step: Callable[[], object] | None = None,
) -> Tensor:
    """Latents `[N, 1, D]` of pictures `[N, C, H, W]`: one w for all layers, from the mean w, by a network's features.

    The paper also moves the generator's noise maps, and regularises these; the faces' generator has none.
    """
    latents = generator.sample_w(STATISTICS_SAMPLES, STATISTICS_SEED)[:, :1]
    mean, deviation = latents.mean(dim=0), float((latents - latents.mean(dim=0)).square().sum(dim=2).mean().sqrt())
    w = mean.expand(len(pictures), -1, -1).clone().requires_grad_()
    optimizer = torch.optim.Adam([w], LEARNING_RATE)
    generators = [torch.Generator().manual_seed(0) for _ in pictures]
    with torch.no_grad():
        seen = features(pictures)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate_at(step, steps)
        shaken = torch.stack([torch.randn(w.shape[1:], generator=one) for one in generators]).to(w)
        noisy = w + shaken * (deviation * noise_at(step, steps))
        images = generator.synthesis(noisy.expand(-1, generator.num_ws, -1)).float().clamp(-1, 1)
        optimizer.zero_grad()
        feature_distance(features(images), seen).sum().backward()
        optimizer.step()
        if on_step is not None:
            on_step()
    return w.detach()
