"""Random changes of images: from their seed alone, within their strength, and open to gradients."""

import pytest
import torch

from text2latent.common.errors import UsageError
from text2latent.inference.optimization.augmentations import KINDS, parse_augmentations


def apply(text: str, images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    (augmentation,) = parse_augmentations([text])
    return augmentation(images, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", KINDS)
def test_changes_depend_on_the_seed_and_keep_the_shape(name: str) -> None:
    images = torch.rand(2, 3, 24, 32) * 2 - 1
    changed = apply(name, images)
    assert changed.shape == images.shape
    assert torch.equal(changed, apply(name, images))
    assert (changed - apply(name, images, seed=1)).abs().max() > 1e-3
    assert (changed - images).abs().max() > 1e-3


@pytest.mark.parametrize("name", KINDS)
def test_gradients_pass_and_are_those_of_finite_differences(name: str) -> None:
    images = (0.6 * torch.rand(1, 3, 8, 8, dtype=torch.float64) - 0.3).requires_grad_()
    weights = torch.rand(1, 3, 8, 8, dtype=torch.float64)

    def total(x: torch.Tensor) -> torch.Tensor:
        return (apply(f"{name}:0.05" if name != "rotation" else name, x) * weights).sum()

    (gradient,) = torch.autograd.grad(total(images), images)
    assert gradient.abs().sum() > 0
    step = torch.zeros_like(images)
    step[0, 1, 4, 4] = 1e-4
    with torch.no_grad():
        slope = (total(images + step) - total(images - step)) / 2e-4
    assert float(slope) == pytest.approx(float(gradient[0, 1, 4, 4]), rel=1e-3, abs=1e-5)


def test_noise_has_the_given_strength() -> None:
    noisy = apply("noise:0.5", torch.zeros(1, 3, 64, 64))
    assert float(noisy.std()) == pytest.approx(0.5, rel=0.05)


def test_a_quarter_turn_at_most_is_one_of_180_degrees() -> None:
    images = torch.rand(1, 3, 33, 33)
    turned = torch.stack([apply("rotation:180", images, seed)[0, :, 16, 16] for seed in range(8)])
    torch.testing.assert_close(turned, images[0, :, 16, 16].expand(8, -1), atol=1e-4, rtol=1e-4)


def test_a_crop_shows_no_border_of_its_own() -> None:
    cropped = torch.cat([apply("crop:0.9", torch.ones(1, 3, 16, 16), seed) for seed in range(8)])
    torch.testing.assert_close(cropped, torch.ones_like(cropped))


@pytest.mark.parametrize("text", ["blur", "crop:", "crop:0", "rotation:-1", "rotation:181", "noise:nan", "color:x", ""])
def test_unknown_names_and_strengths_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="augmentations: "):
        parse_augmentations([text])
