"""Checkpoints of rosinality's port of the first StyleGAN (`style-based-gan-pytorch`): `g_running`, else the whole file.

Its weights have the gain sqrt(2) everywhere, biases of up-sampling convolutions come before the low-pass filter, and
from 128 pixels on those convolutions are transposed ones, with flipped kernels of a quarter of the strength.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from text2latent.models.generators.formats.weights import GeneratorWeights, Tensors

SIGNATURE = "generator.progression.0.conv1.input"
MAX_BLOCKS = 16
NORM_EPS = 1e-5


def read_rosinality_stylegan1(state: Mapping[str, Tensor]) -> GeneratorWeights:
    """The generator of its tensors.

    All checkpoints have layers up to 1024 pixels: those that no training has reached, whose noise has no strength, are
    left out.

    Raises:
        PickleError: when a tensor is missing.
    """
    tensors = Tensors(state, "g_running")
    named = (i for i in range(MAX_BLOCKS) if f"generator.progression.{i}.conv2.conv.weight_orig" not in tensors)
    stored = next(named, MAX_BLOCKS)
    trained = [i for i in range(stored) if state[f"generator.progression.{i}.noise2.weight_orig"].any()]
    num_blocks = max(trained, default=stored - 1) + 1
    mapping, converted = _mapping(tensors)
    channels = []
    for i in range(num_blocks):
        block = _block(tensors, f"generator.progression.{i}", 4 << i, i)
        channels.append(block["style1.bias"].shape[0])
        converted |= {f"synthesis.b{4 << i}.{name}": value for name, value in block.items()}
    last = f"generator.to_rgb.{num_blocks - 1}.conv"
    converted["synthesis.torgb.weight"] = tensors.take(f"{last}.weight_orig", 4) * math.sqrt(2)
    converted["synthesis.torgb_bias"] = tensors.take(f"{last}.bias", 1)
    arguments = {
        **mapping,
        "img_channels": len(converted["synthesis.torgb_bias"]),
        "block_channels": channels,
        "bias_before_blur": True,
        "truncation_cutoff": None,
        "norm_eps": NORM_EPS,
    }
    note = f"its layers are trained up to {4 << (num_blocks - 1)} pixels, of {4 << (stored - 1)} that the file has"
    return GeneratorWeights("StyleGAN1Generator", arguments, converted, (note,) if num_blocks < stored else ())


def _mapping(tensors: Tensors) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Arguments and state of the mapping network: after the normalisation, linear layers and activations take turns."""
    num_layers = next(i for i in range(4 * MAX_BLOCKS) if f"style.{2 * i + 1}.linear.weight_orig" not in tensors)
    style_dim = tensors.shape("style.1.linear.weight_orig", 2)[1]
    state = {}
    for i in range(num_layers):
        state[f"mapping.fc{i}.weight"] = tensors.take(f"style.{2 * i + 1}.linear.weight_orig", 2)
        state[f"mapping.fc{i}.bias"] = tensors.take(f"style.{2 * i + 1}.linear.bias", 1) / math.sqrt(2)
    sizes = {"z_dim": style_dim, "w_dim": style_dim, "num_mapping_layers": num_layers, "mapping_lr_multiplier": 1.0}
    return sizes, state


def _block(tensors: Tensors, name: str, side: int, number: int) -> dict[str, Tensor]:
    state = {"conv1.weight": tensors.take(f"{name}.conv2.conv.weight_orig", 4)}
    if number == 0:
        state["const"] = tensors.take(f"{name}.conv1.input", 4)[0]
    elif f"{name}.conv1.0.weight" in tensors:
        state["conv0.weight"] = tensors.take(f"{name}.conv1.0.weight", 4).transpose(0, 1).flip(2, 3).contiguous() / 4
        state["conv0.bias"] = tensors.take(f"{name}.conv1.0.bias", 1)
    else:
        state["conv0.weight"] = tensors.take(f"{name}.conv1.1.conv.weight_orig", 4)
        state["conv0.bias"] = tensors.take(f"{name}.conv1.1.conv.bias", 1)
    # The port draws noise anew for each image, one map for both layers; here there is a fixed one.
    noise = torch.randn(side, side, generator=torch.Generator().manual_seed(number))
    channels = state["conv1.weight"].shape[0]
    biases = (torch.zeros(channels), tensors.take(f"{name}.conv2.conv.bias", 1))
    for i, bias in enumerate(biases):
        strength = tensors.take(f"{name}.noise{i + 1}.weight_orig", 4).flatten() * math.sqrt(2 / channels)
        affine = f"{name}.adain{i + 1}.style.linear"
        plus_one = torch.cat([torch.ones(channels), torch.zeros(channels)])
        state |= {
            f"style{i}.bias": bias,
            f"style{i}.noise_strength": strength,
            f"style{i}.noise_const": noise.clone(),
            f"style{i}.affine.weight": tensors.take(f"{affine}.weight_orig", 2) * math.sqrt(2),
            f"style{i}.affine.bias": tensors.take(f"{affine}.bias", 1) - plus_one,
        }
    return state
