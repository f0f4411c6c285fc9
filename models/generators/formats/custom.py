"""Generators of your own: a class path, as in `my_package.MyGenerator`, and arguments of its constructor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from text2latent.common.errors import InputError, one_line
from text2latent.common.files import new_parents, read_object, replacing
from text2latent.models import own_class
from text2latent.models.generators.base import Generator, shape_of
from text2latent.models.generators.formats.folder import ORIGIN
from text2latent.models.network import CONFIG, WEIGHTS
from text2latent.models.sources.identity import Identity

PART = "generator"


def load_class(source: str | Path | Mapping[str, Any], allow_import: bool = True) -> Generator:
    """Generator of a class path, on the CPU in evaluation mode, tried out on one latent.

    Its identity is the SHA-256 over the class path, the constructor's arguments and all tensors of its state.

    Args:
        source: a class path, or a mapping with `class_path` and perhaps `init_args`.
        allow_import: whether its module may be imported.

    Raises:
        UsageError: when there is no such class, it is no `Generator`, or the arguments aren't those it takes.
        InputError: when its code fails, it breaks the contract of `Generator`, or it may not be imported.
    """
    spec = source if isinstance(source, Mapping) else {"class_path": str(source)}
    class_path, init_args = own_class.check_spec(spec, PART)
    if not allow_import:
        raise own_class.refuse_import(class_path, PART)
    cls = own_class.import_class(class_path, Generator, PART)
    generator = own_class.construct(cls, class_path, init_args, PART)
    _try_out(generator, class_path)
    generator.class_spec = {"class_path": class_path, "init_args": init_args}
    generator.identity = Identity(cls.__name__, class_path, own_class.digest(generator, class_path, init_args))
    return generator


def is_class_folder(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and own_class.KEYS[0] in read_object(folder / CONFIG, "a generator folder")


def save_class(generator: Generator, folder: Path, origin: Mapping[str, Any]) -> None:
    """Write the folder of a class of one's own, whole or not at all: class path, arguments, and all its tensors.

    Args:
        generator: as `load_class` gives it.
        folder: where to; one that is there is replaced.
        origin: its identity, which `config.json` keeps.

    Raises:
        InputError: when arguments or tensors are such as files can't hold.
    """
    state = {name: value.detach().contiguous() for name, value in generator.state_dict().items()}
    with new_parents(folder), replacing(folder) as partial:
        partial.mkdir(exist_ok=True)
        try:
            config = json.dumps({**(generator.class_spec or {}), ORIGIN: dict(origin)}, indent=2, sort_keys=True)
            save_file(state, partial / WEIGHTS, metadata={"format": "pt"})
        except (TypeError, ValueError, RuntimeError, SafetensorError) as error:
            raise InputError(f"{folder}: cannot hold this class: {one_line(error)}") from error
        (partial / CONFIG).write_text(config + "\n", encoding="utf-8")


def load_class_folder(folder: Path, allow_import: bool = True) -> Generator:
    """The generator of a folder of `save_class`: its class, made with its arguments and given its tensors.

    Raises:
        UsageError: as `load_class`.
        InputError: as `load_class`, and when the folder's files are damaged or don't fit the class.
    """
    found = read_object(folder / CONFIG, "a generator folder")
    spec = {key: found[key] for key in own_class.KEYS if key in found}
    generator = load_class(spec, allow_import)
    try:
        generator.load_state_dict(load_file(folder / WEIGHTS), strict=True)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise InputError(
            f"{folder / WEIGHTS}: the weights don't fit {spec[own_class.KEYS[0]]}: {one_line(error)}"
        ) from error
    class_path, init_args = own_class.check_spec(spec, PART)
    generator.identity = Identity(
        type(generator).__name__, class_path, own_class.digest(generator, class_path, init_args)
    )
    return generator


@torch.no_grad()
def _try_out(generator: Generator, class_path: str) -> None:
    """Map two latents and draw one image, so that a broken contract is reported here and not far from its cause."""
    try:
        label = torch.eye(generator.c_dim)[[0, 0]] if generator.c_dim else None
        ws = generator.map(generator.sample_latents(2, seed=0), label)
        _require_shape("map", ws, (2, *generator.latent_shape))
        if not torch.equal(ws, ws[:, :1].expand_as(ws)):
            raise InputError("map: expected one w repeated for all layers, as in StyleGAN; else use num_ws = 1")
        expected = (1, generator.image_channels, *shape_of(generator.image_size))
        _require_shape("synthesize", generator.synthesize(ws[:1]), expected)
        _require_shape("truncate", generator.truncate(ws, 0.5), ws.shape)
    except Exception as error:
        # Whatever the user's own code raises.
        raise InputError(f"--generator {class_path}: {own_class.describe(error)}") from error


def _require_shape(what: str, value: torch.Tensor, expected: tuple[int, ...]) -> None:
    if tuple(value.shape) != tuple(expected):
        raise InputError(f"{what}: expected shape {list(expected)}, got {list(value.shape)}")
