"""Random numbers without torch, against torch's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from text2latent.apps.exports.runtime.torch_noise import torch_randn


def expected(seed: int, size: int) -> np.ndarray:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)).numpy()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**63 - 1), st.integers(1, 700))
def test_numbers_are_torchs(seed: int, size: int) -> None:
    np.testing.assert_allclose(torch_randn(seed, size), expected(seed, size), atol=2e-6)


@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 31, 32, 33, 18 * 512])
def test_sizes_around_the_blocks(size: int) -> None:
    np.testing.assert_allclose(torch_randn(3, size), expected(3, size), atol=2e-6)
    assert torch_randn(3, size).dtype == np.float32
