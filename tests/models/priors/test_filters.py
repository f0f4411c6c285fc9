import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from text2latent.common.errors import InputError, UsageError
from text2latent.models.priors.filters import EMBEDDING_FILTERS, covariance_factors


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 9), st.sampled_from(EMBEDDING_FILTERS))
def test_covariance_square_root_squares_to_it(seed: int, size: int, name: str) -> None:
    factor = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    cov = factor @ factor.T
    root, filter_matrix = covariance_factors(cov, name)
    torch.testing.assert_close((root @ root).double(), cov, atol=1e-4, rtol=1e-4)
    filtered = filter_matrix.double() @ cov @ filter_matrix.double().T
    assert filtered.trace() / size == pytest.approx(float(cov.trace()) if name == "raw" else 1, rel=1e-3)


def test_filter_drops_the_directions_without_variance() -> None:
    basis = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    cov = basis[:, :3] @ basis[:, :3].T
    _, filter_matrix = covariance_factors(cov)
    gains = (basis.T.float() @ filter_matrix @ basis.float()).diagonal()
    torch.testing.assert_close(gains[:3], torch.full((3,), math.sqrt(8 / 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(gains[3:], torch.zeros(5), atol=1e-4, rtol=0)


def gains_of(variances: list[float], name: str) -> Tensor:
    """Gains of a filter in the directions of these variances, relative to the first."""
    _, filter_matrix = covariance_factors(torch.diag(torch.tensor(variances)), name)
    gains = filter_matrix.diagonal()
    return gains / gains[0]


def test_no_filter_is_the_identity() -> None:
    torch.testing.assert_close(gains_of([4.0, 1.0, 0.0], "none"), torch.ones(3))


def test_raw_embeddings_of_unit_length_have_a_mean_square_of_one() -> None:
    _, filter_matrix = covariance_factors(torch.diag(torch.tensor([4.0, 1.0, 0.0])), "raw")
    torch.testing.assert_close(filter_matrix, math.sqrt(3) * torch.eye(3))


def test_wiener_filter_has_his_gains() -> None:
    variances = torch.tensor([4.0, 1.0, 0.1])
    expected = variances / (variances + 0.1 * variances.mean())
    torch.testing.assert_close(gains_of(variances.tolist(), "wiener"), expected / expected[0])


def test_unusable_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="embeddings that differ"):
        covariance_factors(torch.zeros(3, 3))
    with pytest.raises(UsageError, match="embedding_filter: expected one of wiener"):
        covariance_factors(torch.eye(3), "pink")
