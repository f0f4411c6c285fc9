"""Few steps: a flow straightened by its own samples (reflow), so that one or two steps follow it closely."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from text2latent.common.errors import InputError
from text2latent.models.priors.diffusion import integrate
from text2latent.models.priors.prior import Prior
from text2latent.models.priors.schedulers import build_scheduler
from text2latent.training.pseudo_text import PseudoText

TEACHER_STEPS = 12
TIMES_PER_PAIR = 4


class Reflow:
    """Objective of a flow's student: the straight lines between noise and what the teacher makes of it.

    Rectifying a flow once (arXiv:2209.03003, sec. 2.2) keeps its distribution, and its paths become nearly straight.
    The teacher's path of each noise and condition is solved anew in each step, then the student learns several times
    on the line between its ends: once at t = 1, the start of all sampling, and at uniform times. Latents of the
    dataset aren't used, only its embeddings.

    Args:
        teacher: a trained flow; it is left as it is.
        pseudo_text: makes conditions of image embeddings.
        condition_dropout: share of null conditions, which the student learns from the teacher's, for guidance.

    Raises:
        InputError: when the teacher isn't a flow.
    """

    def __init__(self, teacher: Prior, pseudo_text: PseudoText, condition_dropout: float = 0.1) -> None:
        objective = teacher.parametrization.objective
        if objective != "flow":
            raise InputError(f"prior: expected a trained flow to distil, this one's objective is {objective}")
        self.teacher = teacher.eval().requires_grad_(False)
        self.solver = build_scheduler("dpm++", "flow").to_diffusers()
        self.pseudo_text, self.condition_dropout = pseudo_text, condition_dropout

    def loss(
        self, prior: Prior, latents: Tensor, embeddings: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mean squared error of the student's velocity; see `DenoisingObjective.loss`."""
        device, rows = embeddings.device, len(embeddings)
        condition = self.pseudo_text(embeddings.float(), generator)
        drop = torch.rand(rows, generator=generator, device=device) < self.condition_dropout
        noise = torch.randn(rows, *prior.latent_shape, generator=generator, device=device)
        x0 = self.solve(noise, condition, drop)
        t = torch.rand(TIMES_PER_PAIR * rows, generator=generator, device=device)
        t[:rows] = 1
        x0, noise, condition, drop = (_repeat(part) for part in (x0, noise, condition, drop))
        form = prior.parametrization
        prediction = prior(form.mix(x0, noise, t), t, condition, drop)
        return F.mse_loss(prediction.float(), form.target(x0, noise, t))

    def solve(self, noise: Tensor, condition: Tensor, drop: Tensor) -> Tensor:
        """What the teacher makes of noise `[N, L, D]`, `[N, L, D]` in its normalised units."""
        self.teacher.to(noise.device)
        teacher = _Dropping(self.teacher, drop)
        return integrate(teacher, self.solver, condition, TEACHER_STEPS, 1.0, noise).float()


class _Dropping:
    """A prior with the null condition in some rows."""

    def __init__(self, prior: Prior, drop: Tensor) -> None:
        self.prior, self.drop = prior, drop
        self.denormalize = prior.denormalize

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor, drop: Tensor | None = None) -> Tensor:
        prediction: Tensor = self.prior(x, t, condition, self.drop)
        return prediction


def _repeat(part: Tensor) -> Tensor:
    return part.repeat(TIMES_PER_PAIR, *[1] * (part.ndim - 1))
