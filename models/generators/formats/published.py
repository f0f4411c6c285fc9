"""Generators by the names of their published weights, and BigGAN-deep's files: `config.json` beside a state dictionary.

BigGAN's weights are those that `pytorch-pretrained-biggan` published, as `pytorch_model.bin` or converted to
safetensors. Their layers are spectrally normalised; the norms are fixed after training and are multiplied out here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from text2latent.common.errors import InputError
from text2latent.common.files import read_object
from text2latent.models.generators.formats.weights import GeneratorWeights
from text2latent.models.sources.fetching import HUB_SCHEME, fetch
from text2latent.models.sources.hub import parse_hub_address

BIGGAN_ADDRESS = "https://s3.amazonaws.com/models.huggingface.co/biggan/{name}-{file}"
BIGGAN_NAMES = ("biggan-deep-128", "biggan-deep-256", "biggan-deep-512")
DALLE_NAME, DALLE_ADDRESS = "dalle-dvae", "https://cdn.openai.com/dall-e/decoder.pkl"
NAMES = (*BIGGAN_NAMES, DALLE_NAME)

CONFIG = "config.json"
BIGGAN_KEYS = frozenset(("layers", "n_stats", "attention_layer_position", "class_embed_dim"))
WEIGHT_FILES = ("model.safetensors", "pytorch_model.safetensors", "pytorch_model.bin")
SPECTRAL = re.compile(r"(?P<layer>.+)\.weight_(orig|u|v)")


def is_published(source: str) -> bool:
    return source in NAMES


def is_biggan_folder(folder: Path) -> bool:
    """Whether a folder's `config.json` is that of published BigGAN weights."""
    return (folder / CONFIG).is_file() and read_object(folder / CONFIG, "a generator folder").keys() >= BIGGAN_KEYS


def fetch_biggan(name: str) -> tuple[Path, Path]:
    """Config and weights file, downloaded once, of one of `BIGGAN_NAMES`.

    Raises:
        InputError: when they cannot be downloaded.
    """
    files = (fetch(BIGGAN_ADDRESS.format(name=name, file=file)) for file in (CONFIG, "pytorch_model.bin"))
    config, weights = files
    return config, weights


def biggan_files(folder: Path, source: str) -> tuple[Path, Path]:
    """Config and weights file of a folder that a source names.

    Raises:
        InputError: when there are no weights.
    """
    found = [folder / name for name in WEIGHT_FILES if (folder / name).is_file()]
    if not found and source.startswith(HUB_SCHEME):
        # Of folders on the hub, pickles come only when they are named.
        address = parse_hub_address(source)
        place = "/".join(part for part in (address.repo, address.path, WEIGHT_FILES[-1]) if part)
        found = [fetch(f"{HUB_SCHEME}{place}" + (f"@{address.revision}" if address.revision else ""))]
    if not found:
        raise InputError(f"{folder}: expected BigGAN's weights beside {CONFIG}: one of {', '.join(WEIGHT_FILES)}")
    return folder / CONFIG, found[0]


def is_biggan_weights(source: str) -> bool:
    """Whether a path or address is that of a weights file of BigGAN by its name, one of `WEIGHT_FILES`."""
    return source.partition("@")[0].rpartition("/")[2] in WEIGHT_FILES


def fetch_beside(source: str) -> tuple[Path, Path]:
    """Config and weights file of the path or address of weights, beside which the config is.

    Raises:
        InputError: when either isn't there or cannot be downloaded.
    """
    address, at, revision = source.partition("@")
    folder, slash, _ = address.rpartition("/")
    weights = fetch(source)
    return fetch(f"{folder}{slash}{CONFIG}{at}{revision}"), weights


def read_biggan(config: Path, weights: Path) -> GeneratorWeights:
    """What published BigGAN files hold; none of their code is run.

    Raises:
        InputError: when either is damaged or something else.
    """
    from text2latent.models.generators.biggan import published_arguments

    try:
        arguments = published_arguments(read_object(config, "BigGAN's weights"))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{config}: expected the config of BigGAN-deep: {type(error).__name__}: {error}") from error
    state = multiply_out(_read_state(weights), str(weights))
    return GeneratorWeights("BigGANGenerator", arguments, {_rename(key): value for key, value in state.items()})


def _read_state(path: Path) -> dict[str, Tensor]:
    from text2latent.models.generators.formats import torch_files, unpickling
    from text2latent.models.generators.formats.folder import read_weights
    from text2latent.models.generators.formats.pickle_machine import PickleError

    if path.suffix == ".safetensors":
        return read_weights(path)
    try:
        data = unpickling.map_file(path)
        return unpickling.load_section(torch_files.read_torch_objects(path, data), len(data), "the file")
    except PickleError as error:
        raise InputError(f"{path}: {error}") from error


def multiply_out(state: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
    """A state whose spectrally normalised weights are plain ones: `W / (u^T W v)` (arXiv:1802.05957, section 2.1).

    Raises:
        InputError: when one of the three tensors is missing or doesn't fit; `place` names the file.
    """
    layers = {match["layer"] for match in map(SPECTRAL.fullmatch, state) if match}
    plain = {key: value for key, value in state.items() if not SPECTRAL.fullmatch(key)}
    for layer in sorted(layers):
        try:
            weight, u, v = (state[f"{layer}.weight_{part}"] for part in ("orig", "u", "v"))
            norm = torch.dot(u, torch.mv(weight.flatten(1), v))
        except (KeyError, RuntimeError, IndexError) as error:
            raise InputError(f"{place}: {layer}: expected weight_orig, weight_u and weight_v: {error}") from error
        plain[f"{layer}.weight"] = weight / norm
    return plain


def _rename(key: str) -> str:
    return key.replace("generator.", "synthesis.", 1) if key.startswith("generator.") else key
