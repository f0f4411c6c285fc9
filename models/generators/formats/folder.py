"""Our own format: a folder of `config.json` and safetensors weights, as `save_pretrained` writes it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from text2latent.common.errors import InputError, one_line
from text2latent.common.files import new_parents, read_object, replacing
from text2latent.common.litter import files_of, name_files
from text2latent.models.generators.base import Generator
from text2latent.models.generators.formats.weights import GeneratorWeights
from text2latent.models.network import CONFIG, WEIGHTS, Unfilled
from text2latent.models.sources.identity import Identity, read_parents, sha256_of

KIND = "a generator folder"
ORIGIN = "_converted_from"
TUNED = "_tuned_from"
WRITTEN = "weights_sha256"
HEADER_AT = 8
SHA256 = re.compile(r"[0-9a-f]{64}")


def read_folder(folder: Path) -> GeneratorWeights:
    """Class, arguments and weights of a folder; the weights become float32.

    Raises:
        InputError: when a file is missing, truncated or foreign.
    """
    config = read_object(folder / CONFIG, KIND)
    arguments = {key: value for key, value in config.items() if not key.startswith("_")}
    return GeneratorWeights(config.get("_class_name", ""), arguments, read_weights(folder / WEIGHTS))


def is_safetensors(data: memoryview) -> bool:
    """Whether a file begins as safetensors do: the length of a JSON object, then the object."""
    return len(data) > HEADER_AT and data[HEADER_AT] == ord("{") and bytes(data[HEADER_AT - 2 : HEADER_AT]) == bytes(2)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file as float32; raises InputError when it is missing or damaged."""
    try:
        state = load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: expected this file of a generator folder, it is missing") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: expected safetensors weights: {one_line(error)}") from error
    return {key: value.float() for key, value in state.items()}


def folder_sha256(folder: Path) -> str:
    """SHA-256 that identifies the weights that a folder holds.

    It is that of the file which the folder was converted from, so that a conversion changes nothing for what was made
    with the file. The folder's word is taken only while its weights are, byte for byte, the ones that were written
    then; of all others it is the SHA-256 of the weights file.
    """
    found = sha256_of(folder / WEIGHTS)
    origin = read_object(folder / CONFIG, KIND).get(ORIGIN)
    if not isinstance(origin, Mapping) or origin.get(WRITTEN) != found:
        return found
    claimed = origin.get("sha256")
    return claimed if isinstance(claimed, str) and SHA256.fullmatch(claimed) else found


def parents_of(folder: Path) -> tuple[tuple[str, str], ...]:
    """Names and digests of the generators that a folder's was tuned from, the nearest first; see `Identity.parents`.

    Raises:
        InputError: when the folder says so in another form.
    """
    return read_parents(read_object(folder / CONFIG, KIND).get(TUNED, ()))


def check_target(
    folder: Path, overwrite: bool, known: Collection[str] = (CONFIG, WEIGHTS), whose: str = "a generator's"
) -> None:
    """Refuse to write where something lies, unless it is a folder of its kind that may be overwritten.

    Args:
        overwrite: whether to replace what is there.
        known: names of what a folder of that kind holds.
        whose: such a folder in words.

    Raises:
        InputError: naming what lies there.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a new folder, there is a file")
    found = files_of(folder)
    if foreign := set(found) - set(known):
        raise InputError(f"{folder}: expected a new folder or {whose}, it holds {name_files(foreign)}")
    if found and not overwrite:
        raise InputError(f"{folder} exists already; expected a new name, or --overwrite")


def save_folder(generator: Generator, folder: Path, origin: Mapping[str, Any], half: bool = False) -> None:
    """Write a generator's folder, whole or not at all; one that is there is replaced.

    Args:
        generator: one that `save_pretrained` knows how to save; it is not changed.
        origin: identity of what it was converted from, which `config.json` keeps; see `folder_sha256`.
        half: store parameters in float16, half the size. Buffers (filters, noise maps, the mean latent) stay float32.
            As the weights are then others, the folder is not taken for what it was converted from.

    Raises:
        InputError: when a parameter is too large for float16.
    """
    stored = in_half(generator) if half else generator
    with new_parents(folder), replacing(folder) as partial:
        stored.save_pretrained(partial)
        written = {} if half else {WRITTEN: sha256_of(partial / WEIGHTS)}
        config = {**read_object(partial / CONFIG, KIND), ORIGIN: {**origin, **written}}
        (partial / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def save_tuned(generator: Generator, folder: Path) -> Identity:
    """Write the folder of a generator whose weights were tuned, whole or not at all; returns its identity.

    Args:
        generator: its identity is still that of what it was tuned from, which the folder's names as its parent.
        folder: one that is there is replaced.
    """
    parent = generator.identity
    parents = () if parent is None else ((parent.name, parent.sha256), *parent.parents)
    with new_parents(folder), replacing(folder) as partial:
        generator.save_pretrained(partial)
        config = {**read_object(partial / CONFIG, KIND), TUNED: [list(one) for one in parents]}
        (partial / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return Identity(folder.name, str(folder), sha256_of(folder / WEIGHTS), parents=parents)


def in_half(generator: Generator) -> Generator:
    """A copy of a generator with parameters rounded to float16 and the same buffers.

    Raises:
        InputError: when a parameter is too large for float16.
    """
    state = {name: value.half() for name, value in generator.named_parameters()}
    large = [name for name, value in state.items() if not value.isfinite().all()]
    if large:
        raise InputError(f"--half: {large[0]}: too large for float16")
    with Unfilled(state):
        copy = type(generator).from_config(generator.config)
    copy.load_state_dict({**generator.state_dict(), **state}, assign=True)
    return copy
