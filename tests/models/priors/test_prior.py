"""What all priors share, tried on each of them: texts, scaling, saving; and the text gap against its formulas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from text2latent.common.errors import InputError, UsageError
from text2latent.models.network import Unfilled
from text2latent.models.priors.parametrization import OBJECTIVES
from text2latent.models.priors.prior import Prior
from text2latent.models.priors.registry import NETWORKS, create_prior, prior_class
from text2latent.models.priors.residual_mlp import ResidualMLPPrior

E, SHAPE = 6, (3, 4)


def make(network: str, seed: int = 0, **options: Any) -> Prior:
    """A prior of which no weight is zero, as after training."""
    prior = create_prior(network, SHAPE, E, width=64, depth=2, **options).eval()
    rng = torch.Generator().manual_seed(seed)
    for parameter in prior.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=rng)
    return prior


def set_statistics(prior: Prior, images: Tensor | None = None, text_mean: Tensor | None = None) -> None:
    """Statistics of images `[N, E]`, so or so of random ones, and the mean of texts `[E]`."""
    images = unit_rows(20, 9) if images is None else images
    prior.set_statistics(torch.zeros(4), torch.ones(4), images.mean(dim=0), text_mean)


def unit_rows(n: int, seed: int = 0) -> Tensor:
    return normalize(torch.randn(n, E, generator=torch.Generator().manual_seed(seed)), dim=1)


def inputs(n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, *SHAPE, generator=rng), torch.rand(n, generator=rng), unit_rows(n)


@pytest.fixture(params=sorted(NETWORKS))
def network(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@torch.no_grad()
def test_everything_matters_and_rows_do_not_mix(network: str) -> None:
    prior, (x, t, condition) = make(network), inputs(4)
    prediction = prior(x, t, condition)
    assert prediction.shape == x.shape
    for other in (prior(x + 1, t, condition), prior(x, 1 - t, condition), prior(x, t, condition.roll(1, 0))):
        assert (other - prediction).abs().amax(dim=(1, 2)).min() > 1e-4
    alone = torch.cat([prior(x[i : i + 1], t[i : i + 1], condition[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(alone, prediction, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_dropped_rows_ignore_the_condition_and_no_others(network: str) -> None:
    prior, (x, t, condition) = make(network), inputs(4)
    drop = torch.tensor([True, False, True, False])
    one, other = prior(x, t, condition, drop), prior(x, t, condition.roll(1, 0), drop)
    torch.testing.assert_close(one[drop], other[drop])
    assert (one[~drop] - other[~drop]).abs().amax(dim=(1, 2)).min() > 1e-4
    torch.testing.assert_close(one[~drop], prior(x, t, condition)[~drop], atol=1e-5, rtol=1e-4)


def test_every_weight_gets_a_gradient(network: str) -> None:
    prior, (x, t, condition) = make(network).train(), inputs(8)
    prior(x, t, condition, torch.arange(8) % 2 == 0).square().sum().backward()
    assert not [name for name, weight in prior.named_parameters() if weight.grad is None or not weight.grad.any()]


@pytest.mark.parametrize("name", ["residual_mlp", "dit"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_untrained_network_is_the_best_linear_prediction(name: str, objective: str) -> None:
    """Of data ~ N(0, I), regression of the target on x by least squares gives the coefficient."""
    prior = create_prior(name, SHAPE, E, width=64, depth=1, objective=objective)
    rng = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 20_000, *SHAPE, generator=rng)
    t = torch.full((20_000,), 0.3)
    x = prior.parametrization.mix(x0, noise, t)
    target = prior.parametrization.target(x0, noise, t)
    coefficient = (x * target).sum() / x.square().sum()
    prediction = prior(x[:5], t[:5], unit_rows(5))
    torch.testing.assert_close(prediction, coefficient * x[:5], atol=0.03, rtol=0)


def test_transformer_is_causal() -> None:
    """What the query sees comes from tokens before it; the token of the time must not see the noisy latent's."""
    prior, (x, t, condition) = make("transformer"), inputs(2)
    seen: list[Tensor] = []
    prior.get_submodule("blocks.1").register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        prior(x, t, condition)
        prior(x + 1, t, condition)
    torch.testing.assert_close(seen[0][:, :2], seen[1][:, :2])
    assert (seen[0][:, 2:] - seen[1][:, 2:]).abs().amax(dim=2).min() > 1e-4


@torch.no_grad()
def test_saved_prior_is_read_back(network: str, tmp_path: Path) -> None:
    prior, (x, t, condition) = make(network), inputs(4)
    set_statistics(prior, text_mean=unit_rows(7, 1).mean(dim=0))
    prior.save_pretrained(tmp_path)
    loaded = prior_class(NETWORKS[network]).from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(x, t, condition), prior(x, t, condition))
    assert torch.equal(loaded.text_condition(condition), prior.text_condition(condition))
    assert torch.equal(loaded.image_condition(condition), prior.image_condition(condition))


def test_weights_from_before_text_gaps_are_read() -> None:
    prior = make("residual_mlp")
    new = ("text_", "image_")
    old = {name: value for name, value in prior.state_dict().items() if not name.startswith(new)}
    with Unfilled(old):
        loaded = ResidualMLPPrior.from_config(prior.config)
    loaded.load_state_dict(old, assign=True)
    condition = unit_rows(3)
    torch.testing.assert_close(loaded.text_condition(condition), condition)


def test_weights_from_when_noise_levels_were_told_are_read() -> None:
    prior = make("residual_mlp")
    prior.load_state_dict({**prior.state_dict(), "text_noise_level": torch.ones(())})


def test_weights_from_when_texts_were_moved_are_read() -> None:
    prior, texts, offset = make("residual_mlp"), unit_rows(3), 0.1 * torch.arange(E)
    old = {
        name: value for name, value in prior.state_dict().items() if not name.endswith(("text_centre", "image_centre"))
    }
    prior.load_state_dict({**old, "text_offset": offset, "text_temperature": torch.zeros(())})
    torch.testing.assert_close(prior.text_condition(texts), normalize(texts + offset, dim=1))
    torch.testing.assert_close(prior.image_condition(texts), texts)


def filtered(prior: Prior, scale: float) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Weights as they were when conditions went through a matrix about their mean, with that matrix and mean."""
    rng = torch.Generator().manual_seed(3)
    factor, mean = 0.1 * torch.randn(E, E, generator=rng), 0.1 * torch.randn(E, generator=rng)
    matrix = scale * torch.eye(E) + factor @ factor.T
    old = {name: value for name, value in prior.state_dict().items() if name != "condition_scale"}
    old |= {"embedding_filter": matrix, "embedding_cov_sqrt": torch.eye(E), "embedding_mean": mean}
    return old, matrix, mean


@torch.no_grad()
@pytest.mark.parametrize("named", [False, True], ids=["about the mean", "about a point of their own"])
def test_weights_from_when_conditions_were_filtered_are_read(named: bool) -> None:
    prior, (x, t, condition) = make("residual_mlp"), inputs(4)
    old, matrix, mean = filtered(prior, 2.0)
    if named:
        old["condition_centre"], mean = mean + 1, mean + 1
    loaded = make("residual_mlp", seed=1)
    loaded.load_state_dict(old)
    as_then = (condition - mean) @ matrix / prior.condition_scale
    torch.testing.assert_close(loaded(x, t, condition), prior(x, t, as_then), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_transformers_take_an_old_scale_and_refuse_an_old_filter() -> None:
    prior, (x, t, condition) = make("transformer"), inputs(4)
    old, _, mean = filtered(prior, 2.0)
    scaled = {**old, "embedding_filter": 3 * torch.eye(E), "condition_centre": torch.zeros(E)}
    loaded = make("transformer", seed=1)
    loaded.load_state_dict(scaled)
    as_then = condition * 3 / prior.condition_scale
    torch.testing.assert_close(loaded(x, t, condition), prior(x, t, as_then), atol=1e-4, rtol=1e-4)
    for wrong in (old, {**scaled, "condition_centre": mean}):
        with pytest.raises(InputError, match="went through a filter"):
            loaded.load_state_dict(wrong)


def test_the_network_sees_conditions_with_a_mean_square_of_one(network: str) -> None:
    torch.testing.assert_close(make(network).scale_condition(unit_rows(3)).square().mean(dim=1), torch.ones(3))


def test_texts_stay_where_they_are_by_default(network: str) -> None:
    condition = unit_rows(5)
    torch.testing.assert_close(make(network).text_condition(condition), condition)


def test_images_and_texts_are_seen_from_the_centre_of_their_kind(network: str) -> None:
    prior, images, texts = make(network), normalize(unit_rows(50, 1) + 3, dim=1), normalize(unit_rows(40, 2) - 2, dim=1)
    set_statistics(prior, images, texts.mean(dim=0))
    for seen, whole in ((prior.image_condition(images), images), (prior.text_condition(texts), texts)):
        torch.testing.assert_close(seen, normalize(whole - whole.mean(dim=0), dim=1))
        assert seen.mean(dim=0).norm() < 0.2 < whole.mean(dim=0).norm()
    torch.testing.assert_close(
        prior.text_condition(texts + 5 * texts.mean(dim=0)), normalize(texts + 4 * texts.mean(0))
    )


@torch.no_grad()
def test_a_constant_gap_between_images_and_texts_changes_nothing(network: str) -> None:
    """Not in any prediction, however large it is, once each kind is seen from its own centre."""
    images, gap = 0.1 * unit_rows(50, 1), torch.arange(E) / E
    near, far, (x, t, _) = make(network), make(network), inputs(4)
    set_statistics(near, images, torch.zeros(E))
    set_statistics(far, images, gap)
    one, other = near.text_condition(images[:4]), far.text_condition(images[:4] + gap)
    torch.testing.assert_close(near(x, t, one), far(x, t, other), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("mean", "message"),
    [
        (torch.full((E,), float("nan")), "text mean: expected finite"),
        (torch.zeros(E + 1), "text mean: expected shape"),
    ],
)
def test_wrong_means_of_texts_are_refused(mean: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        set_statistics(make("residual_mlp"), text_mean=mean)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "unet"}, "network: expected one of residual_mlp, dit, transformer, got 'unet'"),
        ({"network": "dit", "width": 100}, "width: expected a multiple of 64 for network dit, got 100"),
        ({"network": "dit", "num_heads": 2}, "num_heads: expected null for network dit, got 2"),
        ({"network": "residual_mlp", "objective": "score"}, "objective: expected one of flow"),
    ],
)
def test_wrong_networks_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        create_prior(**{"latent_shape": SHAPE, "embedding_dim": E, "width": 64, "depth": 1, **options})


def test_unknown_class_is_refused() -> None:
    with pytest.raises(InputError, match="prior 'UNet': expected one of ResidualMLPPrior"):
        prior_class("UNet")
