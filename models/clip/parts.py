"""Load all of a CLIP by any name that a user or a record may give it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from text2latent.common.errors import InputError, UsageError
from text2latent.models import own_class
from text2latent.models.clip.arguments import ClipArguments, parse_clip_arguments
from text2latent.models.clip.building import read_model, read_tokenizer
from text2latent.models.clip.files import find_folder, folder_name, locate, own_prompts
from text2latent.models.clip.languages import FLAG, LanguageTokenizer
from text2latent.models.clip.normalizing import normalizing, plain
from text2latent.models.clip.own import PART, load_own
from text2latent.models.clip.preprocessing import Preprocessing
from text2latent.models.clip.settings import network_settings, settings_of
from text2latent.models.clip.text_folder import JoinedClip, clip_inside, is_text_folder, load_text_tower
from text2latent.models.clip.transformers_folder import load_transformers
from text2latent.models.sources.identity import Identity

KEYS = ("source", "arguments")
PATHS = ("tokenizer", "text")
"""Arguments that may be paths."""


@dataclass(frozen=True)
class ClipParts:
    """All of a CLIP.

    Attributes:
        model: with `encode_image` of preprocessed images, `encode_text` of tokens, and `visual.preprocess_cfg`.
        tokenizer: texts -> tokens.
        identity: weights, settings, and what was said of the source.
        own_prompts: file of the prompts that came with it; None for none.
    """

    model: nn.Module
    tokenizer: Any
    identity: Identity
    own_prompts: Path | None = None


def load_clip_parts(
    source: str | Mapping[str, Any], arguments: Mapping[str, Any] | None = None, allow_import: bool = True
) -> ClipParts:
    """Load a CLIP; see `ClipEncoder.from_pretrained` for arguments and errors."""
    values = dict(arguments or {})
    if isinstance(source, Mapping) and "class_path" not in source:
        source, values = _named(source, values)
    own = _own_class(source)
    if own is not None:
        return _load_own(own, values, allow_import)
    said = parse_clip_arguments(values)
    parts = _load(str(source), said)
    if said.text is not None:
        parts = _with_text_tower(parts, said.text, said)
    if said.language is not None:
        _say_language(parts.tokenizer, said.language)
    return replace(parts, identity=replace(parts.identity, arguments=_absolute(values)))


def _named(spec: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    unknown = [str(key) for key in spec if key not in KEYS]
    source, own = spec.get("source"), spec.get("arguments", {})
    if unknown or not isinstance(source, str) or not isinstance(own, Mapping):
        raise UsageError(f"clip: expected the keys {' and '.join(KEYS)}, got {dict(spec)!r:.200}")
    return source, {**own, **values}


def _own_class(source: str | Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The class path and arguments that a source is or that its YAML file holds; None where it is something else."""
    if isinstance(source, Mapping):
        return source
    if own_class.is_class_path(source):
        return {"class_path": source}
    path = Path(source)
    is_yaml = path.suffix in own_class.YAML_SUFFIXES and path.is_file()
    return own_class.read_class_file(path, PART) if is_yaml else None


def _load_own(spec: Mapping[str, Any], values: Mapping[str, Any], allow_import: bool) -> ClipParts:
    spec = {key: value for key, value in spec.items() if key != "arguments" or value}
    if values or "arguments" in spec:
        raise UsageError("--clip-args: expected none with a class of your own, whose arguments are init_args")
    return ClipParts(*load_own(spec, allow_import))


def _with_text_tower(parts: ClipParts, source: str, said: ClipArguments) -> ClipParts:
    """A CLIP with another text tower in the place of its own; its identity is of both.

    Raises:
        InputError: when the two have embeddings of different lengths.
    """
    tower = load_text_tower(source, said)
    tokenizer = normalizing(tower.tokenizer, said.text_normalization)
    images: Any = parts.model
    with torch.inference_mode():
        width = images.encode_text(parts.tokenizer(["size"])).shape[-1]
    if tower.network.dense.out_features != width:
        raise InputError(
            f"--clip-args: text: expected features of {width} channels, as of the images of {parts.identity}, got "
            f"{tower.network.dense.out_features}"
        )
    digest = hashlib.sha256(f"{parts.identity.sha256} {tower.sha256}".encode()).hexdigest()
    preprocess = Preprocessing.from_config(images.visual.preprocess_cfg)
    kept = {key: value for key, value in parts.identity.settings.items() if key in ("activation", "network")}
    settings = settings_of(preprocess, tokenizer, {**kept, **tower.settings})
    identity = replace(parts.identity, sha256=digest, settings=settings)
    return ClipParts(JoinedClip(parts.model, tower.network), tokenizer, identity)


def _load(source: str, said: ClipArguments) -> ClipParts:
    folder = find_folder(source)
    if folder is not None and is_text_folder(folder):
        raise UsageError(
            f"CLIP {source!r}: a text tower alone; expected the CLIP whose images it was made for, with --clip-args "
            f"text={source}"
        )
    if said.text is not None:
        # What is said of texts is for the tower that takes them.
        said = replace(said, text=None, context_length=None, tokenizer=None, text_normalization=None)
    inside = None if folder is None else clip_inside(folder)
    if folder is None or inside is None:
        return _load_open_clip(source, said, folder)
    model, own_tokenizer, identity = load_transformers(inside, source, folder_name(folder, source), said)
    tokenizer = normalizing(own_tokenizer, said.text_normalization)
    preprocess = Preprocessing.from_config(model.visual.preprocess_cfg)
    settings = settings_of(preprocess, tokenizer, identity.settings)
    return ClipParts(model, tokenizer, replace(identity, settings=settings))


def _load_open_clip(source: str, said: ClipArguments, folder: Path | None) -> ClipParts:
    located = locate(source, said, folder)
    model: Any = read_model(located)
    tokenizer = read_tokenizer(located)
    preprocess = Preprocessing.from_config(model.visual.preprocess_cfg)
    settings = settings_of(preprocess, tokenizer, network_settings(located.model_config))
    return ClipParts(model, tokenizer, replace(located.identity, settings=settings), own_prompts(located))


def _say_language(tokenizer: Any, language: str) -> None:
    told = plain(tokenizer)
    if not isinstance(told, LanguageTokenizer):
        raise UsageError(f"{FLAG}: expected a CLIP whose tokenizer is told the language, as nllb's; this one's isn't")
    told.say(language)


def _absolute(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was said, with the absolute paths of files and folders that are there, so that a record finds them."""
    there = {key: values[key] for key in PATHS if isinstance(values.get(key), str) and Path(values[key]).exists()}
    return {**values, **{key: str(Path(value).absolute()) for key, value in there.items()}}
