"""Checkpoints of the `stylegan2-pytorch` port: `g_ema`, and the mean latent where there is one.

Sizes are read from the tensors' shapes, since the files do not record them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from text2latent.models.generators.formats.pickle_machine import PickleError
from text2latent.models.generators.formats.weights import BINOMIAL_TAPS, W_AVG, GeneratorWeights, Tensors, with_filters

MAX_BLOCKS = 16
FILTERS = re.compile(r"(convs\.\d+\.conv\.blur|to_rgbs\.\d+\.upsample)\.kernel")


def read_rosinality(state: Mapping[str, Tensor], average: Tensor | None) -> GeneratorWeights:
    """The generator of a checkpoint.

    Args:
        state: tensors of the generator.
        average: its mean latent [w_dim], where the file has one.

    Raises:
        PickleError: when it is no generator of this port.
    """
    filters, others = _split_filters(dict(state))
    tensors = Tensors(others, "g_ema")
    arguments: dict[str, Any] = {"resample_filter": filters, "architecture": "skip"}
    mapping, converted = _convert_mapping(tensors)
    synthesis, synthesis_state = _convert_synthesis(tensors)
    tensors.finish()
    converted |= with_filters(synthesis_state, filters)
    if average is not None:
        converted[W_AVG] = average
    return GeneratorWeights("StyleGAN2Generator", arguments | mapping | synthesis, converted)


def _split_filters(tensors: dict[str, Tensor]) -> tuple[list[float], dict[str, Tensor]]:
    """Taps of the low-pass filter that all up-sampling layers share, the usual where none is stored; other tensors."""
    kernels = [value for name, value in tensors.items() if FILTERS.fullmatch(name)]
    if not kernels:
        return list(BINOMIAL_TAPS), tensors
    if not all(kernel.shape == kernels[0].shape and kernel.allclose(kernels[0]) for kernel in kernels):
        raise PickleError("g_ema: expected one low-pass kernel in all convs.*.conv.blur and to_rgbs.*.upsample")
    taps = kernels[0].sum(dim=0) / kernels[0].sum().sqrt()
    return (taps / taps.sum()).tolist(), {name: tensors[name] for name in tensors if not FILTERS.fullmatch(name)}


def _convert_mapping(tensors: Tensors) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Arguments and state of the mapping network; its layer 0 is the normalisation, without weights."""
    num_layers = next(i for i in range(MAX_BLOCKS * 4) if f"style.{i + 1}.weight" not in tensors)
    style_dim = tensors.shape("style.1.weight", 2)[1]
    state = {
        f"mapping.fc{i}.{kind}": tensors.take(f"style.{i + 1}.{kind}", ndim)
        for i in range(num_layers)
        for kind, ndim in (("weight", 2), ("bias", 1))
    }
    return {"z_dim": style_dim, "w_dim": style_dim, "num_mapping_layers": num_layers}, state


def _convert_synthesis(tensors: Tensors) -> tuple[dict[str, Any], dict[str, Tensor]]:
    num_blocks = 1 + next(i for i in range(MAX_BLOCKS) if f"convs.{2 * i}.conv.weight" not in tensors)
    names = _layer_names(num_blocks)
    noises = {name: f"noises.noise_{i}" for i, name in enumerate(name for name in names if "rgb" not in name)}
    arguments = {
        "img_resolution": 2 ** (num_blocks + 1),
        "img_channels": tensors.shape("to_rgb1.conv.weight", 5)[1],
        "block_channels": [tensors.shape(f"{name}.conv.weight", 5)[1] for name in list(noises)[::2]],
    }
    stored = "noises.noise_0" in tensors
    state = {"synthesis.b4.const": tensors.take("input.input", 4)[0]}
    for theirs, ours in names.items():
        state |= {f"{ours}.{key}": value for key, value in _convert_layer(tensors, theirs).items()}
    for i, (theirs, noise) in enumerate(noises.items()):
        side = 4 << (i + 1) // 2
        state[f"{names[theirs]}.noise_const"] = tensors.take(noise, 4)[0, 0] if stored else _draw_noise(side, i)
    return arguments, state


def _layer_names(num_blocks: int) -> dict[str, str]:
    """Their layers -> ours, in the order of the latents that they take, convolutions before ToRGB layers."""
    convolutions = {"conv1": "synthesis.b4.conv1"}
    to_rgb = {"to_rgb1": "synthesis.b4.torgb"}
    for i in range(num_blocks - 1):
        block = f"synthesis.b{8 << i}"
        convolutions |= {f"convs.{2 * i}": f"{block}.conv0", f"convs.{2 * i + 1}": f"{block}.conv1"}
        to_rgb[f"to_rgbs.{i}"] = f"{block}.torgb"
    return convolutions | to_rgb


def _convert_layer(tensors: Tensors, name: str) -> dict[str, Tensor]:
    state = {
        "weight": tensors.take(f"{name}.conv.weight", 5)[0],
        "affine.weight": tensors.take(f"{name}.conv.modulation.weight", 2),
        "affine.bias": tensors.take(f"{name}.conv.modulation.bias", 1),
    }
    if "rgb" in name:
        return {**state, "bias": tensors.take(f"{name}.bias", 4).flatten()}
    state["noise_strength"] = tensors.take(f"{name}.noise.weight", 1).reshape([])
    # Early versions stored the bias as [1, C, 1, 1].
    bias_dimensions = 4 if tensors.dimensions(f"{name}.activate.bias") == 4 else 1
    return {**state, "bias": tensors.take(f"{name}.activate.bias", bias_dimensions).flatten()}


def _draw_noise(side: int, seed: int) -> Tensor:
    """A fixed noise map, for early files that store none: their networks draw new ones for each image."""
    return torch.randn(side, side, generator=torch.Generator().manual_seed(seed))
