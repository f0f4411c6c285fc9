import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from text2latent.common.errors import UsageError
from text2latent.training.components import Components
from text2latent.training.pseudo_text import PseudoText


def unit_rows(n: int, size: int = 32, seed: int = 0) -> Tensor:
    return normalize(torch.randn(n, size, generator=torch.Generator().manual_seed(seed)), dim=1)


def low_rank_root(size: int = 32, rank: int = 3) -> Tensor:
    return torch.diag((torch.arange(size) < rank).float())


@pytest.mark.parametrize("noise_covariance", ["isotropic", "data"])
@pytest.mark.parametrize("noise_scale", [0.0, 0.5, 1.0])
def test_pseudo_text_stays_on_the_sphere_at_the_right_distance(noise_covariance: str, noise_scale: float) -> None:
    embeddings = unit_rows(1000, 256)
    make = PseudoText(noise_scale=noise_scale, noise_covariance=noise_covariance)
    moved, _ = make(embeddings, low_rank_root(256, 128), torch.Generator().manual_seed(1))
    torch.testing.assert_close(moved.norm(dim=1), torch.ones(1000))
    # The angle's tangent is |noise| / |embedding| where they are orthogonal, as they nearly are on average.
    cosine = (moved * embeddings).sum(1).mean().item()
    assert cosine == pytest.approx(1 / math.sqrt(1 + noise_scale**2), abs=0.02)


def test_isotropic_noise_has_exactly_the_relative_norm() -> None:
    embeddings, make = unit_rows(100), PseudoText(noise_scale=0.7, noise_covariance="isotropic")
    moved, _ = make(embeddings, low_rank_root(), torch.Generator().manual_seed(1))
    # e + n is a multiple r of the result; |r m - e| = 0.7 must have a real solution r for each row.
    cosine = (moved * embeddings).sum(1)
    r = cosine + (cosine**2 - 1 + 0.7**2).clamp(min=0).sqrt()
    distance = (r[:, None] * moved - embeddings).norm(dim=1)
    torch.testing.assert_close(distance, torch.full((100,), 0.7), atol=1e-3, rtol=0)


def test_data_noise_lies_where_images_differ() -> None:
    embeddings = torch.zeros(50, 32)
    embeddings[:, -1] = 1
    make = PseudoText(noise_scale=0.5, noise_covariance="data")
    moved, _ = make(embeddings, low_rank_root(rank=3), torch.Generator().manual_seed(1))
    assert moved[:, :3].abs().min() > 0
    assert not moved[:, 3:-1].any()


def test_random_noise_level_is_uniform_and_told() -> None:
    embeddings, root = unit_rows(2000), low_rank_root(rank=32)
    make = PseudoText(noise_scale=0.5, noise_covariance="isotropic", random_noise_level=True)
    moved, level = make(embeddings, root, torch.Generator().manual_seed(1))
    quantiles = level.quantile(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
    torch.testing.assert_close(quantiles, torch.tensor([0.0, 0.125, 0.25, 0.375, 0.5]), atol=0.02, rtol=0)
    cosine = (moved * embeddings).sum(1)
    assert torch.corrcoef(torch.stack([level, cosine.arccos()]))[0, 1] > 0.95


def test_fixed_noise_level_is_told_too() -> None:
    _, level = PseudoText(noise_scale=0.3)(unit_rows(5), low_rank_root(), torch.Generator().manual_seed(0))
    torch.testing.assert_close(level, torch.full((5,), 0.3))


def test_mixing_adds_other_rows_of_the_batch_with_weights_up_to_one() -> None:
    embeddings = torch.eye(64)
    make = PseudoText(noise_scale=0.0, mixed_images=2)
    mixed = make.mix(embeddings, torch.Generator().manual_seed(0))
    torch.testing.assert_close(mixed.norm(dim=1), torch.ones(64))
    weights = mixed / mixed.diagonal()[:, None]  # relative to the row itself, whose weight is 1 (or more, if drawn too)
    others = (weights - torch.diag(weights.diagonal()) > 0).sum(dim=1)
    assert weights.max() <= 1 + 1e-6
    assert set(others.tolist()) == {0, 1, 2}


def test_mixing_keeps_what_images_share() -> None:
    shared, own = torch.tensor([1.0, 0.0]), torch.randn(512, 30, generator=torch.Generator().manual_seed(0)) / 30**0.5
    embeddings = normalize(torch.cat([shared.expand(512, 2), own], dim=1), dim=1)
    mixed = PseudoText(noise_scale=0.0, mixed_images=3).mix(embeddings, torch.Generator().manual_seed(1))
    assert mixed[:, 0].mean() > embeddings[:, 0].mean() + 0.05
    assert mixed[:, 2:].norm(dim=1).mean() < embeddings[:, 2:].norm(dim=1).mean() - 0.05


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixed_images": -1}, "mixed_images"),
        ({"hidden_share": 1.5}, "hidden_share"),
        ({"noise_covariance": "pink"}, "noise_covariance: expected one of isotropic, data, got 'pink'"),
        ({"noise_scale": -1.0}, "noise_scale"),
        ({"noise_scale": math.nan}, "noise_scale"),
        ({"gain_spread": -0.1}, "gain_spread"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PseudoText(**changes)


def axes(embeddings: Tensor, size: int | None = None) -> Components:
    """The first channels of embeddings as components, in pairs; by default all."""
    centre, std = embeddings.mean(dim=0), embeddings.std(dim=0)
    analysis, synthesis = torch.diag(1 / std)[:, :size], torch.diag(std)[:size]
    return Components(centre, analysis, synthesis, torch.arange(len(synthesis)) // 2)


def shown_parts(make: PseudoText, embeddings: Tensor) -> Tensor:
    """What each component is multiplied with, `[N, K]`; the last channel, in no component, tells of the normalising."""
    varied = make.vary_components(embeddings, torch.Generator().manual_seed(0))
    torch.testing.assert_close(varied.norm(dim=1), torch.ones(len(embeddings)))
    whole = varied * (embeddings[:, -1:] / varied[:, -1:])
    assert make.components is not None
    before, after = ((part - make.components.centre) @ make.components.analysis for part in (embeddings, whole))
    return after / before


def with_a_mark(n: int) -> Tensor:
    rows = torch.randn(n, 17, generator=torch.Generator().manual_seed(0))
    rows[:, -1] = 10 + rows[:, -1]
    return rows


def test_groups_of_components_are_hidden_whole_and_the_others_kept() -> None:
    embeddings = with_a_mark(2000)
    shown = shown_parts(PseudoText(hidden_share=1.0, components=axes(embeddings, 16)), embeddings).reshape(2000, 8, 2)
    torch.testing.assert_close(shown, shown.round(), atol=0.05, rtol=0)
    assert set(shown.round().abs().unique().tolist()) == {0.0, 1.0}
    assert torch.equal(shown[..., 0].round().abs(), shown[..., 1].round().abs())
    assert shown.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shown.mean(dim=(1, 2)).std() > 0.25  # each row has a rate of its own


def test_gains_have_the_spread_and_are_shared_by_a_group() -> None:
    embeddings = with_a_mark(3000)
    make = PseudoText(noise_scale=0.0, gain_spread=0.3, components=axes(embeddings, 16))
    logs = shown_parts(make, embeddings).log().reshape(3000, 8, 2).nanmedian(dim=2).values
    assert logs.nanmedian().item() == pytest.approx(0, abs=0.02)
    assert logs[~logs.isnan()].std().item() == pytest.approx(0.3, abs=0.02)


def test_the_hidden_share_of_the_rows_changes() -> None:
    embeddings = unit_rows(4000, 16)
    make = PseudoText(hidden_share=0.25, components=axes(embeddings))
    changed = (make.vary_components(embeddings, torch.Generator().manual_seed(0)) - embeddings).norm(dim=1) > 1e-5
    assert changed.float().mean().item() == pytest.approx(0.25 * 8 / 9, abs=0.03)  # of 8 groups none may go


def test_what_components_leave_out_stays() -> None:
    embeddings = unit_rows(500, 16)
    make = PseudoText(hidden_share=1.0, gain_spread=0.5, components=axes(embeddings, 8))
    varied = make.vary_components(embeddings, torch.Generator().manual_seed(0))
    ratios = varied[:, 8:] / embeddings[:, 8:]
    torch.testing.assert_close(ratios, ratios[:, :1].expand_as(ratios), atol=1e-3, rtol=1e-3)


def test_components_are_asked_for_where_they_are_needed() -> None:
    for changes in ({"hidden_share": 0.5}, {"gain_spread": 0.1}):
        with pytest.raises(UsageError, match="components: expected those of the image embeddings"):
            PseudoText(**changes)
