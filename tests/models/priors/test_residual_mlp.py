from pathlib import Path

import numpy as np
import pytest
import torch

from text2latent.common.errors import InputError
from text2latent.models.priors.prior import modulate, time_features
from text2latent.models.priors.residual_mlp import ResidualMLPPrior

E = 6


def random_prior(seed: int = 0, **changes: object) -> ResidualMLPPrior:
    """A prior of which no weight is zero, as after training."""
    prior = ResidualMLPPrior((2, 3), E, width=16, depth=2, **changes).eval()
    rng = torch.Generator().manual_seed(seed)
    for parameter in prior.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=rng)
    return prior


def inputs(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    condition = torch.nn.functional.normalize(torch.randn(n, E, generator=rng), dim=1)
    return torch.randn(n, 2, 3, generator=rng), torch.rand(n, generator=rng), condition


def test_time_features_are_cosines_then_sines() -> None:
    features = time_features(torch.tensor([0.0, 0.25]), 8)
    frequencies = 10000.0 ** (-np.arange(4) / 4)
    expected = np.concatenate([np.cos(250 * frequencies), np.sin(250 * frequencies)])
    np.testing.assert_allclose(features[1], expected, atol=2e-5)
    np.testing.assert_array_equal(features[0], [1, 1, 1, 1, 0, 0, 0, 0])


def test_untrained_prior_is_the_velocity_of_a_standard_normal() -> None:
    """For data ~ N(0, I), E[noise - data | x] is linear; the coefficient is Cov(noise - data, x) / Var(x)."""
    x, t, condition = inputs(64)
    velocity = ResidualMLPPrior((2, 3), E, width=16, depth=2)(x, t, condition)
    coefficient = (t - (1 - t)) / (t**2 + (1 - t) ** 2)
    torch.testing.assert_close(velocity, coefficient[:, None, None] * x)


def test_dropout_acts_in_training_only() -> None:
    prior, (x, t, condition) = random_prior(dropout=0.5), inputs(4)
    assert torch.equal(prior(x, t, condition), prior(x, t, condition))
    assert not torch.equal(prior.train()(x, t, condition), prior(x, t, condition))


def test_modulation_of_zero_is_the_identity() -> None:
    x = torch.randn(3, 4)
    assert torch.equal(modulate(x, torch.zeros(3, 4), torch.zeros(3, 4)), x)


def test_statistics_standardise_latents() -> None:
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(500, 2, 3)) * [1, 5, 0.1] + [[0, 3, -2], [9, 0, 1]]
    latents[:, 1, 2] = 7
    prior = ResidualMLPPrior((2, 3), E)
    prior.set_statistics(latents.mean(0), latents.std(0))
    x = prior.normalize(torch.from_numpy(latents))
    varying = torch.tensor([[1, 1, 1], [1, 1, 0]], dtype=torch.float32)
    torch.testing.assert_close(x.mean(0), torch.zeros(2, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), varying, atol=1e-4, rtol=0)
    torch.testing.assert_close(prior.denormalize(x), torch.from_numpy(latents).float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_mean": np.zeros((3, 3))}, r"latent mean: expected shape \(2, 3\), got \(3, 3\)"),
        ({"latent_std": np.full((2, 3), np.nan)}, "latent std: expected finite numbers"),
        ({"image_mean": np.zeros(E + 1)}, "embedding mean: expected shape"),
    ],
)
def test_wrong_statistics_are_refused(changes: dict[str, np.ndarray], message: str) -> None:
    statistics = {
        "latent_mean": np.zeros((2, 3)),
        "latent_std": np.ones((2, 3)),
        "image_mean": np.zeros(E),
    }
    prior = ResidualMLPPrior((2, 3), E)
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    with pytest.raises(InputError, match=message):
        prior.set_statistics(**{**statistics, **changes})
    assert all(torch.equal(before[name], value) for name, value in prior.state_dict().items())


@torch.no_grad()
def test_diffusers_saves_and_loads_it(tmp_path: Path) -> None:
    prior, (x, t, condition) = random_prior(), inputs(4)
    prior.set_statistics(np.ones((2, 3)), np.full((2, 3), 2.0), np.full(E, 0.1))
    prior.save_pretrained(tmp_path)
    loaded = ResidualMLPPrior.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(x, t, condition), prior(x, t, condition))
    assert torch.equal(loaded.denormalize(x), prior.denormalize(x))
