"""The parts that every exported folder holds, whatever tool it is for: prior, scheduler, generator and CLIP."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from text2latent.apps.exports.bundle import PACKAGE
from text2latent.apps.exports.provenance import public
from text2latent.common.errors import InputError
from text2latent.inference.domain import save_domain
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.clip import files
from text2latent.models.clip.arguments import parse_clip_arguments
from text2latent.models.clip.building import read_tokenizer
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.clip.languages import LanguageTokenizer
from text2latent.models.clip.normalizing import NORMALIZATION_KEY, plain
from text2latent.models.clip.own import ByteTokenizer
from text2latent.models.clip.saving import save_hub_folder
from text2latent.models.clip.transformers_clip import TransformersTokenizer
from text2latent.models.network import CONFIG, WEIGHTS, Network
from text2latent.models.sources.identity import Identity, sha256_of
from text2latent.models.sources.location import locate

NETWORK_FILES = (CONFIG, WEIGHTS)
PROBE = "A Woman's photo, 眼鏡!"
TOKENIZER_FILES = ("*.json", "*.txt", "*.model")


@dataclass(frozen=True)
class Part:
    """A network in an exported folder.

    Attributes:
        identity: of the weights as they lie in the folder.
        made_from: of the weights that were converted; None where they were copied byte by byte.
    """

    identity: Identity
    made_from: Identity | None = None

    def to_dict(self) -> dict[str, Any]:
        """Identity with `made_from`, JSON-ready; where it lay on somebody's disk is left out."""
        origin = {} if self.made_from is None else {"made_from": public(self.made_from)}
        return {**public(self.identity), **origin}


def write_parts(pipeline: Text2LatentPipeline, folder: Path) -> dict[str, dict[str, Any]]:
    """Write a pipeline's parts into an existing folder, as safetensors and JSON only.

    Weights that are safetensors already are copied byte by byte and keep their SHA-256, half precision included.

    Returns:
        What the folder's record says of `generator` and `clip`; their sources are given without paths of this machine.

    Raises:
        InputError: when a part cannot be written so that it is read back as the same.
        OSError: when the disk refuses.
    """
    _write_network(pipeline.prior, pipeline.identity, "prior", folder / "prior")
    if pipeline.domain is not None:
        save_domain(folder / "prior", pipeline.domain)
    pipeline.scheduler.save_pretrained(folder / "scheduler")
    generator = _write_network(pipeline.generator, pipeline.generator.identity, "generator", folder / "generator")
    clip = _write_clip(pipeline.clip, folder / "clip")
    return {"generator": generator.to_dict(), "clip": clip.to_dict()}


def _write_network(network: Network, source: Identity | None, part: str, folder: Path) -> Part:
    """Copy the files of a network that has been saved, if they are complete, or save it."""
    if type(network).__module__.split(".")[0] != PACKAGE:
        raise InputError(f"{part} {type(network).__name__}: a class of your own; expected one of {PACKAGE}'s to export")
    identity = _known(source, part)
    origin = locate(identity.source, part).path
    if _holds(origin, identity) and _is_complete(network, origin / WEIGHTS):
        folder.mkdir()
        for name in NETWORK_FILES:
            shutil.copyfile(origin / name, folder / name)
        return Part(identity)
    network.save_pretrained(folder)
    return Part(Identity(identity.name, identity.source, sha256_of(folder / WEIGHTS)), made_from=identity)


def _holds(folder: Path, identity: Identity) -> bool:
    """Whether a folder is a saved network whose weights file has an identity's SHA-256, and not that of its source."""
    return all((folder / name).is_file() for name in NETWORK_FILES) and sha256_of(folder / WEIGHTS) == identity.sha256


def _is_complete(network: Network, weights: Path) -> bool:
    """Whether a file has all of a network's tensors; our loaders fill in some, those of other tools don't."""
    with safe_open(weights, framework="pt") as file:
        return set(file.keys()) == set(network.state_dict())


def _write_clip(clip: ClipEncoder, folder: Path) -> Part:
    identity = _known(clip.identity, "CLIP")
    if isinstance(plain(clip.tokenizer), (TransformersTokenizer, ByteTokenizer)):
        raise InputError(f"CLIP {identity}: expected one of open_clip's kind to export, which other tools read")
    located = files.locate(identity.source, parse_clip_arguments(identity.arguments))
    if located.head is not None:
        raise InputError(f"CLIP {identity}: it is a head on another CLIP's embeddings, which no other tool reads")
    beside = located.weights.parent
    if located.config is not None and located.weights.suffix == ".safetensors" and not identity.arguments:
        folder.mkdir()
        for file in {file for pattern in TOKENIZER_FILES for file in beside.glob(pattern)}:
            shutil.copyfile(file, folder / file.name)
        shutil.copyfile(located.weights, folder / files.WEIGHTS_NAME)
        part = Part(identity)
    else:
        save_hub_folder(clip.model, _clip_config(clip, located), folder, torch.float32)
        _save_tokenizer(plain(clip.tokenizer), folder)
        part = Part(replace(identity, sha256=sha256_of(folder / files.WEIGHTS_NAME)), made_from=identity)
    _require_same_tokens(clip, folder)
    return part


def _clip_config(clip: ClipEncoder, located: files.Source) -> dict[str, Any]:
    """What open_clip's hub config says of a model, and how its texts are normalised."""
    preprocess = {key: value for key, value in clip.model.visual.preprocess_cfg.items() if key != "size"}
    normalization = {} if located.normalization is None else {NORMALIZATION_KEY: located.normalization}
    config = {"model_cfg": located.model_config, "preprocess_cfg": json.loads(json.dumps(preprocess))}
    return {**config, **normalization}


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Tokenizers of the transformers library go into the folder; open_clip's own needs no file."""
    saving: Any = tokenizer if isinstance(tokenizer, LanguageTokenizer) else getattr(tokenizer, "tokenizer", None)
    if hasattr(saving, "save_pretrained"):
        saving.save_pretrained(folder)


def _require_same_tokens(clip: ClipEncoder, folder: Path) -> None:
    """Refuse a CLIP whose tokenizer open_clip finds by the model's name only, which a folder doesn't have."""
    written = read_tokenizer(files.locate(f"{files.FOLDER_PREFIX}{folder}"))
    if not torch.equal(written([PROBE]), clip.tokenizer([PROBE])):
        raise InputError(f"CLIP {clip.identity}: open_clip gives its folder another tokenizer; cannot be exported")


def _known(identity: Identity | None, what: str) -> Identity:
    if identity is None:
        raise InputError(f"{what}: expected one loaded from a file, got one that has no identity")
    return identity
