from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from text2latent.models.generators.layers import fir_kernel
from text2latent.zoo.fit.discriminator import (
    Discriminator,
    DiscriminatorBlock,
    EqualizedConv2d,
    blur2d,
    minibatch_stddev,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small_discriminator() -> Discriminator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Discriminator(w_dim=5, img_resolution=16, channel_base=128, channel_max=16)


def filter_in_numpy(x: np.ndarray, kernel: np.ndarray, padding: int, stride: int) -> np.ndarray:
    """Correlation of one channel [H, W] with a kernel, by its definition."""
    padded = np.pad(x, padding)
    size = len(kernel)
    rows = range(0, len(padded) - size + 1, stride)
    return np.array([[(padded[i : i + size, j : j + size] * kernel).sum() for j in rows] for i in rows])


@pytest.mark.parametrize(("padding", "stride", "size"), [(1, 2, 4), (2, 1, 9)])
def test_blur_against_numpy(padding, stride, size):
    x = random(2, 3, 8, 8)
    blurred = blur2d(x, fir_kernel((1, 3, 3, 1)), padding, stride)
    assert blurred.shape == (2, 3, size, size)
    kernel = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    for n in range(2):
        for c in range(3):
            expected = filter_in_numpy(x[n, c].numpy(), kernel, padding, stride)
            np.testing.assert_allclose(blurred[n, c].numpy(), expected, atol=1e-5)


def stddev_in_numpy(x: np.ndarray, size: int) -> np.ndarray:
    """The channel's value for each sample: standard deviation over its group, averaged over the features."""
    values = [np.sqrt(np.var(x[i : i + size], axis=0) + 1e-8).mean() for i in range(0, len(x), size)]
    return np.repeat(values, size)


@pytest.mark.parametrize(("n", "size"), [(8, 4), (6, 3), (4, 4), (3, 3), (5, 1), (1, 1)])
def test_minibatch_stddev_against_numpy(n, size):
    x = random(n, 3, 4, 5) * torch.arange(1, n + 1)[:, None, None, None]
    longer = minibatch_stddev(x)
    assert longer.shape == (n, 4, 4, 5)
    assert torch.equal(longer[:, :3], x)
    expected = np.broadcast_to(stddev_in_numpy(x.double().numpy(), size)[:, None, None], (n, 4, 5))
    np.testing.assert_allclose(longer[:, 3].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_halving_convolution_keeps_a_flat_image_flat_inside_and_both_paths_aligned():
    """On a ramp, 3x3 and 1x1 kernels that sum up to one find the same values between the same pixels."""
    ramp = torch.arange(16.0).expand(1, 1, 16, 16).contiguous()
    wide, point = EqualizedConv2d(1, 1, 3, is_linear=True, down=True), EqualizedConv2d(1, 1, 1, True, True)
    for layer, size in ((wide, 3), (point, 1)):
        nn.init.constant_(layer.weight, 1 / size**2 / layer.weight_gain)
        halved = layer(ramp)
        assert halved.shape == (1, 1, 8, 8)
        inside = torch.arange(8.0)[2:-2] * 2 + 0.5
        torch.testing.assert_close(halved[0, 0, 2:-2, 2:-2], inside.expand(4, 4))


def test_layers_keep_unit_variance():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = EqualizedConv2d(32, 64, 3)
        assert layer.weight.std().item() == pytest.approx(1, rel=0.05)
        assert layer(random(8, 32, 16, 16)).square().mean().item() == pytest.approx(1, rel=0.2)
        assert EqualizedConv2d(32, 64, 1, is_linear=True).bias is None


def test_block_adds_the_skip_connection():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = DiscriminatorBlock(4, 6)
    x = random(2, 4, 8, 8)
    nn.init.zeros_(block.conv1.weight)
    assert block(x).shape == (2, 6, 4, 4)
    torch.testing.assert_close(block(x), block.skip(x) / math.sqrt(2))


def test_logits_and_gradients_of_all_weights():
    discriminator = small_discriminator()
    images, w = random(4, 3, 16, 16).requires_grad_(), random(4, 5, seed=1)
    logits = discriminator(images, w)
    assert (logits.shape, logits.dtype) == ((4,), torch.float32)
    logits.square().sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    for name, parameter in discriminator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_logits_under_autocast_are_nearly_the_same_in_float32():
    discriminator = small_discriminator()
    images, w = random(4, 3, 16, 16), random(4, 5, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        rough = discriminator(images, w)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, discriminator(images, w), atol=0.1, rtol=0.1)


def test_the_latent_counts_by_its_inner_product_with_the_features():
    """In the latent, logits are affine: what the projection adds is linear in it."""
    discriminator = small_discriminator()
    images, one, other = random(4, 3, 16, 16), random(4, 5, seed=1), random(4, 5, seed=2)
    logits = [discriminator(images, w) for w in (one, other, (one + other) / 2)]
    torch.testing.assert_close(logits[2], (logits[0] + logits[1]) / 2, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(logits[0], logits[1], atol=1e-3)


def test_full_size_is_built_for_128_pixels():
    discriminator = Discriminator(w_dim=58, img_resolution=128)
    assert len(discriminator.blocks) == 5
    assert 2e6 < sum(p.numel() for p in discriminator.parameters()) < 6e6
