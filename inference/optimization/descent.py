"""Gradient descent of latents on a loss of their images, plus a penalty for leaving where latents are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from text2latent.common.errors import InputError, UsageError
from text2latent.inference.optimization.objectives import Objective
from text2latent.inference.optimization.optimizers import make_optimizer
from text2latent.inference.optimization.spaces import LatentSpace
from text2latent.inference.settings import require_count


class Synthesizer(Protocol):
    """What optimisation needs of a generator."""

    num_ws: int
    synthesis: nn.Module


class Diverged(InputError):
    """The loss or the latents are no longer finite; `iteration` says since when, from 1."""

    def __init__(self, learning_rate: float, iteration: int) -> None:
        """Name the learning rate, the likely cause."""
        super().__init__(
            f"learning_rate: {learning_rate:g} gives NaN or infinite latents in iteration {iteration}; "
            "expected a moderate number"
        )
        self.iteration = iteration


@dataclass(frozen=True)
class DescentSettings:
    """How latents move.

    Attributes:
        optimizer: name of a class of `torch.optim`.
        learning_rate: of it, per unit of `x`.
        arguments: more of its constructor's.
        penalty_weight: weight of the space's penalty.
        accumulate: draws of what is random (cutouts, the latents' noise) whose gradients are averaged in an iteration.
        ema_decay: of the moving average of `x` that images are drawn of, per iteration; 0 draws `x` itself.
        loss_scale: factor of the loss, which matters to optimisers that don't normalise gradients.
        decay_over: iterations over which the learning rate falls to 0 as a cosine; None keeps it.

    Raises:
        UsageError: for a value out of range.
    """

    optimizer: str = "adam"
    learning_rate: float = 0.05
    arguments: Mapping[str, Any] = field(default_factory=dict)
    penalty_weight: float = 0.1
    accumulate: int = 1
    ema_decay: float = 0.0
    loss_scale: float = 1.0
    decay_over: int | None = None

    def __post_init__(self) -> None:
        require_count("accumulate", self.accumulate)
        if not 0 <= self.ema_decay < 1:
            raise UsageError(f"ema_decay: expected a number in [0, 1), got {self.ema_decay}")
        if not (self.penalty_weight >= 0 and math.isfinite(self.penalty_weight)):
            raise UsageError(f"distribution_weight: expected a finite number >= 0, got {self.penalty_weight}")


class Descent:
    """N images on their way; they don't touch each other with optimisers that treat each number for itself.

    Args:
        generator: its `synthesis` maps `[N, num_ws, w_dim]` to images.
        objective: what images lose.
        start: `x` `[N, L, D]` of the space; L is 1 (all layers alike) or num_ws.
        seeds: a seed per image, for what is random.

    Raises:
        UsageError: for an unknown optimiser or a value that it refuses.
    """

    def __init__(
        self,
        generator: Synthesizer,
        objective: Objective,
        space: LatentSpace,
        start: Tensor,
        settings: DescentSettings,
        seeds: Sequence[int],
    ) -> None:
        self.generator, self.objective, self.space, self.settings = generator, objective, space, settings
        # A matrix per image: optimisers that look at whole tensors (Adafactor, Muon) see one image's.
        self.parameters = [row.clone().requires_grad_() for row in start.detach()]
        self.average = start.detach().clone() if settings.ema_decay else None
        self.optimizer = make_optimizer(settings.optimizer, self.parameters, settings.learning_rate, settings.arguments)
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.iteration = 0

    @property
    def x(self) -> Tensor:
        """What images are drawn of, `[N, L, D]`: where the descent is, or the moving average of that."""
        return torch.stack([row.detach() for row in self.parameters]) if self.average is None else self.average

    @property
    def latents(self) -> Tensor:
        """What the generator takes for them, `[N, L, w_dim]`."""
        with torch.no_grad():
            return self.space.latents(self.x)

    @torch.no_grad()
    def draw(self) -> Tensor:
        """Images `[N, 3, H, W]` in [-1, 1], float32."""
        return self._synthesize(self.latents)

    def synthesize_with_history(self) -> Tensor:
        """Images as an iteration makes them, ready for a backward pass."""
        return self._synthesize(self.space.latents(torch.stack(self.parameters)))

    def step(self) -> Tensor:
        """One iteration; returns the losses `[N]`, without their scale, that it came from.

        Raises:
            Diverged: when the losses or the latents aren't finite any more.
        """
        before = [generator.get_state() for generator in self.generators]
        losses: list[Tensor] = []

        def closure() -> float:
            # Line searches ask for several losses, which have to be of one function: with the same random numbers.
            for generator, state in zip(self.generators, before, strict=True):
                generator.set_state(state)
            losses.append(self._set_gradients())
            return float(losses[-1].sum() * self.settings.loss_scale)

        self._set_rate()
        self.iteration += 1
        try:
            with torch.enable_grad():
                self.optimizer.step(closure)
        except RuntimeError as error:
            # PyTorch refuses step sizes that are no float32.
            if "overflow" not in str(error):
                raise
            raise Diverged(self.settings.learning_rate, self.iteration) from error
        finite = all(part.isfinite().all() for part in (losses[0], *self.parameters))
        if not finite:
            raise Diverged(self.settings.learning_rate, self.iteration)
        if self.average is not None:
            self.average = self.average.lerp(torch.stack([row.detach() for row in self.parameters]), self._ema_weight)
        return losses[0]

    def _set_rate(self) -> None:
        if (whole := self.settings.decay_over) is not None:
            share = min(1.0, self.iteration / max(1, whole))
            for group in self.optimizer.param_groups:
                group["lr"] = self.settings.learning_rate * (1 + math.cos(math.pi * share)) / 2

    @property
    def _ema_weight(self) -> float:
        """Weight of the newest `x`; larger at first, so that the start doesn't linger (as Adam's bias correction)."""
        decay = self.settings.ema_decay
        return (1 - decay) / (1 - decay**self.iteration)

    def _set_gradients(self) -> Tensor:
        """Set the parameters' gradients to the mean over `accumulate` draws; returns the mean losses `[N]`."""
        times = self.settings.accumulate
        total = torch.zeros(len(self.parameters), device=self.parameters[0].device)
        sums = [torch.zeros_like(row) for row in self.parameters]
        for _ in range(times):
            losses, gradients = self._differentiate()
            total += losses / times
            sums = [old + new / times for old, new in zip(sums, gradients, strict=True)]
        sparse = isinstance(self.optimizer, torch.optim.SparseAdam)
        for row, gradient in zip(self.parameters, sums, strict=True):
            row.grad = gradient.to_sparse() if sparse else gradient
        return total

    def _differentiate(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Losses `[N]` of one draw, and the gradients of their scaled sum; the sum keeps images independent."""
        scale = self.settings.loss_scale
        x = torch.stack(self.parameters)
        images = self._synthesize(self.space.latents(x, self.generators))
        image_losses, image_gradient = self.objective.differentiate(images.detach(), self.generators)
        penalty = self.settings.penalty_weight * self.space.penalty(x)
        outputs, factors = [images], [scale * image_gradient]
        if penalty.requires_grad:
            outputs.append(penalty)
            factors.append(torch.full_like(penalty, scale))
        gradients = torch.autograd.grad(outputs, self.parameters, factors)
        return (image_losses + penalty).detach(), gradients

    def _synthesize(self, latents: Tensor) -> Tensor:
        return self.generator.synthesis(latents.expand(-1, self.generator.num_ws, -1)).float().clamp(-1, 1)

    def state_dict(self) -> dict[str, Any]:
        """All that the next iterations depend on, tensors and plain values."""
        return {
            "iteration": self.iteration,
            "parameters": [row.detach() for row in self.parameters],
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "generators": [generator.get_state() for generator in self.generators],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` of an alike descent gave."""
        with torch.no_grad():
            for row, saved in zip(self.parameters, state["parameters"], strict=True):
                row.copy_(saved)
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved.cpu())
        self.iteration = state["iteration"]
