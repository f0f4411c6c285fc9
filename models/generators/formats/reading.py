"""From a file of any format to a generator's arguments and weights: recognised by content, read as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from text2latent.common.errors import InputError, one_line
from text2latent.models.generators.formats import (
    checkpoints,
    dalle,
    kinds,
    lucidrains,
    official,
    tensorflow,
    torch_files,
    unpickling,
)
from text2latent.models.generators.formats.folder import is_safetensors, read_weights
from text2latent.models.generators.formats.pickle_machine import PickleError
from text2latent.models.generators.formats.weights import GeneratorWeights


def read_file(path: Path, given: Mapping[str, Any] | None = None) -> GeneratorWeights:
    """What a pickle, a PyTorch file or a safetensors file holds.

    Args:
        given: arguments of the network that take the place of those that the file says or shows.

    Raises:
        InputError: when it is damaged, of no known format, or asks for anything but tensors and plain containers.
    """
    given = given or {}
    data = unpickling.map_file(path)
    try:
        found = _read(path, data, given)
    except PickleError as error:
        raise InputError(f"{path}: {kinds.describe(data, str(error)) or error}") from error
    except (IndexError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        # Shapes and arguments are anyone's data: absurd ones can fail anywhere on their way into a network.
        raise InputError(f"{path}: not what a generator is made of: {one_line(error)}") from error
    return replace(found, arguments={**found.arguments, **given})


def _read(path: Path, data: memoryview, given: Mapping[str, Any]) -> GeneratorWeights:
    if dalle.is_decoder(data):
        return dalle.read_decoder(path, data)
    if is_safetensors(data):
        return checkpoints.read_tensors(read_weights(path), given)
    if torch_files.is_torch_file(data):
        value = torch_files.read_torch_objects(path, data, unpickling.network_globals)
        if official.is_official(value):
            return official.read_official(value, len(data))
        if lucidrains.is_lucidrains(value):
            section = lucidrains.generator_of(value)
            return lucidrains.read_lucidrains(unpickling.load_section(section, len(data), lucidrains.SECTION), path)
        return checkpoints.read_checkpoint(value, len(data), given)
    if not unpickling.is_pickle(data):
        raise PickleError("expected a network pickle (.pkl), a PyTorch checkpoint (.pt) or a folder")
    return _read_pickle(unpickling.read_pickle(data), len(data), given)


def _read_pickle(value: Any, file_bytes: int, given: Mapping[str, Any]) -> GeneratorWeights:
    if official.is_official(value):
        return official.read_official(value, file_bytes)
    if tensorflow.is_tensorflow(value):
        return tensorflow.read_tensorflow(value, file_bytes)
    if isinstance(value, dict) and checkpoints.find_generator(value):
        return checkpoints.read_checkpoint(value, file_bytes, given)
    raise PickleError("expected a network pickle of StyleGAN2 or StyleGAN3, it holds something else")
