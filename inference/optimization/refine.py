"""CLIP-guided optimisation of latents: refining what the prior draws, or searching from any other start.

The loss of a latent is the mean of `1 - cos(CLIP(cutout), target)` over random cutouts of its image, as in Big Sleep
and VQGAN-CLIP (arXiv:2204.08583, section 2.2), plus a penalty for leaving the distribution of the generator's latents.
Without cutouts and penalty, gradients find pictures that please CLIP and show nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from text2latent.common.errors import UsageError
from text2latent.inference.optimization.cutouts import Cutouts, cut, draw_views
from text2latent.inference.optimization.descent import Descent, DescentSettings, Synthesizer
from text2latent.inference.optimization.objectives import ClipObjective, ImageEncoder
from text2latent.inference.optimization.spaces import LatentDistribution
from text2latent.inference.settings import require_count

__all__ = ["OPTIMIZERS", "LatentDistribution", "Optimization", "optimize_latents", "random_cutouts"]

OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")


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
    distribution_weight: float = LatentDistribution.penalty_weight

    def __post_init__(self) -> None:
        require_count("iterations", self.iterations, at_least=0)
        if self.optimizer not in OPTIMIZERS:
            raise UsageError(f"optimizer: expected one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise UsageError(f"learning_rate: expected a finite number > 0, got {self.learning_rate}")
        if not 0 < self.min_cutout <= 1:
            raise UsageError(f"min_cutout: expected a number in (0, 1], got {self.min_cutout}")
        if not (self.distribution_weight >= 0 and math.isfinite(self.distribution_weight)):
            raise UsageError(f"distribution_weight: expected a finite number >= 0, got {self.distribution_weight}")
        _ = self.cutouts  # which refuses its own values

    @property
    def cutouts(self) -> Cutouts:
        """Number, least size and jitter of the cutouts of an image that CLIP sees."""
        return Cutouts(self.num_cutouts, self.min_cutout, jitter=self.jitter)


def random_cutouts(images: Tensor, settings: Optimization, generators: Sequence[torch.Generator]) -> Tensor:
    """Cutouts of images, of random place and size, half of them mirrored, with random brightness and contrast.

    Args:
        images: `[N, 3, H, W]` in [-1, 1].
        settings: number, sizes and jitter.
        generators: one on the CPU per image, so that an image's cutouts don't depend on the others.

    Returns:
        `[N * num_cutouts, 3, H, W]`, an image's cutouts side by side; differentiable.
    """
    return cut(images, draw_views(settings.cutouts, generators, images.device))


def optimize_latents(
    generator: Synthesizer,
    clip: ImageEncoder,
    target: Tensor,
    start: Tensor,
    distribution: LatentDistribution,
    settings: Optimization,
    seeds: Sequence[int],
    on_step: Callable[[int, Tensor, Tensor], object] | None = None,
) -> Tensor:
    """Move latents so that their images please CLIP, by gradient descent.

    Args:
        generator: its `synthesis` maps `[N, num_ws, D]` to images.
        clip: encodes images.
        target: `[N, E]`, L2-normalised: what each image is to be like.
        start: `[N, L, D]`, L being 1 (all layers alike) or num_ws.
        seeds: a seed per image, for its cutouts.
        on_step: called after each step with its number from 1, the latents `[N, L, D]` and the losses `[N]` that the
            step came from.

    Returns:
        `[N, L, D]`, detached.

    Raises:
        Diverged: when they aren't finite any more, as with an enormous learning rate.
    """
    how = DescentSettings(
        settings.optimizer,
        settings.learning_rate,
        penalty_weight=settings.distribution_weight,
    )
    objective = ClipObjective(clip, target, settings.cutouts)
    descent = Descent(generator, objective, distribution, distribution.normalize(start), how, seeds)
    for step in range(1, settings.iterations + 1):
        losses = descent.step()
        if on_step is not None:
            on_step(step, descent.latents, losses)
    return descent.latents
