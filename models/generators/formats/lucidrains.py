"""Checkpoints of the `stylegan2_pytorch` package: `model_N.pt`, beside a `.config.json` of its settings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from text2latent.common.errors import InputError
from text2latent.common.files import read_object
from text2latent.models.generators.bilinear import scale_of_mapping
from text2latent.models.generators.formats.pickle_machine import PickleError
from text2latent.models.generators.formats.weights import GeneratorWeights, Tensors

CONFIG = ".config.json"
SECTION = "GAN"
SIGNATURE = "G.initial_conv.weight"
MAX_BLOCKS = 16
RATE = 0.1


def is_lucidrains(value: Any) -> bool:
    """Whether a file holds a model of the package."""
    return isinstance(value, dict) and isinstance(value.get(SECTION), dict) and SIGNATURE in value[SECTION]


def generator_of(value: dict[str, Any]) -> dict[str, Any]:
    """What belongs to the generator of such a file: mapping and synthesis, the moving averages where there are any."""
    section = value[SECTION]
    kept = ("SE", "GE") if any(str(name).startswith("GE.") for name in section) else ("S", "G")
    return {name: part for name, part in section.items() if str(name).split(".")[0] in kept}


def latest_model(folder: Path) -> Path | None:
    """The newest `model_N.pt` of a folder that the package wrote; None for any other folder."""
    if not (folder / CONFIG).is_file():
        return None
    models = [path for path in folder.glob("model_*.pt") if path.stem.removeprefix("model_").isdigit()]
    return max(models, key=lambda path: int(path.stem.removeprefix("model_")), default=None)


def read_lucidrains(state: Mapping[str, Tensor], path: Path) -> GeneratorWeights:
    """The moving average of a model.

    Args:
        state: the tensors of `generator_of`.
        path: its file, beside which `.config.json` may be.

    Raises:
        PickleError: when a tensor is missing, or the network has layers of attention.
        InputError: when `.config.json` is damaged.
    """
    average, mapping_name = ("GE", "SE") if any(name.startswith("GE.") for name in state) else ("G", "S")
    if any(name.startswith(f"{average}.attns.") for name in state):
        raise PickleError("attn_layers: layers of attention are not among those that are drawn here; expected none")
    tensors = Tensors(state, SECTION)
    mapping, mapping_state = _mapping(tensors, f"{mapping_name}.net")
    synthesis, synthesis_state = _synthesis(tensors, average, mapping["w_dim"])
    tensors.finish()
    rate, notes = _rate(path.parent / CONFIG)
    arguments = {**mapping, **synthesis, "mapping_lr_multiplier": rate}
    return GeneratorWeights("BilinearStyleGAN2Generator", arguments, mapping_state | synthesis_state, notes)


def _rate(config: Path) -> tuple[float, tuple[str, ...]]:
    """The mapping network's learning rate, and a note where it isn't said."""
    if not config.is_file():
        return RATE, (f"no {CONFIG} beside the file: mapping_lr_multiplier {RATE} taken, as the package has it",)
    rate = read_object(config, "a folder of stylegan2_pytorch").get("lr_mlp", RATE)
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < math.inf:
        raise InputError(f"{config}: lr_mlp: expected a positive number, got {json.dumps(rate)[:80]}")
    return float(rate), ()


def _mapping(tensors: Tensors, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    num_layers = next((i for i in range(4 * MAX_BLOCKS) if f"{name}.{2 * i}.weight" not in tensors), 0)
    w_dim = tensors.shape(f"{name}.0.weight", 2)[1]
    state: dict[str, Tensor] = {}
    for i in range(num_layers):
        # z has the length sqrt(w_dim) here, and 1 in the package.
        scale = scale_of_mapping(w_dim) / (math.sqrt(w_dim) if i == 0 else 1)
        state[f"mapping.fc{i}.weight"] = tensors.take(f"{name}.{2 * i}.weight", 2) * scale
        state[f"mapping.fc{i}.bias"] = tensors.take(f"{name}.{2 * i}.bias", 1) / math.sqrt(2)
    return {"w_dim": w_dim, "num_mapping_layers": num_layers}, state


def _synthesis(tensors: Tensors, name: str, w_dim: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    num_blocks = next((i for i in range(MAX_BLOCKS) if f"{name}.blocks.{i}.conv1.weight" not in tensors), MAX_BLOCKS)
    channels = [tensors.shape(f"{name}.blocks.{i}.conv1.weight", 4)[0] for i in range(num_blocks)]
    state = {f"synthesis.first_conv.{kind}": tensors.take(f"{name}.initial_conv.{kind}", ndim) for kind, ndim in PAIR4}
    learns_first = f"{name}.initial_block" in tensors
    if learns_first:
        state["synthesis.const"] = tensors.take(f"{name}.initial_block", 4)[0]
    else:
        state["synthesis.first.weight"] = tensors.take(f"{name}.to_initial_block.weight", 4)
    for i in range(num_blocks):
        block = _block(tensors, f"{name}.blocks.{i}", w_dim)
        state |= {f"synthesis.b{4 << i}.{key}": value for key, value in block.items()}
    size = 4 << (num_blocks - 1)
    # The package draws noise anew for each image; here there is a map.
    state["synthesis.noise_const"] = torch.rand(size, size, generator=torch.Generator().manual_seed(0))
    img_channels = state["synthesis.b4.torgb_weight"].shape[0]
    return {"block_channels": channels, "img_channels": img_channels, "learns_first": learns_first}, state


PAIR4 = (("weight", 4), ("bias", 1))


def _block(tensors: Tensors, name: str, w_dim: int) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for i in (0, 1):
        state |= _affine(tensors, f"{name}.to_style{i + 1}", f"conv{i}.affine", w_dim)
        state[f"conv{i}.weight"] = tensors.take(f"{name}.conv{i + 1}.weight", 4)
        state[f"conv{i}.noise_strength"] = tensors.take(f"{name}.to_noise{i + 1}.weight", 2)[:, 0]
        state[f"conv{i}.bias"] = tensors.take(f"{name}.to_noise{i + 1}.bias", 1)
    state |= _affine(tensors, f"{name}.to_rgb.to_style", "torgb_affine", w_dim)
    state["torgb_weight"] = tensors.take(f"{name}.to_rgb.conv.weight", 4)
    if f"{name}.to_rgb.upsample.1.f" in tensors:
        tensors.take(f"{name}.to_rgb.upsample.1.f", 1)
    return state


def _affine(tensors: Tensors, theirs: str, ours: str, w_dim: int) -> dict[str, Tensor]:
    """A style's layer: plain in the package, which adds one to its output."""
    return {
        f"{ours}.weight": tensors.take(f"{theirs}.weight", 2) * math.sqrt(w_dim),
        f"{ours}.bias": tensors.take(f"{theirs}.bias", 1) + 1,
    }
