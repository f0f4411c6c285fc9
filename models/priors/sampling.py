"""Samplers: short functions from noise to data along a prior's predictions, in the manner of k-diffusion's `sampling`.

`predict(x, t)` is what a prior predicts, guidance included, of normalised latents with noise `[N, L, D]` at a time in
[0, 1], a scalar. Steps and arithmetic are those of diffusers' schedulers, which draw the same. Times and what follows
from them stay on the CPU, whose scalars kernels elsewhere take as arguments: no step waits for a transfer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from text2latent.common.errors import UsageError
from text2latent.models.priors.parametrization import COSINE_OFFSET, COSINE_STEPS

Predict = Callable[[Tensor, Tensor], Tensor]
LARGEST_BETA = 0.999
SMALLEST_FLOW_TIME = np.float32(1 / 1000)


def sample_euler(predict: Predict, x: Tensor, times: Tensor) -> Tensor:
    """Euler's method for a flow (rectified flow, arXiv:2209.03003, sec. 2.1, from noise to data).

    Args:
        predict: velocity.
        x: `[N, L, D]`, noise.
        times: `[K + 1]`, from 1 to 0; K evaluations.
    """
    for t, after in itertools.pairwise(times):
        x = x + (after - t) * predict(x, t)
    return x


def sample_heun(predict: Predict, x: Tensor, times: Tensor) -> Tensor:
    """Heun's method for a flow (EDM, arXiv:2206.00364, alg. 1, whose denoiser is `x - t velocity`).

    Arguments as of `sample_euler`; each step but the last takes two evaluations.
    """

    def slope(x: Tensor, t: Tensor) -> Tensor:
        return (x - (x - predict(x, t) * t)) / t

    for t, after in itertools.pairwise(times[:-1]):
        first, length = slope(x, t), after - t
        x = x + 0.5 * (first + slope(x + first * length, after)) * length
    return x + slope(x, times[-2]) * (times[-1] - times[-2])


def sample_ddim(predict: Predict, x: Tensor, steps: Sequence[int], prediction_type: str) -> Tensor:
    """DDIM without noise of its own (arXiv:2010.02502, eq. 12), on DDPM's cosine schedule.

    Args:
        predict: noise, data or their velocity.
        x: `[N, L, D]`, noise.
        steps: K steps of the schedule, falling from 999 at most. Each goes down by the K-th part of all steps.
        prediction_type: what is predicted, see `ends_of`.
    """
    kept, stride = cosine_shares(), COSINE_STEPS // len(steps)
    for step in steps:
        after = kept[step - stride] if step >= stride else torch.ones(())
        x0, noise = ends_of(predict(x, time_of(kept[step])), x, kept[step], prediction_type)
        x = after**0.5 * x0 + (1 - after) ** 0.5 * noise
    return x


def sample_ddpm(
    predict: Predict,
    x: Tensor,
    steps: Sequence[int],
    prediction_type: str,
    noises: Tensor,
    whole_variance: bool = False,
) -> Tensor:
    """Ancestral sampling (DDPM, arXiv:2006.11239, eq. 7, with its smaller variance), on the cosine schedule.

    Args:
        predict, x, steps, prediction_type: as of `sample_ddim`; each step goes to the next of them.
        noises: `[K - 1, N, L, D]`, standard normal, of all steps but the last.
        whole_variance: whether the noise of a step is that of one step of the whole schedule, however far the step
            goes, as in clip2latent's code.
    """
    kept = cosine_shares()
    for i, (step, following) in enumerate(zip(steps, [*steps[1:], None], strict=True)):
        now, after = kept[step], torch.ones(()) if following is None else kept[following]
        x0, _ = ends_of(predict(x, time_of(now)), x, now, prediction_type)
        alpha = now / after
        beta = 1 - alpha
        x = (after**0.5 * beta) / (1 - now) * x0 + alpha**0.5 * (1 - after) / (1 - now) * x
        if following is not None:
            deviation = _deviation(now, kept[step - 1] if whole_variance else after)
            x = x + deviation * noises[i]
    return x


def _deviation(now: Tensor, after: Tensor) -> Tensor:
    """Standard deviation of the noise in a step between two shares of the data's variance."""
    return ((1 - after) / (1 - now) * (1 - now / after)).clamp(min=1e-20) ** 0.5


def ends_of(prediction: Tensor, x: Tensor, kept: Tensor, prediction_type: str) -> tuple[Tensor, Tensor]:
    """Data and noise `[N, L, D]` of which x is the mixture, by what was predicted of it.

    Args:
        prediction: `[N, L, D]`.
        x: `[N, L, D]`.
        kept: share of the data's variance in x, alpha bar; a scalar.
        prediction_type: `epsilon`, the noise; `sample`, the data; or `v_prediction` (arXiv:2202.00512, app. D).
    """
    a, s = kept**0.5, (1 - kept) ** 0.5
    if prediction_type == "epsilon":
        return (x - s * prediction) / a, prediction
    if prediction_type == "sample":
        return prediction, (x - a * prediction) / s
    return a * x - s * prediction, a * prediction + s * x


def euler_times(num_steps: int) -> Tensor:
    """Times `[num_steps + 1]`, evenly spaced from 1 to 0."""
    return torch.tensor([*(1 - i / num_steps for i in range(num_steps)), 0.0])


def heun_times(num_steps: int) -> Tensor:
    """Times `[num_steps + 1]`, evenly spaced from 1 to 0.001, then 0."""
    # In thousandths, as diffusers counts, so that rounding is the same.
    times = np.linspace(1000, 1000 * float(SMALLEST_FLOW_TIME), num_steps) / 1000
    return torch.tensor([*times, 0.0], dtype=torch.float32)


def trailing_steps(num_steps: int) -> list[int]:
    """Steps of the cosine schedule, evenly spaced down from its last (arXiv:2305.08891, tab. 2, "trailing").

    Raises:
        UsageError: for more than it has.
    """
    if num_steps > COSINE_STEPS:
        raise UsageError(f"num_inference_steps: expected at most {COSINE_STEPS} for this sampler, got {num_steps}")
    return [int(step) - 1 for step in np.round(np.arange(COSINE_STEPS, 0, -COSINE_STEPS / num_steps))]


def leading_steps(num_steps: int) -> list[int]:
    """Steps of the cosine schedule, evenly spaced down to its first: 750, 500, 250 and 0 for four.

    Raises:
        UsageError: for a number that isn't a divisor of all steps.
    """
    if COSINE_STEPS % num_steps:
        near = max(steps for steps in range(1, num_steps) if not COSINE_STEPS % steps)
        expected = f"expected a divisor of {COSINE_STEPS} such as {near} for this sampler"
        raise UsageError(f"num_inference_steps: {expected}, got {num_steps}")
    return list(range(0, COSINE_STEPS, COSINE_STEPS // num_steps))[::-1]


def cosine_shares() -> Tensor:
    """Share of the data's variance `[COSINE_STEPS]`, alpha bar, after each step (arXiv:2102.09672, eq. 17)."""

    def alpha_bar(t: float) -> float:
        return math.cos((t + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2) ** 2

    ends = [alpha_bar(i / COSINE_STEPS) for i in range(COSINE_STEPS + 1)]
    betas = [min(1 - after / before, LARGEST_BETA) for before, after in itertools.pairwise(ends)]
    return (1 - torch.tensor(betas)).cumprod(dim=0)


def time_of(kept: Tensor) -> Tensor:
    """The prior's time of a share of the data's variance, see `Parametrization`."""
    return ((1 - kept) / kept).sqrt().atan() * (2 / math.pi)
