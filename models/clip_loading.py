"""Where CLIP weights come from and how they are stored: open_clip's hub folders, hub ids and named weights.

The folder layout is open_clip's own (`open_clip_config.json` beside `open_clip_model.safetensors`), so that plain
`open_clip.create_model_from_pretrained("local-dir:FOLDER")` loads what `save_hub_folder` writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from text2latent.configs.errors import InputError, UsageError
from text2latent.models.identity import Identity, sha256_of
from text2latent.models.registry import is_zoo_name, resolve, zoo_names

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"
WEIGHTS_NAMES = (
    WEIGHTS_NAME,
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
"""Names of weights that open_clip looks for in a folder, in its order of preference."""

UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    UnpicklingError,
    ValueError,
)
"""What open_clip and torch raise on a config or weights that they cannot make sense of."""

FOLDER_PREFIX = "local-dir:"
HUB_PREFIX = "hf-hub:"
SHOWN_CHARACTERS = 300


@dataclass(frozen=True)
class Source:
    """A CLIP model whose weights are on this machine.

    Attributes:
        model_name: what open_clip's functions take as `model_name`.
        pretrained: what they take as `pretrained`; None where the name says it all.
        weights: the weights file.
        identity: name and checksum of the weights.
    """

    model_name: str
    pretrained: str | None
    weights: Path
    identity: Identity


def locate(source: str) -> Source:
    """Find a model's weights, downloading them where the source is not local; see `ClipEncoder.from_pretrained`.

    Raises:
        UsageError: when the source is neither a zoo name, a folder, a hub id nor an open_clip name.
        InputError: when its files are missing or cannot be downloaded.
    """
    if source.startswith(HUB_PREFIX):
        return _locate_on_hub(source)
    folder = source.removeprefix(FOLDER_PREFIX)
    if source.startswith(FOLDER_PREFIX) or is_zoo_name(source) or Path(folder).is_dir() or "/" not in source:
        return _locate_in_folder(resolve(folder, "clip"), source)
    return _locate_by_name(source)


def read_model(source: Source) -> nn.Module:
    """Build the model and load its weights as float32 on the CPU.

    Raises:
        InputError: when the config or the weights are damaged or do not belong together.
    """
    from open_clip import create_model_from_pretrained

    _check_safetensors(source.weights)
    try:
        return create_model_from_pretrained(source.model_name, source.pretrained, return_transform=False)
    except UNREADABLE as error:
        raise InputError(
            f"{source.weights}: expected weights that fit the model's config, got: {_one_line(error)}"
        ) from error


def read_tokenizer(source: Source) -> Any:
    """The model's own tokenizer, with its context length.

    Raises:
        InputError: when its files are missing or cannot be downloaded.
    """
    from open_clip import get_tokenizer

    try:
        return get_tokenizer(source.model_name)
    except (ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"CLIP {source.model_name!r}: cannot load its tokenizer: {_one_line(error)}") from error


def build_clip(config: Mapping[str, Any]) -> Any:
    """Build an open_clip model with random weights.

    Args:
        config: what `open_clip_config.json` holds: `model_cfg` and `preprocess_cfg`.

    Returns:
        An `open_clip.model.CustomTextCLIP`, or a `CLIP` where the config does not ask for `custom_text`.
    """
    from open_clip.model import CLIP, CustomTextCLIP, set_model_preprocess_cfg
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    arguments = deepcopy(dict(config["model_cfg"]))
    model = (CustomTextCLIP if arguments.pop("custom_text", False) else CLIP)(**arguments)
    preprocess = {"size": model.visual.image_size, **config.get("preprocess_cfg", {})}
    set_model_preprocess_cfg(model, merge_preprocess_dict(PreprocessCfg(), preprocess))
    return model


def save_hub_folder(
    model: nn.Module, config: Mapping[str, Any], folder: str | Path, dtype: torch.dtype = torch.float16
) -> None:
    """Write a model as a folder that open_clip loads as `local-dir:FOLDER`; each file appears complete or not at all.

    Args:
        model: an open_clip model.
        config: its `model_cfg` and `preprocess_cfg`.
        folder: made where it is missing; a model that it holds is replaced.
        dtype: of the weights on disk; open_clip loads them as float32.

    Raises:
        ValueError: when a weight is not finite in `dtype`.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: _stored(name, tensor, dtype) for name, tensor in model.state_dict().items()}
    weights_part, config_part = folder / f"{WEIGHTS_NAME}.part", folder / f"{CONFIG_NAME}.part"
    try:
        save_file(weights, weights_part)
        config_part.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        os.replace(weights_part, folder / WEIGHTS_NAME)
        os.replace(config_part, folder / CONFIG_NAME)
    finally:
        weights_part.unlink(missing_ok=True)
        config_part.unlink(missing_ok=True)


def _stored(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    stored = tensor.detach().cpu().to(dtype if tensor.is_floating_point() else tensor.dtype)
    if not stored.isfinite().all():
        raise ValueError(f"weight {name}: expected finite values in {dtype}")
    return stored.clone(memory_format=torch.contiguous_format)


def _locate_in_folder(folder: Path, source: str) -> Source:
    _check_config(folder / CONFIG_NAME)
    weights = next((folder / name for name in WEIGHTS_NAMES if (folder / name).is_file()), None)
    if weights is None:
        raise InputError(f"{folder}: expected CLIP weights in {WEIGHTS_NAME}, found none")
    name = source if is_zoo_name(source) else folder.resolve().name
    return Source(f"{FOLDER_PREFIX}{folder}", None, weights, Identity(name, source, sha256_of(weights)))


def _locate_on_hub(source: str) -> Source:
    from open_clip.pretrained import download_pretrained_from_hf

    repository = source.removeprefix(HUB_PREFIX)
    try:
        weights = Path(download_pretrained_from_hf(repository))
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(_not_downloaded(source, "the Hugging Face hub", error)) from error
    return Source(source, None, weights, Identity(repository, source, sha256_of(weights)))


def _locate_by_name(source: str) -> Source:
    from open_clip import list_models, list_pretrained_tags_by_model

    model, _, pretrained = source.partition("/")
    if model not in list_models():
        worlds = ", ".join(zoo_names()) or "none here"
        raise UsageError(
            f"CLIP {source!r}: expected a zoo name ({worlds}), a folder with {CONFIG_NAME}, hf-hub:ORG/NAME or "
            f"MODEL/PRETRAINED with a model of open_clip, such as ViT-B-32/openai"
        )
    tags = list_pretrained_tags_by_model(model)
    if pretrained not in tags and not Path(pretrained).is_file():
        raise UsageError(
            f"CLIP {source!r}: expected {model}/PRETRAINED with PRETRAINED a weights file or one of "
            f"{', '.join(tags) or 'no published weights'}, got {pretrained!r}"
        )
    weights = _download(source, model, pretrained) if pretrained in tags else Path(pretrained)
    return Source(model, pretrained, weights, Identity(f"{model}/{weights.name}", source, sha256_of(weights)))


def _download(source: str, model: str, tag: str) -> Path:
    from open_clip import download_pretrained, get_pretrained_cfg

    try:
        return Path(download_pretrained(get_pretrained_cfg(model, tag)))
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(_not_downloaded(source, "the cache and at its publisher", error)) from error


def _not_downloaded(source: str, where: str, error: Exception) -> str:
    return (
        f"CLIP {source!r}: looked for its weights in {where}, got: {_one_line(error)}; without a network, give a "
        f"folder with {CONFIG_NAME} and {WEIGHTS_NAME}, or MODEL/FILE with a downloaded weights file"
    )


def _check_config(path: Path) -> None:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: expected open_clip's config of a CLIP model, the file is missing") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected open_clip's config as JSON, got: {_one_line(error)}") from error
    model = config.get("model_cfg") if isinstance(config, dict) else None
    found = model if isinstance(model, dict) else {}
    missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in found]
    if missing:
        raise InputError(f"{path}: expected open_clip's config with model_cfg, found no {', '.join(missing)} in it")


def _check_safetensors(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors":
        return
    try:
        with safe_open(path, framework="pt"):
            pass
    except SafetensorError as error:
        raise InputError(f"{path}: expected a complete safetensors file, got: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
