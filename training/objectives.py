"""The loss that a denoising prior is trained with."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from text2latent.common.errors import UsageError
from text2latent.models.priors.parametrization import COSINE_STEPS, Parametrization, cosine_times, require_choice
from text2latent.models.priors.prior import Prior
from text2latent.training.pseudo_text import PseudoText

TIME_SAMPLINGS = ("uniform", "logit_normal", "log_normal", "ddpm")
LOSS_WEIGHTINGS = ("none", "min_snr", "edm")
LOG_NORMAL_MEAN, LOG_NORMAL_STD = math.log(2.0) - 1.2, 1.2
"""Of ln sigma, EDM's (arXiv:2206.00364, table 1), whose data have a standard deviation of 1/2, for data of 1."""
SNR_LIMIT = 5.0


class DenoisingObjective:
    """Mean squared error of what a prior predicts of noisy latents, given pseudo-text.

    What it predicts, at which noise, is the prior's own objective (`Parametrization`).

    Args:
        pseudo_text: makes conditions of image embeddings.
        condition_dropout: probability of the null condition, for classifier-free guidance (arXiv:2207.12598).
        time_sampling: `uniform`; `logit_normal` (t = sigmoid(N(0, 1)), Esser et al., arXiv:2403.03206, eq. 19);
            `log_normal` (EDM's noise levels: ln sigma is normal, sigma being noise over data); or `ddpm` (the steps of
            the cosine schedule with equal probability, arXiv:2006.11239, alg. 1).
        loss_weighting: `none` weighs all times alike, as DDPM's simple loss (arXiv:2006.11239, eq. 14); `min_snr` is
            min(SNR, 5) on the error of x0 (arXiv:2303.09556, sec. 3.4); `edm` makes the loss of a prior that knows
            nothing but mean and variance 1 at all times (arXiv:2206.00364, table 1).

    Raises:
        UsageError: for a value out of range or an unknown name.
    """

    def __init__(
        self,
        pseudo_text: PseudoText,
        condition_dropout: float = 0.1,
        time_sampling: str = "uniform",
        loss_weighting: str = "none",
    ) -> None:
        require_choice("time_sampling", time_sampling, TIME_SAMPLINGS)
        require_choice("loss_weighting", loss_weighting, LOSS_WEIGHTINGS)
        if not 0 <= condition_dropout <= 1:
            raise UsageError(f"condition_dropout: expected a probability in [0, 1], got {condition_dropout}")
        self.pseudo_text = pseudo_text
        self.condition_dropout = condition_dropout
        self.time_sampling, self.loss_weighting = time_sampling, loss_weighting

    def loss(
        self, prior: Prior, latents: Tensor, embeddings: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Weighted mean squared error of the prediction.

        Args:
            prior: the prior, with the statistics of the training pairs set.
            latents: `[N, L, D]`, in the generator's own units; or `[N, 1, D]`, which all L tokens then share.
            embeddings: `[N, E]`, L2-normalised image embeddings.
            generator: source of all randomness, on the latents' device; None means torch's global one.

        Returns:
            Scalar, in units of the latents' variance. For a flow with uniform times, unweighted, it is pi / 2 for a
            prior that knows nothing but mean and variance (the mean over t of 1 / (t^2 + (1 - t)^2)), as it is at
            initialisation.
        """
        form = prior.parametrization
        condition = self.pseudo_text(embeddings.float(), generator)
        x0 = prior.normalize(latents)
        noise = torch.randn(x0.shape, generator=generator, device=x0.device)
        t = self.sample_times(form, len(x0), x0.device, generator)
        drop = torch.rand(len(x0), generator=generator, device=x0.device) < self.condition_dropout
        prediction = prior(form.mix(x0, noise, t), t, condition, drop)
        error = (prediction.float() - form.target(x0, noise, t)).square().mean(dim=(1, 2))
        return (self.weights(form, t) * error).mean()

    def sample_times(
        self, form: Parametrization, n: int, device: torch.device, generator: torch.Generator | None = None
    ) -> Tensor:
        """Times `[n]` in [0, 1], stratified when uniform (one in each of n equal parts, in random order)."""
        if self.time_sampling == "ddpm":
            steps = torch.randint(COSINE_STEPS, (n,), generator=generator, device=device) + 1
            return steps / COSINE_STEPS if form.objective == "flow" else cosine_times(steps)
        if self.time_sampling == "uniform":
            offsets = torch.rand(n, generator=generator, device=device)
            return (torch.randperm(n, generator=generator, device=device) + offsets) / n
        normal = torch.randn(n, generator=generator, device=device)
        if self.time_sampling == "logit_normal":
            return normal.sigmoid()
        sigma = (LOG_NORMAL_MEAN + LOG_NORMAL_STD * normal).exp()
        return sigma / (1 + sigma) if form.objective == "flow" else sigma.atan() * (2 / math.pi)

    def weights(self, form: Parametrization, t: Tensor) -> Tensor:
        """Weights `[N]` of the squared errors at times `[N]`."""
        if self.loss_weighting == "none":
            return torch.ones_like(t)
        a, s = form.levels(t)
        _, _, scale_out = form.preconditioning(t)
        if self.loss_weighting == "edm":
            return scale_out.square().clamp(min=1e-6).reciprocal()
        # The error of x0 is that of the network's raw output times s / sqrt(a^2 + s^2), whatever is predicted.
        error_of_data = s.square() / (a.square() + s.square()) / scale_out.square().clamp(min=1e-6)
        return (a / s.clamp(min=1e-6)).square().clamp(max=SNR_LIMIT) * error_of_data
