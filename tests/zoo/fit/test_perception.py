from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from text2latent.models.clip.building import read_model
from text2latent.models.clip.files import locate
from text2latent.models.sources.zoo import ZOO
from text2latent.zoo.fit.batches import draw_renders
from text2latent.zoo.fit.perception import PerceptualLoss
from text2latent.zoo.world import load_world

FACES = load_world("faces")


@pytest.fixture(scope="module")
def perceptual() -> PerceptualLoss:
    return PerceptualLoss(read_model(locate(str(ZOO / "faces" / "weights" / "clip"))).visual)


@pytest.fixture(scope="module")
def renders() -> Tensor:
    return draw_renders(FACES, np.random.default_rng(0), 4)[0]


def test_the_loss_is_the_mean_squared_distance_of_directions(perceptual, renders):
    images = renders.flip(0)
    expected, features = [], {}
    for name in ("layer1", "layer2", "layer3"):
        perceptual.visual.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: features.setdefault(name, []).append(output)
        )
    with torch.no_grad():
        perceptual.visual(images), perceptual.visual(renders)
    for a, b in features.values():
        expected.append((2 - 2 * torch.cosine_similarity(a.double(), b.double(), dim=1)).mean())
    assert perceptual(images, renders).item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-4)


def test_equal_pictures_have_no_distance_and_blurred_ones_the_more_the_more_they_are_blurred(perceptual, renders):
    assert perceptual(renders, renders).item() == pytest.approx(0, abs=1e-6)
    blurred = [interpolate(avg_pool2d(renders, k), scale_factor=k, mode="bilinear") for k in (2, 4, 8)]
    losses = [perceptual(images, renders).item() for images in blurred]
    assert 0.01 < losses[0] < losses[1] < losses[2]


def test_gradients_reach_the_pictures_and_not_the_tower(perceptual, renders):
    images = (0.9 * renders).requires_grad_(True)
    perceptual(images, renders).backward()
    assert images.grad.abs().sum() > 0
    assert all(p.grad is None for p in perceptual.visual.parameters())
