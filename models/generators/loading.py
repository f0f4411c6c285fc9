"""Load a generator: from the zoo, a folder, a file in one of StyleGAN's formats, an address, or a class of your own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from text2latent.common.errors import InputError, one_line
from text2latent.models.generators.base import Generator
from text2latent.models.generators.building import build_generator
from text2latent.models.generators.formats.folder import CONFIG, WEIGHTS, folder_sha256, read_folder
from text2latent.models.generators.formats.weights import GeneratorWeights
from text2latent.models.sources import zoo
from text2latent.models.sources.fetching import fetch
from text2latent.models.sources.identity import Identity, sha256_of

YAML_SUFFIXES = (".yaml", ".yml")


def load_generator(source: str | Path | Mapping[str, Any], allow_import: bool = True) -> Generator:
    """Pretrained generator on the CPU, in float32 and evaluation mode, without gradients to its weights.

    Args:
        source: one of

            - a name of the zoo;
            - `biggan-deep-128`, `-256` or `-512`, or `dalle-dvae`, whose published weights are downloaded once;
            - a folder of BigGAN-deep's published files, or the weights file in it; DALL-E's `decoder.pkl`;
            - a folder written by `save_pretrained` or `text2latent convert`; its weights may be float16;
            - a network pickle of stylegan2-ada-pytorch, stylegan3 or TensorFlow's stylegan2, or a checkpoint of
              stylegan2-pytorch; they are recognised by their content, and none of their code is run;
            - an `https://` address or `hf://` id of any of these;
            - a class path `my_package.MyGenerator`, a mapping `{class_path: ..., init_args: {...}}`, or a YAML file of
              one: that class, a subclass of `Generator`, is imported.
        allow_import: whether a class path is imported. False for sources that a file names rather than the user.

    Raises:
        UsageError: when the source is none of these.
        InputError: when a file is missing, truncated, foreign, asks for code, or its weights don't fit.
    """
    from text2latent.models.generators.formats import custom, published

    if published.is_published(str(source)):
        return _load_published(str(source))
    if isinstance(source, Mapping) or custom.is_class_path(str(source)):
        return custom.load_class(source, allow_import)
    if published.is_biggan_weights(str(source)):
        return _load_biggan(*published.fetch_beside(str(source)), Path(str(source)).parent.name, str(source))
    path = zoo.locate(source, "generator")
    if path.suffix in YAML_SUFFIXES and path.is_file():
        return custom.load_class(custom.read_class_file(path), allow_import)
    if path.is_dir() and published.is_biggan_folder(path):
        return _load_biggan(*published.biggan_files(path, str(source)), _name(source, path), str(source))
    generator = _load_folder(path) if path.is_dir() else _load_file(path)
    digest = folder_sha256(path) if path.is_dir() else sha256_of(path)
    generator.identity = Identity(_name(source, path), str(source), digest)
    return generator


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


def _name(source: str | Path, path: Path) -> str:
    if zoo.is_zoo_name(str(source)):
        return zoo.owner(str(source), "generator")
    return path.resolve().name if path.is_dir() else path.stem


def _load_folder(folder: Path) -> Generator:
    return build_generator(read_folder(folder), str(folder / CONFIG), str(folder / WEIGHTS))


def _load_file(path: Path) -> Generator:
    return build_generator(read_file(path), str(path), str(path))


def read_file(path: Path) -> GeneratorWeights:
    """What a pickle or a PyTorch file holds, recognised by its first bytes and its content.

    Raises:
        InputError: when it is damaged, of no known format, or asks for anything but tensors and plain containers.
    """
    from text2latent.models.generators import dalle
    from text2latent.models.generators.formats import official, rosinality, tensorflow, torch_files, unpickling
    from text2latent.models.generators.formats.pickle_machine import PickleError

    data = unpickling.map_file(path)
    try:
        if dalle.is_decoder(data):
            return dalle.read_decoder(path, data)
        if torch_files.is_torch_file(data):
            return rosinality.read_rosinality(torch_files.read_torch_file(path, data))
        if not unpickling.is_pickle(data):
            raise PickleError("expected a network pickle (.pkl), a PyTorch checkpoint (.pt) or a folder")
        value = unpickling.read_pickle(data)
        if official.is_official(value):
            return official.read_official(value, len(data))
        if tensorflow.is_tensorflow(value):
            return tensorflow.read_tensorflow(value, len(data))
        raise PickleError("expected a network pickle of StyleGAN2 or StyleGAN3, it holds something else")
    except PickleError as error:
        raise InputError(f"{path}: {error}") from error
    except (IndexError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        # Shapes and arguments are anyone's data: absurd ones can fail anywhere on their way into a network.
        raise InputError(f"{path}: not what a generator is made of: {one_line(error)}") from error
