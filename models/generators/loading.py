"""Load a generator from a folder of `config.json` and safetensors, or from the zoo."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from text2latent.configs.errors import InputError
from text2latent.models import registry
from text2latent.models.generators.base import Generator
from text2latent.models.generators.stylegan2 import StyleGAN2Generator
from text2latent.models.identity import Identity, sha256_of

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
CLASSES: dict[str, type[Generator]] = {cls.__name__: cls for cls in (StyleGAN2Generator,)}


def load_generator(source: str | Path) -> Generator:
    """Pretrained generator on the CPU, in float32 and evaluation mode, without gradients to its weights.

    Args:
        source: name of a zoo world, or a folder written by `save_pretrained`; its weights may be float16.

    Raises:
        UsageError: when the source is neither.
        InputError: when a file is missing, truncated, foreign, or the weights don't fit the config.
    """
    folder = registry.resolve(source, "generator")
    cls, arguments = _read_config(folder / CONFIG)
    state = _read_weights(folder / WEIGHTS)
    generator = _build(cls, arguments, state, folder)
    name = str(source) if registry.is_zoo_name(str(source)) else folder.resolve().name
    generator.identity = Identity(name, str(source), sha256_of(folder / WEIGHTS))
    return generator


def _read_config(path: Path) -> tuple[type[Generator], dict[str, Any]]:
    """Class and constructor arguments that a config names."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: expected this file of a generator folder, it is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected a JSON file: {_one_line(error)}") from error
    name = config.get("_class_name") if isinstance(config, dict) else None
    if not isinstance(name, str) or name not in CLASSES:
        raise InputError(f"{path}: _class_name {name!r}: expected one of {', '.join(CLASSES)}")
    arguments = {key: value for key, value in config.items() if not key.startswith("_")}
    unknown = sorted(set(arguments) - set(inspect.signature(CLASSES[name].__init__).parameters))
    if unknown:
        raise InputError(f"{path}: {', '.join(unknown)}: not arguments of {name}")
    return CLASSES[name], arguments


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        state = load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: expected this file of a generator folder, it is missing") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: expected safetensors weights: {_one_line(error)}") from error
    bad = [key for key, value in state.items() if not value.isfinite().all()]
    if bad:
        raise InputError(f"{path}: {bad[0]}: expected finite weights, got NaN or infinity")
    return {key: value.float() for key, value in state.items()}


def _build(cls: type[Generator], arguments: dict[str, Any], state: dict[str, Tensor], folder: Path) -> Generator:
    """Network of a config with the given weights; the meta device keeps a false config from claiming memory."""
    try:
        with torch.device("meta"):
            generator = cls(**arguments)
    except Exception as error:
        # A config is anyone's JSON: a wrong type or an absurd size can fail anywhere in the constructor.
        raise InputError(f"{folder / CONFIG}: not a config of {cls.__name__}: {_one_line(error)}") from error
    try:
        generator.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise InputError(f"{folder / WEIGHTS}: the weights don't fit {CONFIG}: {_one_line(error)}") from error
    # Convolutions on a CPU are up to a quarter faster with channels last, weights included.
    nn.Module.to(generator, memory_format=torch.channels_last)
    return generator.eval().requires_grad_(False)


def _one_line(error: BaseException, limit: int = 300) -> str:
    return " ".join(str(error).split())[:limit]
