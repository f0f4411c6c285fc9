"""The loss of a picture against its definitions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from text2latent.common.errors import UsageError
from text2latent.inference.projection.loss import (
    LossWeights,
    PictureObjective,
    scales_of,
    signal_to_noise,
    similarity,
)


def images(n: int, height: int = 32, width: int = 32, channels: int = 3, seed: int = 0) -> Tensor:
    return 2 * torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(seed)) - 1


def mean_colours(pictures: Tensor) -> list[Tensor]:
    return [pictures.mean(dim=(2, 3))[:, None]]


def test_figures_are_those_of_torchmetrics() -> None:
    one, other = images(3), images(3, seed=1)
    for i in range(3):
        ratio = PeakSignalNoiseRatio(data_range=2.0)(one[i : i + 1], other[i : i + 1])
        assert float(signal_to_noise(one, other)[i]) == pytest.approx(float(ratio), rel=1e-5)
        alike = StructuralSimilarityIndexMeasure(data_range=2.0)(one[i : i + 1], other[i : i + 1])
        assert float(similarity(one, other)[i]) == pytest.approx(float(alike), rel=1e-4, abs=1e-6)
    assert signal_to_noise(one, one).isinf().all()


def test_parts_add_up_with_their_weights() -> None:
    pictures, others = images(2, 64, 48), images(2, 64, 48, seed=1)
    means = [(a - b).square().mean(dim=(1, 2, 3)) for a, b in zip(scales_of(others), scales_of(pictures), strict=True)]
    pixels = sum(means) / len(means)
    halves = 1 - similarity(scales_of(others)[1], scales_of(pictures)[1])
    colours = (mean_colours(others)[0] - mean_colours(pictures)[0]).square().sum(dim=2).mean(dim=1)
    found = PictureObjective(pictures, LossWeights(2.0, 0.5, 3.0), mean_colours).losses(others)
    torch.testing.assert_close(found, 2 * pixels + 0.5 * halves + 3 * colours)
    assert PictureObjective(pictures, LossWeights(2.0, 0.5, 3.0), mean_colours).losses(pictures).abs().max() < 1e-5


@pytest.mark.parametrize(("side", "sizes"), [(16, [16]), (31, [31]), (32, [32, 16]), (512, [512, 256, 128, 64])])
def test_images_are_halved_while_there_is_room(side: int, sizes: list[int]) -> None:
    assert [scale.shape[-1] for scale in scales_of(torch.zeros(1, 1, side, side))] == sizes


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 100), st.sampled_from([1, 2, 3, 4]))
def test_gradient_is_that_of_the_losses(seed: int, channels: int) -> None:
    pictures, others = images(2, channels=channels, seed=seed), images(2, channels=channels, seed=seed + 1)
    objective = PictureObjective(pictures, LossWeights(), mean_colours)
    losses, gradient = objective.differentiate(others.clone(), [])
    leaf = others.clone().requires_grad_()
    expected = objective.losses(leaf)
    torch.testing.assert_close(losses, expected.detach())
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), leaf)[0])
    assert not losses.requires_grad


def test_some_of_the_pictures_lose_as_among_all() -> None:
    objective, others = PictureObjective(images(3), LossWeights(), mean_colours), images(3, seed=1)
    torch.testing.assert_close(objective.of(slice(1, 2)).losses(others[1:2]), objective.losses(others)[1:2])
    many = objective.of(slice(1, 2)).losses(others)
    torch.testing.assert_close(many[1:2], objective.losses(others)[1:2])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((-1.0, 0.0, 0.0), "weights.pixels: expected a finite number >= 0, got -1"),
        ((1.0, math.nan, 0.0), "weights.structure"),
        ((1.0, 0.0, math.inf), "weights.features"),
        ((0.0, 0.0, 0.0), "expected at least one above 0"),
    ],
)
def test_unusable_weights_are_refused(weights: tuple[float, float, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LossWeights(*weights)
