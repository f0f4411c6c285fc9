"""Sampling: from noise and a condition to a latent, with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from text2latent.common.errors import UsageError
from text2latent.models.noise import row_generators
from text2latent.models.priors.schedulers import SchedulerConfig, is_stochastic, set_steps

OnStep = Callable[[int, Tensor, Tensor], Tensor]


class Denoiser(Protocol):
    """What sampling needs of a prior."""

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor, drop: Tensor | None = None) -> Tensor: ...

    def denormalize(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance (arXiv:2207.12598).

    Attributes:
        scale: 0 ignores the condition, 1 is the plain prior, more exaggerates the condition.
        interval: times `(low, high)` in [0, 1] between which, ends included, the scale holds; elsewhere it is 1
            (arXiv:2404.07724).
        rescale: in [0, 1], how far each prediction is scaled back to the standard deviation it has without guidance
            (arXiv:2305.08891, eq. 15 and 16).

    Raises:
        UsageError: for an interval or rescale out of range.
    """

    scale: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    rescale: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.interval
        if not 0 <= low <= high <= 1:
            raise UsageError(f"interval: expected two numbers 0 <= low <= high <= 1, got {self.interval}")
        if not 0 <= self.rescale <= 1:
            raise UsageError(f"rescale: expected a number in [0, 1], got {self.rescale}")

    def scale_at(self, t: Tensor) -> float:
        """The scale at a time, a scalar in [0, 1], which is read only where the scale depends on it."""
        low, high = self.interval
        return self.scale if (low, high) == (0, 1) or low <= float(t) <= high else 1.0


def initial_noise(seeds: Sequence[int], latent_shape: Sequence[int], draws: int = 1) -> Tensor:
    """Standard normal noise `[len(seeds) * draws, L, D]`, float32 on the CPU.

    Rows `i * draws` to `i * draws + draws - 1` come one after the other from a generator seeded with `seeds[i]`, so
    that they depend neither on the batch that they are drawn in nor on the device, and the first not on `draws`.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    rows = [torch.randn(*latent_shape, generator=generator) for generator in generators for _ in range(draws)]
    return torch.stack(rows) if rows else torch.empty(0, *latent_shape)


def guided_prediction(
    prior: Denoiser, x: Tensor, t: Tensor, condition: Tensor, scale: float, rescale: float = 0.0
) -> Tensor:
    """A prior's prediction with guidance, `null + scale (conditional - null)`.

    Args:
        prior: the prior, called once, on 2N rows unless the scale is 1.
        x: `[N, L, D]`, normalised latents with noise.
        t: `[N]` in [0, 1].
        condition: `[N, E]`, L2-normalised embeddings.
        scale, rescale: see `Guidance`.

    Returns:
        `[N, L, D]`.
    """
    if scale == 1:
        return prior(x, t, condition)
    n = x.shape[0]
    drop = torch.arange(2 * n, device=x.device) >= n
    both = prior(torch.cat([x, x]), torch.cat([t, t]), torch.cat([condition, condition]), drop)
    conditional, null = both[:n], both[n:]
    guided = null + scale * (conditional - null)
    if rescale == 0:
        return guided
    deviation = guided.std(dim=(1, 2), keepdim=True).clamp(min=1e-8)
    return guided * (1 - rescale + rescale * conditional.std(dim=(1, 2), keepdim=True) / deviation)


@torch.no_grad()
def sample(
    prior: Denoiser,
    scheduler: Any,
    condition: Tensor,
    num_inference_steps: int,
    guidance: float | Guidance,
    noise: Tensor,
    later: Tensor | None = None,
) -> Tensor:
    """Draw latents by going from noise to data with a scheduler.

    Args:
        prior: the prior, in eval mode.
        scheduler: a `SchedulerConfig` for it, see `build_scheduler`; or a scheduler of diffusers', which is left as it
            is, a copy of its own is used.
        condition: `[N, E]`, L2-normalised embeddings.
        num_inference_steps: the scheduler's steps, at least 1; but for Heun's method, which takes two in all steps but
            the last, evaluations of the prior.
        guidance: guidance, or only its scale.
        noise: `[N, L, D]`, see `initial_noise`; later noise of a stochastic sampler follows from it, row by row.
        later: that noise, if it has been drawn already by `SchedulerConfig.later_noise`.

    Returns:
        `[N, L, D]`, in the generator's own units.
    """
    return prior.denormalize(integrate(prior, scheduler, condition, num_inference_steps, guidance, noise, later))


@torch.no_grad()
def integrate(
    prior: Denoiser,
    scheduler: Any,
    condition: Tensor,
    num_inference_steps: int,
    guidance: float | Guidance,
    noise: Tensor,
    later: Tensor | None = None,
) -> Tensor:
    """As `sample`, in the prior's normalised units."""
    how = guidance if isinstance(guidance, Guidance) else Guidance(guidance)
    own = scheduler.draws_with if isinstance(scheduler, SchedulerConfig) else None
    if own is None:
        return step_through(prior, fresh(scheduler), condition, num_inference_steps, how, noise)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        times = torch.zeros(x.shape[0], dtype=t.dtype, device=x.device) + t  # `t` may be on the CPU
        return guided_prediction(prior, x, times, condition, how.scale_at(t), how.rescale)

    return own(predict, noise, num_inference_steps, later)


def step_through(
    prior: Denoiser,
    scheduler: Any,
    condition: Tensor,
    num_inference_steps: int,
    guidance: Guidance,
    noise: Tensor,
    on_step: OnStep | None = None,
) -> Tensor:
    """As `integrate`, with a scheduler of diffusers' that nobody else uses, see `fresh`.

    `on_step` gets each step's number, timestep and normalised latents `[N, L, D]`, and gives those to go on with.
    """
    times = set_steps(scheduler, num_inference_steps, noise.device)
    extra = {"generator": row_generators(noise)} if is_stochastic(type(scheduler).__name__) else {}
    x = noise * getattr(scheduler, "init_noise_sigma", 1.0)
    for step, (timestep, t) in enumerate(zip(scheduler.timesteps, times, strict=True)):
        scaled = scheduler.scale_model_input(x, timestep) if hasattr(scheduler, "scale_model_input") else x
        scale = guidance.scale_at(t)
        prediction = guided_prediction(prior, scaled, t.expand(x.shape[0]), condition, scale, guidance.rescale)
        x = scheduler.step(prediction, timestep, x, **extra).prev_sample
        x = x if on_step is None else on_step(step, timestep, x)
    return x


def fresh(scheduler: Any) -> Any:
    """A scheduler of diffusers' from a `SchedulerConfig` or from another, which is left as it is."""
    made = getattr(scheduler, "to_diffusers", None)
    return type(scheduler).from_config(scheduler.config) if made is None else made()


class NegativePrior:
    """A denoiser whose null condition is a negative one, row by row where there is one.

    Guidance (arXiv:2207.12598) goes from the null condition's velocity towards the condition's; in place of the null
    one, a negative text makes it go from what isn't wanted towards what is, as in diffusers' pipelines.

    Args:
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
