"""Our samplers against diffusers' schedulers, with a prior that is no linear function."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from text2latent.common.errors import UsageError
from text2latent.models.priors.diffusion import Guidance, initial_noise, integrate
from text2latent.models.priors.sampling import leading_steps, trailing_steps
from text2latent.models.priors.schedulers import PREDICTION_TYPES, build_scheduler

COMBINATIONS = [
    ("flow", "euler"),
    ("flow", "heun"),
    *((kind, name) for kind in PREDICTION_TYPES for name in ("ddim", "ddpm")),
]


class CurvedPrior:
    """Bounded, and different for each time, condition and guidance."""

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor, drop: Tensor | None = None) -> Tensor:
        moved = condition[:, None] if drop is None else condition[:, None] * ~drop[:, None, None]
        return torch.sin(2 * x + 3 * t[:, None, None] + moved)

    def denormalize(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("steps", [1, 2, 7, 8, 50])
@pytest.mark.parametrize(("objective", "sampler"), COMBINATIONS)
def test_draws_what_diffusers_scheduler_draws(objective: str, sampler: str, steps: int) -> None:
    scheduler, noise = build_scheduler(sampler, objective), initial_noise([1, 2, 3], (2, 4))
    assert scheduler.draws_with is not None
    condition = torch.linspace(-1, 1, 12).view(3, 4)
    how = condition, steps, Guidance(2.0, interval=(0.1, 0.9), rescale=0.3), noise
    ours, theirs = (integrate(CurvedPrior(), one, *how) for one in (scheduler, scheduler.to_diffusers()))
    if sampler in ("heun", "ddpm"):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    else:
        assert torch.equal(ours, theirs)
    assert not torch.equal(ours[0], ours[1])


def test_more_steps_than_the_schedule_has_are_refused() -> None:
    assert trailing_steps(1000) == list(range(999, -1, -1))
    assert trailing_steps(4) == [999, 749, 499, 249]
    with pytest.raises(UsageError, match="num_inference_steps: expected at most 1000 for this sampler, got 1001"):
        trailing_steps(1001)


def test_leading_steps_divide_the_schedule() -> None:
    assert leading_steps(4) == [750, 500, 250, 0]
    assert leading_steps(1) == [0]
    assert leading_steps(1000) == list(range(999, -1, -1))
    with pytest.raises(UsageError, match="expected a divisor of 1000 such as 5 for this sampler, got 7"):
        leading_steps(7)
    with pytest.raises(UsageError, match="such as 1000 for this sampler, got 1001"):
        leading_steps(1001)
