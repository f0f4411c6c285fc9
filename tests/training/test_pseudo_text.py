import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from text2latent.common.errors import UsageError
from text2latent.training.pseudo_text import PseudoText


def unit_rows(n: int, size: int = 32, seed: int = 0) -> Tensor:
    return normalize(torch.randn(n, size, generator=torch.Generator().manual_seed(seed)), dim=1)


def noise_norms(embeddings: Tensor, moved: Tensor) -> Tensor:
    """Norms of the noise that was added before the normalising, if it was orthogonal to the embeddings."""
    return (moved * embeddings).sum(dim=1).acos().tan()


@pytest.mark.parametrize("noise_scale", [0.0, 0.5, 1.0, 3.0])
def test_pseudo_text_stays_on_the_sphere_at_the_right_distance(noise_scale: float) -> None:
    embeddings = unit_rows(1000, 256)
    moved = PseudoText(noise_scale, random_noise=False)(embeddings, torch.Generator().manual_seed(1))
    torch.testing.assert_close(moved.norm(dim=1), torch.ones(1000))
    # The angle's tangent is |noise| / |embedding| where they are orthogonal, as they nearly are on average.
    cosine = (moved * embeddings).sum(1).mean().item()
    assert cosine == pytest.approx(1 / math.sqrt(1 + noise_scale**2), abs=0.02)


def test_noise_has_exactly_the_relative_norm() -> None:
    embeddings = unit_rows(100)
    moved = PseudoText(0.7, random_noise=False)(embeddings, torch.Generator().manual_seed(1))
    # e + n is a multiple r of the result; |r m - e| = 0.7 must have a real solution r for each row.
    cosine = (moved * embeddings).sum(1)
    r = cosine + (cosine**2 - 1 + 0.7**2).clamp(min=0).sqrt()
    distance = (r[:, None] * moved - embeddings).norm(dim=1)
    torch.testing.assert_close(distance, torch.full((100,), 0.7), atol=1e-3, rtol=0)


def test_random_noise_is_of_uniform_norm_up_to_its_scale() -> None:
    embeddings = unit_rows(4000, 4096)
    moved = PseudoText(2.0, random_noise=True)(embeddings, torch.Generator().manual_seed(1))
    quantiles = noise_norms(embeddings, moved).quantile(torch.tensor([0.01, 0.25, 0.5, 0.75, 0.99]))
    torch.testing.assert_close(quantiles, torch.tensor([0.02, 0.5, 1.0, 1.5, 1.98]), atol=0.06, rtol=0)


def test_noise_has_no_preferred_direction() -> None:
    embeddings = torch.zeros(20_000, 4)
    embeddings[:, 0] = 1
    moved = PseudoText(1.0)(embeddings, torch.Generator().manual_seed(1))
    torch.testing.assert_close(moved[:, 1:].mean(dim=0), torch.zeros(3), atol=0.01, rtol=0)
    spread = moved[:, 1:].square().mean(dim=0)
    torch.testing.assert_close(spread, spread.mean().expand(3), atol=0.005, rtol=0)


@pytest.mark.parametrize("noise_scale", [-1.0, math.nan, math.inf])
def test_wrong_scales_are_refused(noise_scale: float) -> None:
    with pytest.raises(UsageError, match="noise_scale: expected a number >= 0"):
        PseudoText(noise_scale)
