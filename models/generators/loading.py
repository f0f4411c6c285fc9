"""Load a generator: from the zoo, a folder, a file in one of StyleGAN's formats, an address, or a class of your own.

A file gives a class's name, its arguments and its weights; nothing in them is trusted.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from text2latent.common.errors import InputError, UsageError, one_line
from text2latent.models import own_class
from text2latent.models.generators.base import Generator
from text2latent.models.generators.formats.folder import folder_sha256, parents_of, read_folder
from text2latent.models.generators.formats.weights import W_AVG, GeneratorWeights
from text2latent.models.generators.mapping import MappedGenerator
from text2latent.models.network import CONFIG, WEIGHTS, Unfilled
from text2latent.models.sources import zoo
from text2latent.models.sources.fetching import fetch
from text2latent.models.sources.identity import Identity, sha256_of
from text2latent.models.sources.location import Location, locate

CLASSES = {
    "BigGANGenerator": "text2latent.models.generators.biggan",
    "BilinearStyleGAN2Generator": "text2latent.models.generators.bilinear",
    "DiscreteDecoder": "text2latent.models.generators.dalle",
    "StyleGAN1Generator": "text2latent.models.generators.stylegan1",
    "StyleGAN2Generator": "text2latent.models.generators.stylegan2",
    "StyleGAN3Generator": "text2latent.models.generators.stylegan3",
}
"""Module of each class that a file may ask for; it is imported when one does."""

MAX_FILTER = 64
FILTER_SIZES = ("filter_size", "lrelu_upsampling", "conv_kernel", "kernel_size")


def load_generator(
    source: str | Path | Mapping[str, Any], allow_import: bool = True, arguments: Mapping[str, Any] | None = None
) -> Generator:
    """Pretrained generator on the CPU, in float32 and evaluation mode, without gradients to its weights.

    Args:
        source: one of

            - a name of the zoo;
            - `biggan-deep-128`, `-256` or `-512`, or `dalle-dvae`, whose published weights are downloaded once;
            - a folder of BigGAN-deep's published files, or the weights file in it; DALL-E's `decoder.pkl`;
            - a folder written by `save_pretrained` or `text2latent convert`; its weights may be float16;
            - a network pickle of stylegan2-ada-pytorch, stylegan3 or TensorFlow's stylegan2, such a network in a
              file of `torch.save`, its state dictionary, or a checkpoint of stylegan2-pytorch; they are recognised by
              their content, and none of their code is run;
            - an `https://` address or `hf://` id of any of these;
            - a class path `my_package.MyGenerator`, a mapping `{class_path: ..., init_args: {...}}`, or a YAML file of
              one: that class, a subclass of `Generator`, is imported.
        allow_import: whether a class path is imported. False for sources that a file names rather than the user.
        arguments: of the network's constructor, in place of what a file says or shows, which is then another generator
            than without them; for files only.

    Raises:
        UsageError: when the source is none of these, or takes no such arguments.
        InputError: when a file is missing, truncated, foreign, asks for code, or its weights don't fit.
    """
    from text2latent.models.generators.formats import custom, published

    if arguments:
        return _load_with_arguments(source, arguments)
    if published.is_published(str(source)):
        return _load_published(str(source))
    if isinstance(source, Mapping) or own_class.is_class_path(str(source)):
        return custom.load_class(source, allow_import)
    if published.is_biggan_weights(str(source)):
        return _load_biggan(*published.fetch_beside(str(source)), Path(str(source)).parent.name, str(source))
    found = locate(source, "generator")
    path = _model_in(found.path)
    if path.suffix in own_class.YAML_SUFFIXES and path.is_file():
        return custom.load_class(own_class.read_class_file(path, custom.PART), allow_import)
    if path.is_dir() and custom.is_class_folder(path):
        return custom.load_class_folder(path, allow_import)
    if path.is_dir() and published.is_biggan_folder(path):
        return _load_biggan(*published.biggan_files(path, str(source)), _name(found), str(source))
    generator = _load_folder(path) if path.is_dir() else _load_file(path)
    digest, parents = (folder_sha256(path), parents_of(path)) if path.is_dir() else (sha256_of(path), ())
    generator.identity = Identity(_name(found), str(source), digest, parents=parents)
    return generator


def _load_with_arguments(source: str | Path | Mapping[str, Any], arguments: Mapping[str, Any]) -> Generator:
    """A file's generator with some arguments said by the user; its identity is of both."""
    from text2latent.models.generators.formats.reading import read_file

    found = None if isinstance(source, Mapping) else locate(source, "generator")
    if found is None or found.path.is_dir() or found.path.suffix in own_class.YAML_SUFFIXES:
        raise UsageError(f"--generator-args: expected a generator in a file of weights with it, got {source}")
    weights = read_file(found.path, arguments)
    _check_given(weights.class_name, arguments)
    generator = build_generator(weights, str(found.path), str(found.path))
    said = json.dumps(dict(arguments), sort_keys=True)
    digest = hashlib.sha256(f"{sha256_of(found.path)} {said}".encode()).hexdigest()
    generator.identity = Identity(_name(found), str(source), digest)
    return generator


def _check_given(class_name: str, arguments: Mapping[str, Any]) -> None:
    known = list(inspect.signature(find_class(class_name).__init__).parameters)[1:]
    unknown = [str(name) for name in arguments if name not in known]
    if unknown:
        raise UsageError(
            f"--generator-args: {unknown[0]}: not an argument of {class_name}; expected any of {', '.join(known)}"
        )


def _load_published(name: str) -> Generator:
    from text2latent.models.generators.formats import published

    if name in published.BIGGAN_NAMES:
        return _load_biggan(*published.fetch_biggan(name), name, name)
    path = fetch(published.DALLE_ADDRESS)
    generator = _load_file(path)
    generator.identity = Identity(name, name, sha256_of(path))
    return generator


def _load_biggan(config: Path, weights: Path, name: str, source: str) -> Generator:
    from text2latent.models.generators.formats.published import read_biggan

    generator = build_generator(read_biggan(config, weights), str(config), str(weights))
    generator.identity = Identity(name, source, sha256_of(weights))
    return generator


def _model_in(path: Path) -> Path:
    """The file of the newest model in a folder that stylegan2_pytorch wrote; any other path itself."""
    if not path.is_dir():
        return path
    from text2latent.models.generators.formats.lucidrains import latest_model

    return latest_model(path) or path


def _name(found: Location) -> str:
    if found.kind == "zoo":
        return zoo.owner(found.source, "generator")
    path = found.path
    return path.resolve().name if path.is_dir() else path.stem


def _load_folder(folder: Path) -> Generator:
    return build_generator(read_folder(folder), str(folder / CONFIG), str(folder / WEIGHTS))


def _load_file(path: Path) -> Generator:
    from text2latent.models.generators.formats.reading import read_file

    return build_generator(read_file(path), str(path), str(path))


def find_class(name: Any) -> type[Generator]:
    """Class of a name; raises InputError for one that isn't in `CLASSES`."""
    if not isinstance(name, str) or name not in CLASSES:
        raise InputError(f"_class_name {name!r}: expected one of {', '.join(CLASSES)}")
    return getattr(importlib.import_module(CLASSES[name]), name)


def build_generator(weights: GeneratorWeights, arguments_from: str, weights_from: str) -> Generator:
    """Network on the CPU in evaluation mode, without gradients to its weights; a missing mean latent is computed.

    Args:
        weights: what a file holds.
        arguments_from: file of the constructor's arguments, for messages.
        weights_from: file of the weights, likewise.

    Raises:
        InputError: for weights that aren't finite, and arguments that are none or don't fit the weights.
    """
    bad = [name for name, value in weights.state.items() if not value.isfinite().all()]
    if bad:
        raise InputError(f"{weights_from}: {bad[0]}: expected finite weights, got NaN or infinity")
    generator = _construct(weights, arguments_from)
    has_average = W_AVG in weights.state or not isinstance(generator, MappedGenerator)
    state = weights.state if has_average else {**weights.state, W_AVG: torch.zeros(generator.w_dim)}
    _load_state(generator, state, arguments_from, weights_from)
    # Convolutions on a CPU are up to a quarter faster with channels last, weights included.
    generator.to(memory_format=torch.channels_last)
    if not has_average and isinstance(generator, MappedGenerator):
        generator.update_w_avg()
    generator.notes = weights.notes
    return generator.eval().requires_grad_(False)


def _construct(weights: GeneratorWeights, arguments_from: str) -> Generator:
    """Network without weights; false arguments claim no memory."""
    try:
        cls = find_class(weights.class_name)
    except InputError as error:
        raise InputError(f"{arguments_from}: {error}") from error
    unknown = sorted(set(weights.arguments) - set(inspect.signature(cls.__init__).parameters))
    if unknown:
        raise InputError(f"{arguments_from}: {', '.join(unknown)}: not arguments of {cls.__name__}")
    _refuse_endless_arguments(weights, arguments_from)
    try:
        with Unfilled(weights.state):
            return cls(**weights.arguments)
    except Exception as error:
        # Arguments are anyone's data: a wrong type or an absurd size can fail anywhere in the constructor.
        raise InputError(f"{arguments_from}: not a config of {cls.__name__}: {one_line(error)}") from error


def _refuse_endless_arguments(weights: GeneratorWeights, arguments_from: str) -> None:
    """Refuse loops over layers that no weights are there for, and huge filters: what `Unfilled` doesn't save from."""
    for name, value in weights.arguments.items():
        if name.startswith("num_") and isinstance(value, (int, float)) and value > len(weights.state):
            raise InputError(f"{arguments_from}: {name} {value}: there are only {len(weights.state)} tensors")
        if name in FILTER_SIZES and isinstance(value, (int, float)) and value > MAX_FILTER:
            raise InputError(f"{arguments_from}: {name} {value}: expected at most {MAX_FILTER}")


def _load_state(generator: Generator, state: dict[str, Tensor], arguments_from: str, weights_from: str) -> None:
    try:
        generator.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        place = "their arguments" if arguments_from == weights_from else arguments_from.rpartition("/")[2]
        raise InputError(f"{weights_from}: the weights don't fit {place}: {one_line(error)}") from error
