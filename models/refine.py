"""CLIP-guided optimisation of latents: refining what the prior draws, or searching from any other start.

The loss of a latent is the mean of `1 - cos(CLIP(cutout), target)` over random cutouts of its image, as in Big Sleep
and VQGAN-CLIP (arXiv:2204.08583, section 2.2), plus a penalty for leaving the distribution of the generator's latents.
Without cutouts and penalty, gradients find pictures that please CLIP and show nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from text2latent.configs.errors import InputError, UsageError
from text2latent.models.settings import require_count

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}
VARIANCE_FLOOR = 1e-3


class ImageEncoder(Protocol):
    """What optimisation needs of CLIP."""

    def encode_image(self, images: Tensor) -> Tensor: ...


class Synthesizer(Protocol):
    """What optimisation needs of a generator."""

    num_ws: int
    synthesis: nn.Module


@dataclass(frozen=True)
class Optimization:
    """How latents are optimised.

    Attributes:
        iterations: gradient steps.
        learning_rate: of the optimiser, in standard deviations of the latents' channels.
        optimizer: one of `OPTIMIZERS`; all of them treat each number for itself, so an image doesn't depend on others.
        num_cutouts: random cutouts of an image in each step.
        min_cutout: smallest side of a cutout, as a share of the image's; the largest is the whole image.
        jitter: standard deviation of random brightness and contrast, in units of the images' range [-1, 1].
        distribution_weight: weight of the penalty, see `LatentDistribution.penalty`.

    Raises:
        UsageError: for a value out of range or an unknown optimiser.
    """

    iterations: int
    learning_rate: float = 0.03
    optimizer: str = "adam"
    num_cutouts: int = 4
    min_cutout: float = 0.8
    jitter: float = 0.1
    distribution_weight: float = 0.1

    def __post_init__(self) -> None:
        require_count("iterations", self.iterations, at_least=0)
        require_count("num_cutouts", self.num_cutouts)
        if self.optimizer not in OPTIMIZERS:
            raise UsageError(f"optimizer: expected one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise UsageError(f"learning_rate: expected a finite number > 0, got {self.learning_rate}")
        if not 0 < self.min_cutout <= 1:
            raise UsageError(f"min_cutout: expected a number in (0, 1], got {self.min_cutout}")
        for name in ("jitter", "distribution_weight"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise UsageError(f"{name}: expected a finite number >= 0, got {value}")


class LatentDistribution:
    """A normal distribution of latents, from their statistics.

    Args:
        mean: `[L, D]`.
        std: `[L, D]`, standard deviations; channels that never vary count as 1.
        covariance: `[L * D, L * D]`; None takes the channels as independent.
    """

    def __init__(self, mean: Tensor, std: Tensor, covariance: Tensor | None = None) -> None:
        self.mean = mean
        self.std = torch.where(std > 1e-6, std, torch.ones_like(std))
        self.whitening = None if covariance is None else self._whiten(covariance)

    def _whiten(self, covariance: Tensor) -> Tensor:
        """Inverse square root of the correlation matrix; directions of hardly any variance count as little ones."""
        scale = self.std.flatten().double()
        values, vectors = torch.linalg.eigh(covariance.double() / scale[:, None] / scale)
        return (vectors * values.clamp(min=VARIANCE_FLOOR).rsqrt() @ vectors.T).to(self.mean.dtype)

    def normalize(self, latents: Tensor) -> Tensor:
        """Latents `[N, L, D]` in standard deviations from the mean."""
        return (latents - self.mean) / self.std

    def denormalize(self, x: Tensor) -> Tensor:
        """Inverse of `normalize`."""
        return x * self.std + self.mean

    def penalty(self, x: Tensor) -> Tensor:
        """How far normalised latents `x` `[N, L, D]` are beyond a typical distance from the mean, `[N]`.

        The squared Mahalanobis distance over its number of dimensions is 1 on average; what exceeds that counts.
        With L = 1 in the statistics, every token of `x` is held against them.
        """
        tokens = x if self.whitening is None else x.reshape(-1, len(self.whitening)) @ self.whitening
        distance = tokens.reshape(len(x), -1).square().mean(dim=1)
        return F.relu(distance - 1)


def random_cutouts(images: Tensor, settings: Optimization, generators: Sequence[torch.Generator]) -> Tensor:
    """Cutouts of images, of random place and size, half of them mirrored, with random brightness and contrast.

    Args:
        images: `[N, 3, H, W]` in [-1, 1].
        settings: number, sizes and jitter.
        generators: one on the CPU per image, so that an image's cutouts don't depend on the others.

    Returns:
        `[N * num_cutouts, 3, H, W]`, an image's cutouts side by side; differentiable.
    """
    count = settings.num_cutouts
    numbers = torch.cat([torch.rand(count, 4, generator=generator) for generator in generators]).to(images.device)
    normals = torch.cat([torch.randn(count, 2, generator=generator) for generator in generators]).to(images.device)
    size = settings.min_cutout + (1 - settings.min_cutout) * numbers[:, 0]
    offset = (2 * numbers[:, 1:3] - 1) * (1 - size)[:, None]
    mirror = torch.where(numbers[:, 3] < 0.5, -1.0, 1.0)
    affine = torch.zeros(len(numbers), 2, 3, device=images.device)
    affine[:, 0, 0], affine[:, 1, 1], affine[:, :, 2] = size * mirror, size, offset
    grid = F.affine_grid(affine, [len(numbers), *images.shape[1:]], align_corners=False)
    copies = images.repeat_interleave(count, dim=0)
    cutouts = F.grid_sample(copies, grid, padding_mode="border", align_corners=False)
    brightness, contrast = (settings.jitter * normals).T[:, :, None, None, None]
    return cutouts * (1 + contrast) + brightness


def optimize_latents(
    generator: Synthesizer,
    clip: ImageEncoder,
    target: Tensor,
    start: Tensor,
    distribution: LatentDistribution,
    settings: Optimization,
    seeds: Sequence[int],
    on_step: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Move latents so that their images please CLIP, by gradient descent.

    Args:
        generator: its `synthesis` maps `[N, num_ws, D]` to images.
        clip: encodes images.
        target: `[N, E]`, L2-normalised: what each image is to be like.
        start: `[N, L, D]`, L being 1 (all layers alike) or num_ws.
        distribution: where latents are to stay.
        settings: how.
        seeds: a seed per image, for its cutouts.
        on_step: called after each step with its number from 1, the latents `[N, L, D]` and the losses `[N]` that the
            step came from.

    Returns:
        `[N, L, D]`, detached.

    Raises:
        InputError: when they aren't finite, as with an enormous learning rate.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    x = distribution.normalize(start.detach()).requires_grad_()
    optimizer = OPTIMIZERS[settings.optimizer]([x], lr=settings.learning_rate)
    with torch.enable_grad():
        for step in range(1, settings.iterations + 1):
            images = generator.synthesis(
                distribution.denormalize(x).expand(-1, generator.num_ws, -1), noise_mode="const"
            )
            embeddings = clip.encode_image(random_cutouts(images.float().clamp(-1, 1), settings, generators))
            cosines = (embeddings.unflatten(0, (len(x), -1)) * target[:, None]).sum(dim=-1)
            losses = 1 - cosines.mean(dim=1) + settings.distribution_weight * distribution.penalty(x)
            # Only the latents' gradient is wanted, whatever else may ask for one; the sum keeps images independent.
            (x.grad,) = torch.autograd.grad(losses.sum(), [x])
            optimizer.step()
            if on_step is not None:
                on_step(step, distribution.denormalize(x).detach(), losses.detach())
    latents = distribution.denormalize(x).detach()
    if not latents.isfinite().all():
        raise InputError(f"learning_rate: {settings.learning_rate} gives infinite latents; expected a moderate number")
    return latents
