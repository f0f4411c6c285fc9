"""Cutouts of images: the same numbers give the same, going backward too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from text2latent.inference.optimization.cutouts import Cutouts, cut, draw_views


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("num_images", [1, 3])
def test_a_seed_gives_the_same_gradient_again(two_threads: None, num_images: int) -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(num_images, 3, 128, 128, generator=rng, requires_grad=True)
    weights = torch.randn(8 * num_images, 3, 128, 128, generator=rng)

    def gradient() -> Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in range(num_images)]
        views = draw_views(Cutouts(8), generators, torch.device("cpu"))
        (found,) = torch.autograd.grad((cut(images, views) * weights).sum(), images)
        return found

    first = gradient()
    assert first.abs().sum() > 0
    assert all(torch.equal(gradient(), first) for _ in range(20))
