"""Classifier-free guidance away from what isn't wanted."""

from __future__ import annotations

import torch
from torch import Tensor

from text2latent.models.priors.diffusion import Denoiser


class NegativePrior:
    """A denoiser whose null condition is a negative one, row by row where there is one.

    Guidance (arXiv:2207.12598) goes from the null condition's velocity towards the condition's; in place of the null
    one, a negative text makes it go from what isn't wanted towards what is, as in diffusers' pipelines.

    Args:
        prior: the denoiser.
        negative: `[N, E]`, L2-normalised conditions of what isn't wanted.
        has_negative: `[N]` bool, False where the null condition stays.
    """

    def __init__(self, prior: Denoiser, negative: Tensor, has_negative: Tensor) -> None:
        self.prior = prior
        self.negative, self.has_negative = negative, has_negative

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor, drop: Tensor | None = None) -> Tensor:
        """Velocity `[M, L, D]` of M rows, the N images once or several times over; see `Denoiser`."""
        if drop is None:
            return self.prior(x, t, condition)
        times = len(x) // len(self.negative)
        replaced = drop & self.has_negative.repeat(times)
        conditions = torch.where(replaced[:, None], self.negative.repeat(times, 1), condition)
        return self.prior(x, t, conditions, drop & ~replaced)

    def denormalize(self, x: Tensor) -> Tensor:
        """Latents in the generator's units; see `Denoiser`."""
        return self.prior.denormalize(x)
