import math

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_edm_euler import EDMEulerScheduler

from text2latent.common.errors import UsageError
from text2latent.models.priors.parametrization import OBJECTIVES, Parametrization


def pairs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x0, noise = torch.randn(2, 5, 2, 3, generator=torch.Generator().manual_seed(0))
    return x0, noise, torch.tensor([0.0, 0.2, 0.5, 0.7, 0.95])


def test_cosine_levels_and_velocity_are_diffusers() -> None:
    """diffusers' cosine schedule at step k is that of the time (k + 1) / 1000, but for its offset of 0.008."""
    scheduler, (x0, noise, _) = DDPMScheduler(beta_schedule="squaredcos_cap_v2"), pairs()
    steps = torch.tensor([0, 200, 500, 700, 950])
    kept = scheduler.alphas_cumprod[steps]
    t = ((1 - kept) / kept).sqrt().atan() * 2 / math.pi
    torch.testing.assert_close(t, (steps + 1) / 1000, atol=0.01, rtol=0)
    form = Parametrization("v")
    torch.testing.assert_close(form.mix(x0, noise, t), scheduler.add_noise(x0, noise, steps))
    torch.testing.assert_close(form.target(x0, noise, t), scheduler.get_velocity(x0, noise, steps))


def test_preconditioning_of_x0_is_edms() -> None:
    """EDM's c_skip, c_in and c_out for x0 + sigma e are those for the same divided by sqrt(1 + sigma^2)."""
    edm, t = EDMEulerScheduler(sigma_data=1.0), torch.tensor([0.1, 0.5, 0.9])
    sigma = (t * math.pi / 2).tan()
    skip, scale_in, scale_out = Parametrization("sample").preconditioning(t)
    x = torch.randn(3, 4)
    ours = skip[:, None] * x + scale_out[:, None]
    theirs = [
        edm.precondition_outputs(row * (1 + level**2).sqrt(), torch.ones(4), level)
        for row, level in zip(x, sigma, strict=True)
    ]
    torch.testing.assert_close(ours, torch.stack(theirs))
    torch.testing.assert_close(scale_in, torch.ones(3))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_preconditioning_leaves_a_target_of_unit_variance(objective: str) -> None:
    form, t = Parametrization(objective), torch.tensor([0.1, 0.5, 0.9])
    x0, noise = torch.randn(2, 3, 20_000, 2, generator=torch.Generator().manual_seed(0))
    skip, scale_in, scale_out = (part[:, None, None] for part in form.preconditioning(t))
    x, target = form.mix(x0, noise, t), form.target(x0, noise, t)
    learned = (target - skip * x) / scale_out
    torch.testing.assert_close((scale_in * x).var(dim=(1, 2)), torch.ones(3), atol=0.03, rtol=0)
    torch.testing.assert_close(learned.var(dim=(1, 2)), torch.ones(3), atol=0.03, rtol=0)
    assert (learned * x).mean(dim=(1, 2)).abs().max() < 0.02


def test_unknown_objective_is_refused() -> None:
    with pytest.raises(UsageError, match="objective: expected one of flow, epsilon, sample, v, got 'score'"):
        Parametrization("score")
