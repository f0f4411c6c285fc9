from __future__ import annotations

import numpy as np
import torch

from text2latent.zoo.fit.batches import degrade, draw_renders, to_tensor
from text2latent.zoo.world import load_world

FACES = load_world("faces")


def test_pixels_map_to_minus_one_to_one():
    images = np.array([[[[0, 51, 255], [255, 0, 102]]]], dtype=np.uint8)
    tensor = to_tensor(images)
    assert tensor.shape == (1, 3, 1, 2)
    assert tensor.dtype == torch.float32
    expected = torch.tensor([[[-1, 1]], [[-0.6, -1]], [[1, -0.2]]])
    torch.testing.assert_close(tensor[0], expected)


def test_tensors_go_back_to_the_same_pixels():
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 6, 3), dtype=np.uint8)
    back = ((to_tensor(images) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)
    np.testing.assert_array_equal(back, images)


def test_renders_depend_on_the_generator_alone_and_fit_their_codes(judge):
    images, codes = draw_renders(FACES, np.random.default_rng([9, 9]), 24)
    again, same_codes = draw_renders(FACES, np.random.default_rng([9, 9]), 24)
    assert torch.equal(images, again)
    np.testing.assert_array_equal(codes, same_codes)
    assert images.shape == (24, 3, 128, 128)
    assert codes.shape == (24, len(FACES.names))
    assert images.min() >= -1
    assert images.max() <= 1
    np.testing.assert_array_equal(FACES.restrict(codes), codes)
    agreement = (judge.classify(images) == codes).mean(axis=0)
    assert agreement[FACES.names.index("background")] == 1
    assert agreement[FACES.names.index("expression")] > 0.9


def test_degrading_keeps_shape_range_and_argument(renders):
    images = renders[0][:6]
    before = images.clone()
    degraded = [degrade(images, np.random.default_rng(seed)) for seed in range(12)]
    assert torch.equal(images, before)
    for batch in degraded:
        assert batch.shape == images.shape
        assert batch.abs().max() <= 1
        assert not torch.equal(batch, images)
    assert torch.equal(degrade(images, np.random.default_rng(3)), degraded[3])
