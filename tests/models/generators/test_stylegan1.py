"""The first StyleGAN: its ports' weights against the port's own formulas, in PyTorch's functions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from text2latent.common.errors import InputError
from text2latent.models.generators import load_generator
from text2latent.models.generators.stylegan1 import StyleGAN1Generator

W_DIM, CHANNELS = 12, (6, 6, 5, 5, 4, 4)
FUSED_FROM = 5
State = dict[str, Tensor]


def port_tensors(untrained: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Random tensors of the port's generator, of 128 pixels, and of blocks beyond that no training has reached."""
    channels = (*CHANNELS, *[3] * untrained)
    for i in range(3):
        yield f"style.{2 * i + 1}.linear.weight_orig", torch.randn(W_DIM, W_DIM)
        yield f"style.{2 * i + 1}.linear.bias", torch.randn(W_DIM)
    for i, (before, width) in enumerate(zip((0, *channels), channels, strict=False)):
        name = f"generator.progression.{i}"
        if i == 0:
            yield f"{name}.conv1.input", torch.randn(1, width, 4, 4)
        elif i >= FUSED_FROM:
            yield f"{name}.conv1.0.weight", torch.randn(before, width, 3, 3)
            yield f"{name}.conv1.0.bias", torch.randn(width)
        else:
            yield f"{name}.conv1.1.conv.weight_orig", torch.randn(width, before, 3, 3)
            yield f"{name}.conv1.1.conv.bias", torch.randn(width)
        yield f"{name}.conv2.conv.weight_orig", torch.randn(width, width, 3, 3)
        yield f"{name}.conv2.conv.bias", torch.randn(width)
        for j in (1, 2):
            reached = i < len(CHANNELS)
            yield f"{name}.noise{j}.weight_orig", torch.randn(1, width, 1, 1) * reached
            yield f"{name}.adain{j}.style.linear.weight_orig", torch.randn(2 * width, W_DIM)
            yield f"{name}.adain{j}.style.linear.bias", torch.randn(2 * width)
        yield f"generator.to_rgb.{i}.conv.weight_orig", torch.randn(3, width, 1, 1)
        yield f"generator.to_rgb.{i}.conv.bias", torch.randn(3)


def equalised(state: State, name: str) -> Tensor:
    weight = state[f"{name}.weight_orig"]
    return weight * math.sqrt(2 / weight[0].numel())


def port_map(state: State, z: Tensor) -> Tensor:
    x = z / (z.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    for i in (1, 3, 5):
        x = F.leaky_relu(F.linear(x, equalised(state, f"style.{i}.linear"), state[f"style.{i}.linear.bias"]), 0.2)
    return x


def blurred(x: Tensor) -> Tensor:
    taps = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(x, kernel, padding=1, groups=x.shape[1])


def port_draw(state: State, w: Tensor, noises: list[Tensor]) -> Tensor:
    x = state["generator.progression.0.conv1.input"].expand(len(w), -1, -1, -1)
    for i, noise in enumerate(noises):
        name = f"generator.progression.{i}"
        if i >= FUSED_FROM:
            weight = state[f"{name}.conv1.0.weight"]
            padded = F.pad(weight * math.sqrt(2 / (weight.shape[0] * 9)), [1, 1, 1, 1])
            four = padded[..., 1:, 1:] + padded[..., :-1, 1:] + padded[..., 1:, :-1] + padded[..., :-1, :-1]
            x = blurred(F.conv_transpose2d(x, four / 4, state[f"{name}.conv1.0.bias"], stride=2, padding=1))
        elif i:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            bias = state[f"{name}.conv1.1.conv.bias"]
            x = blurred(F.conv2d(x, equalised(state, f"{name}.conv1.1.conv"), bias, padding=1))
        for j in (1, 2):
            if j == 2:
                x = F.conv2d(x, equalised(state, f"{name}.conv2.conv"), state[f"{name}.conv2.conv.bias"], padding=1)
            strength = state[f"{name}.noise{j}.weight_orig"]
            x = F.leaky_relu(x + strength * math.sqrt(2 / strength.shape[1]) * noise, 0.2)
            style = f"{name}.adain{j}.style.linear"
            gamma, beta = F.linear(w, equalised(state, style), state[f"{style}.bias"])[..., None, None].chunk(2, 1)
            x = gamma * F.instance_norm(x) + beta
    last = f"generator.to_rgb.{len(noises) - 1}.conv"
    return F.conv2d(x, equalised(state, last), state[f"{last}.bias"])


@pytest.fixture
def state() -> State:
    torch.manual_seed(0)
    return dict(port_tensors())


def test_rosinalitys_port_draws_the_same(state: State, tmp_path: Path) -> None:
    torch.save({"generator": {}, "g_running": state}, tmp_path / "train.model")
    generator = load_generator(tmp_path / "train.model")
    z = torch.randn(2, W_DIM)
    w = port_map(state, z)
    torch.testing.assert_close(generator.map(z)[:, 0], w, atol=1e-5, rtol=1e-5)
    blocks = [getattr(generator.synthesis, f"b{4 << i}") for i in range(len(CHANNELS))]
    expected = port_draw(state, w, [block.style0.noise_const for block in blocks])
    images = generator.synthesis(generator.map(z))
    assert images.shape == (2, 3, 128, 128)
    assert (images - expected).abs().max() < 1e-4 * expected.std()


def test_blocks_that_training_has_not_reached_are_left_out(state: State, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(dict(port_tensors(untrained=2)), tmp_path / "train.model")
    generator = load_generator(tmp_path / "train.model")
    assert generator.image_size == 128
    assert generator.notes == ("its layers are trained up to 128 pixels, of 512 that the file has",)


def test_holes_are_refused(state: State, tmp_path: Path) -> None:
    del state["generator.progression.2.adain1.style.linear.bias"]
    torch.save({"g_running": state}, tmp_path / "train.model")
    with pytest.raises(InputError, match=r"progression\.2\.adain1\.style\.linear\.bias: missing"):
        load_generator(tmp_path / "train.model")


def test_truncation_moves_its_layers_only() -> None:
    torch.manual_seed(0)
    generator = StyleGAN1Generator(W_DIM, 0, W_DIM, block_channels=[4] * 5, num_mapping_layers=2)
    generator.update_w_avg(num_samples=100)
    w = generator.map(generator.sample_latents(2, seed=0))
    truncated = generator.truncate(w[:, :1], 0.5)
    torch.testing.assert_close(truncated[:, :8], generator.mapping.w_avg.lerp(w, 0.5)[:, :8])
    torch.testing.assert_close(truncated[:, 8:], w[:, 8:])


def test_a_sample_depends_on_its_seed_only() -> None:
    torch.manual_seed(0)
    generator = StyleGAN1Generator(W_DIM, 0, W_DIM, block_channels=[4] * 3, num_mapping_layers=2).eval()
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.3)
    ws = generator.map(generator.sample_latents(3, seed=5))
    rngs = [torch.Generator().manual_seed(i) for i in range(3)]
    images = generator.synthesize(ws, noise_mode="random", generator=rngs)
    alone = generator.synthesize(ws[2:], noise_mode="random", generator=[torch.Generator().manual_seed(2)])
    torch.testing.assert_close(images[2:], alone, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="noise_mode"):
        generator.synthesize(ws, noise_mode="loud")
