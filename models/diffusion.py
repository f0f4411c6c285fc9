"""Rectified flow between noise and latents: training objective, pseudo-text noise and sampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from text2latent.configs.errors import UsageError
from text2latent.models.prior import ResidualMLPPrior

NOISE_COVARIANCES = ("isotropic", "data")
TIME_SAMPLINGS = ("uniform", "logit_normal")


class Denoiser(Protocol):
    """What sampling needs of a prior."""

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor, drop: Tensor | None = None) -> Tensor: ...

    def denormalize(self, x: Tensor) -> Tensor: ...


class RectifiedFlow:
    """Objective of a rectified flow (Liu et al., arXiv:2209.03003, eq. 1) conditioned on pseudo-text.

    A latent `x0` and noise `e ~ N(0, I)` are joined by the line `x_t = (1 - t) x0 + t e`, whose velocity `e - x0` the
    prior regresses. t = 1 is noise, as the sigma of diffusers' flow-matching schedulers.

    Pseudo-text is an image embedding moved by noise and put back on the unit sphere (clip2latent, arXiv:2210.02347,
    section 3.2), which teaches the prior to bear the gap between images and texts. Before that, a few other images'
    embeddings may be mixed in: what the images have in common stays, where they differ it becomes vague, as in a text
    that names only some of what an image shows.

    Args:
        condition_dropout: probability of the null condition, for classifier-free guidance (arXiv:2207.12598).
        noise_scale: norm of the pseudo-text noise relative to the embedding's.
        noise_covariance: `isotropic` draws it uniformly on the sphere of that norm; `data` draws it from a Gaussian
            with the image embeddings' covariance, scaled to that root-mean-square norm.
        mixed_images: most other images of the batch that are mixed into an embedding, by uniform weights in [0, 1]; how
            many is uniform too.
        random_noise_level: each sample's noise scale is uniform in [0, noise_scale] instead of noise_scale itself.
        time_sampling: `uniform`, or `logit_normal` (t = sigmoid(N(0, 1)), Esser et al., arXiv:2403.03206, eq. 19).

    Raises:
        UsageError: for a value out of range or an unknown name.
    """

    def __init__(
        self,
        condition_dropout: float = 0.1,
        noise_scale: float = 0.5,
        noise_covariance: str = "data",
        time_sampling: str = "uniform",
        mixed_images: int = 0,
        random_noise_level: bool = False,
    ) -> None:
        _check_choice("noise_covariance", noise_covariance, NOISE_COVARIANCES)
        _check_choice("time_sampling", time_sampling, TIME_SAMPLINGS)
        if not 0 <= condition_dropout <= 1:
            raise UsageError(f"condition_dropout: expected a probability in [0, 1], got {condition_dropout}")
        if not (noise_scale >= 0 and math.isfinite(noise_scale)):
            raise UsageError(f"noise_scale: expected a number >= 0, got {noise_scale}")
        if mixed_images < 0:
            raise UsageError(f"mixed_images: expected a count >= 0, got {mixed_images}")
        self.mixed_images = mixed_images
        self.condition_dropout = condition_dropout
        self.noise_scale = noise_scale
        self.noise_covariance = noise_covariance
        self.time_sampling = time_sampling
        self.random_noise_level = random_noise_level

    def loss(
        self, prior: ResidualMLPPrior, latents: Tensor, embeddings: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mean squared error of the predicted velocity.

        Args:
            prior: the prior, with the statistics of the training pairs set.
            latents: `[N, L, D]`, in the generator's own units.
            embeddings: `[N, E]`, L2-normalised image embeddings.
            generator: source of all randomness, on the latents' device; None means torch's global one.

        Returns:
            Scalar, in units of the latents' variance; with uniform times pi / 2 for a prior that knows nothing but mean
            and variance (the mean over t of 1 / (t^2 + (1 - t)^2)), as it is at initialisation.
        """
        x0 = prior.normalize(latents)
        noise = torch.randn(x0.shape, generator=generator, device=x0.device)
        t = self.sample_times(len(x0), x0.device, generator)
        condition = self.pseudo_text(embeddings.float(), prior.embedding_cov_sqrt, generator)
        drop = torch.rand(len(x0), generator=generator, device=x0.device) < self.condition_dropout
        velocity = prior(interpolate(x0, noise, t), t, condition, drop)
        return F.mse_loss(velocity.float(), noise - x0)

    def sample_times(self, n: int, device: torch.device, generator: torch.Generator | None = None) -> Tensor:
        """Times `[n]` in [0, 1], stratified when uniform (one in each of n equal parts, in random order)."""
        if self.time_sampling == "logit_normal":
            return torch.randn(n, generator=generator, device=device).sigmoid()
        offsets = torch.rand(n, generator=generator, device=device)
        return (torch.randperm(n, generator=generator, device=device) + offsets) / n

    def pseudo_text(self, embeddings: Tensor, cov_sqrt: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Image embeddings with others mixed in, and with pseudo-text noise.

        Args:
            embeddings: `[N, E]`, L2-normalised.
            cov_sqrt: `[E, E]`, square root of the image embeddings' covariance (used by `data`).
            generator: source of randomness.

        Returns:
            `[N, E]`, L2-normalised.
        """
        embeddings = self.mix(embeddings, generator)
        noise = torch.randn(embeddings.shape, generator=generator, device=embeddings.device)
        shaped = self.noise_covariance == "data"
        noise = noise @ cov_sqrt / cov_sqrt.norm() if shaped else F.normalize(noise, dim=1)
        scale = torch.full((len(noise), 1), self.noise_scale, device=noise.device)
        if self.random_noise_level:
            scale = scale * torch.rand(scale.shape, generator=generator, device=noise.device)
        return F.normalize(embeddings + scale * noise, dim=1)

    def mix(self, embeddings: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Add up to `mixed_images` other rows to each row of `embeddings` `[N, E]`; `[N, E]`, L2-normalised."""
        n, device = len(embeddings), embeddings.device
        count = torch.randint(self.mixed_images + 1, (n, 1), generator=generator, device=device)
        mixed = embeddings
        for partner in range(self.mixed_images):
            weight = torch.rand(n, 1, generator=generator, device=device) * (partner < count)
            mixed = mixed + weight * embeddings[torch.randperm(n, generator=generator, device=device)]
        return F.normalize(mixed, dim=1)


def interpolate(x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """`(1 - t) x0 + t noise`; x0 and noise `[N, L, D]`, t `[N]` in [0, 1]."""
    t = t[:, None, None]
    return (1 - t) * x0 + t * noise


def initial_noise(seeds: Sequence[int], latent_shape: Sequence[int], draws: int = 1) -> Tensor:
    """Standard normal noise `[len(seeds) * draws, L, D]`, float32 on the CPU.

    Rows `i * draws` to `i * draws + draws - 1` come one after the other from a generator seeded with `seeds[i]`, so
    that they depend neither on the batch that they are drawn in nor on the device, and the first not on `draws`.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    rows = [torch.randn(*latent_shape, generator=generator) for generator in generators for _ in range(draws)]
    return torch.stack(rows) if rows else torch.empty(0, *latent_shape)


def guided_velocity(prior: Denoiser, x: Tensor, t: Tensor, condition: Tensor, guidance_scale: float) -> Tensor:
    """Velocity with classifier-free guidance (arXiv:2207.12598), `null + guidance_scale (conditional - null)`.

    Args:
        prior: the prior, called once, on 2N rows unless guidance_scale is 1.
        x: `[N, L, D]`, normalised latents with noise.
        t: `[N]` in [0, 1].
        condition: `[N, E]`, L2-normalised embeddings.
        guidance_scale: 0 ignores the condition, 1 is the plain prior, more exaggerates the condition.

    Returns:
        `[N, L, D]`.
    """
    if guidance_scale == 1:
        return prior(x, t, condition)
    drop = torch.arange(2 * len(x), device=x.device) >= len(x)
    both = prior(torch.cat([x, x]), torch.cat([t, t]), torch.cat([condition, condition]), drop)
    conditional, null = both.chunk(2)
    return null + guidance_scale * (conditional - null)


@torch.no_grad()
def sample(
    prior: Denoiser,
    scheduler: Any,
    condition: Tensor,
    num_inference_steps: int,
    guidance_scale: float,
    noise: Tensor,
) -> Tensor:
    """Draw latents by integrating the flow from t = 1 to t = 0.

    Args:
        prior: the prior, in eval mode.
        scheduler: diffusers' `FlowMatchEulerDiscreteScheduler`; it is left as it is, a copy of its own is used.
        condition: `[N, E]`, L2-normalised embeddings.
        num_inference_steps: evaluations of the prior, at least 1.
        guidance_scale: see `guided_velocity`.
        noise: `[N, L, D]`, see `initial_noise`.

    Returns:
        `[N, L, D]`, in the generator's own units.
    """
    scheduler = type(scheduler).from_config(scheduler.config)
    # The scheduler's default spacing ends in a step from 0.001 to 0, an evaluation that moves nothing.
    sigmas = [1 - i / num_inference_steps for i in range(num_inference_steps)]
    scheduler.set_timesteps(sigmas=sigmas, device=noise.device)
    scheduler.set_begin_index(0)
    x = noise
    for timestep in scheduler.timesteps:
        t = (timestep / scheduler.config.num_train_timesteps).expand(len(x))
        velocity = guided_velocity(prior, x, t, condition, guidance_scale)
        x = scheduler.step(velocity, timestep, x).prev_sample
    return prior.denormalize(x)


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UsageError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
