"""clip2latent's transformer against outputs of clip2latent's own code."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from text2latent.models.priors.clip2latent import read_prior
from text2latent.models.priors.clip2latent_yaml import read_settings
from text2latent.models.priors.diffusion import guided_prediction
from text2latent.models.priors.parametrization import COSINE_STEPS, cosine_times
from text2latent.models.priors.transformer import TransformerPrior

DATA = Path(__file__).parents[2] / "data/clip2latent"


@pytest.fixture(scope="module")
def original() -> dict[str, Tensor]:
    """The averaged prior of clip2latent's checkpoint."""
    state = torch.load(DATA / "small-w.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    prefix = "ema_diffusion_prior.ema_model."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


@pytest.fixture(scope="module")
def prior(original: dict[str, Tensor]) -> TransformerPrior:
    return read_prior(DATA / "small-w.ckpt", read_settings(DATA / "small-w.yaml"))


def time_of(step: int) -> Tensor:
    """Our time of clip2latent's step, which counts from 0; `[1]`."""
    return cosine_times(torch.tensor([step + 1]))


@torch.no_grad()
@pytest.mark.parametrize("scale", [1, 2])
def test_four_steps_give_what_the_original_gives(
    prior: TransformerPrior, original: dict[str, Tensor], scale: int
) -> None:
    """The steps are written out from clip2latent's: means of the respaced chain, variances of the whole one."""
    with np.load(DATA / "small-w.io.npz") as file:
        embedding, noises = (torch.from_numpy(file[name]) for name in ("embedding", "noises_skip250"))
        expected = torch.from_numpy(file[f"w_skip250_scale{scale}_truncation1"])
    steps = (750, 500, 250, 0)
    kept = [original["alphas_cumprod"][step] for step in (*steps, 0)]
    kept[-1] = torch.tensor(1.0)
    x = noises[0][:, None]
    for index, step in enumerate(steps):
        x0 = guided_prediction(prior, x, time_of(step).expand(2), embedding, scale)
        now, before = kept[index], kept[index + 1]
        share = now / before
        mean = ((1 - share) * before.sqrt() * x0 + (1 - before) * share.sqrt() * x) / (1 - now)
        deviation = (original["posterior_log_variance_clipped"][step] / 2).exp() if step else 0.0
        x = mean + deviation * noises[1 + index][:, None]
    w = x * original["latent_std"] + original["latent_mean"]
    torch.testing.assert_close(w.expand(-1, 10, -1), expected, atol=1e-5, rtol=1e-5)


def test_each_step_of_the_schedule_has_its_own_row(prior: TransformerPrior, original: dict[str, Tensor]) -> None:
    steps = torch.arange(COSINE_STEPS)
    assert torch.equal(prior.step_of(cosine_times(steps + 1)), steps)
    kept = original["alphas_cumprod"]
    from_levels = ((1 - kept) / kept).sqrt().atan() * (2 / math.pi)
    assert torch.equal(prior.step_of(from_levels), steps)
    assert prior.step_of(torch.tensor([0.0, 1.0])).tolist() == [0, COSINE_STEPS - 1]


def test_flow_goes_through_the_rows_evenly() -> None:
    flow = TransformerPrior((1, 64), 64, width=64, depth=1, num_heads=1, objective="flow")
    assert flow.step_of(torch.tensor([0.0, 0.0015, 0.5, 1.0])).tolist() == [0, 1, 500, COSINE_STEPS - 1]


def test_later_tokens_of_many_latents_see_far() -> None:
    """Forty tokens, of distances beyond the exact ones, each with its own query; channels other than the width."""
    prior = TransformerPrior((19, 12), 6, width=64, depth=1, num_heads=2)
    rng = torch.Generator().manual_seed(0)
    x, condition = torch.randn(2, 19, 12, generator=rng), torch.randn(2, 6, generator=rng)
    prediction = prior(x, torch.tensor([0.2, 0.8]), condition)
    assert prediction.shape == x.shape
    prediction.square().sum().backward()
    rows = prior.distances.weight.grad
    assert rows is not None
    assert rows[: 16 + 1].abs().sum(dim=1).min() > 0
    assert rows[30:].abs().max() == 0
