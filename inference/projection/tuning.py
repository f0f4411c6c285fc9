"""Pivotal tuning (PTI; Roich et al., arXiv:2106.05744): a generator's weights move until it draws given pictures.

The latents stay where projection found them, so that they can be edited as before; and what the generator draws nearby
stays what it was.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from text2latent.common.errors import InputError, UsageError
from text2latent.inference.projection.loss import PictureObjective
from text2latent.inference.settings import require_count
from text2latent.models.generators.base import Generator


@dataclass(frozen=True)
class TuningSettings:
    """How a generator is tuned.

    Attributes:
        steps: of Adam.
        learning_rate: of its weights.
        locality_weight: of what it draws between a pivot and random latents, which is to stay; 0 leaves that out.
        locality_distance: how far from a pivot that is looked at, in standard deviations of a channel, on average over
            channels.
        noise: whether the noise maps of StyleGAN move as well.

    Raises:
        UsageError: for a value out of range.
    """

    steps: int = 100
    learning_rate: float = 3e-4
    locality_weight: float = 0.1
    locality_distance: float = 0.5
    noise: bool = False

    def __post_init__(self) -> None:
        require_count("tune.steps", self.steps)
        for name in ("learning_rate", "locality_distance"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise UsageError(f"tune.{name}: expected a finite number > 0, got {value}")
        if not (self.locality_weight >= 0 and math.isfinite(self.locality_weight)):
            raise UsageError(f"tune.locality_weight: expected a finite number >= 0, got {self.locality_weight}")


class Tuning:
    """A generator on its way to drawing pictures at their pivots.

    Args:
        generator: stays as it is; a copy is tuned.
        objective: of the N pictures.
        pivots: `[N, L, D]`, their latents.
        settings: how.
        seed: of the random latents that locality looks at.

    Attributes:
        tuned: the copy; its identity is still that of `generator`.
    """

    def __init__(
        self, generator: Generator, objective: PictureObjective, pivots: Tensor, settings: TuningSettings, seed: int
    ) -> None:
        self.generator, self.objective, self.settings = generator, objective, settings
        self.pivots = pivots.detach().expand(-1, generator.num_ws, -1)
        self.tuned = copy.deepcopy(generator)
        self.parameters = list(self._choose())
        if not self.parameters:
            raise InputError("--tune: expected a generator with weights in its synthesis, got one without")
        self.optimizer = torch.optim.Adam(self.parameters, settings.learning_rate)
        self._seed = seed

    def _choose(self) -> Iterator[Tensor]:
        """What is tuned: the weights of the synthesis, and its noise maps if asked for."""
        synthesis = self.tuned.synthesis
        for parameter in synthesis.parameters():
            yield parameter.requires_grad_()
        if self.settings.noise:
            for name, buffer in synthesis.named_buffers():
                if name.endswith("noise_const"):
                    yield buffer.requires_grad_()

    def run(self) -> Iterator[Tensor]:
        """Do all steps; yields after each the losses `[N]` that it came from.

        Raises:
            InputError: when they aren't finite any more.
        """
        for step in range(self.settings.steps):
            losses = self._step(step)
            if not losses.isfinite().all():
                rate = self.settings.learning_rate
                raise InputError(f"tune.learning_rate: {rate:g} gives NaN in step {step + 1}; expected a smaller one")
            yield losses
        self.tuned.eval().requires_grad_(False)
        for buffer in self.tuned.buffers():
            buffer.requires_grad_(False)

    def _step(self, step: int) -> Tensor:
        self.optimizer.zero_grad()
        with torch.enable_grad():
            losses = self.objective.losses(_draw(self.tuned, self.pivots))
            total = losses.sum()
            if self.settings.locality_weight:
                total = total + self.settings.locality_weight * self._strayed(step)
            total.backward()
        self.optimizer.step()
        return losses.detach()

    def _strayed(self, step: int) -> Tensor:
        """How much images near the pivots differ from those of the untuned generator (eq. 6 and 7), one for each."""
        nearby = self._nearby(step)
        with torch.no_grad():
            kept = _draw(self.generator, nearby)
        as_they_were = PictureObjective(kept, self.objective.weights, self.objective.features)
        return as_they_were.losses(_draw(self.tuned, nearby)).sum()

    def _nearby(self, step: int) -> Tensor:
        """Latents `[N, num_ws, D]` at a distance from the pivots, towards random ones (eq. 5)."""
        count = len(self.pivots)
        random = self.generator.sample_w(count, self._seed + step * count)
        away = random - self.pivots
        spread = random.std(dim=0).mean() if count > 1 else self.generator.sample_w(32, self._seed).std(dim=0).mean()
        length = away.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp(min=1e-8)
        return self.pivots + self.settings.locality_distance * spread * away / length


def _draw(generator: Generator, latents: Tensor) -> Tensor:
    """Images `[N, C, H, W]`, clamped; differentiable."""
    images: Tensor = generator.synthesis(latents)
    return images.float().clamp(-1, 1)
