"""Load all of a CLIP by any name that a user or a record may give it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from text2latent.common.errors import UsageError
from text2latent.models.clip.arguments import ClipArguments, parse_clip_arguments
from text2latent.models.clip.building import read_model, read_tokenizer
from text2latent.models.clip.files import locate, own_prompts
from text2latent.models.clip.languages import FLAG, LanguageTokenizer, has_languages
from text2latent.models.clip.preprocessing import Preprocessing
from text2latent.models.clip.settings import network_settings, settings_of
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
    said = parse_clip_arguments(values)
    parts = _load_open_clip(str(source), said)
    if said.language is not None:
        _say_language(parts.tokenizer, said.language)
    return replace(parts, identity=replace(parts.identity, arguments=_absolute(values)))


def _named(spec: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    unknown = [str(key) for key in spec if key not in KEYS]
    source, own = spec.get("source"), spec.get("arguments", {})
    if unknown or not isinstance(source, str) or not isinstance(own, Mapping):
        raise UsageError(f"clip: expected the keys {' and '.join(KEYS)}, got {dict(spec)!r:.200}")
    return source, {**own, **values}


def _load_open_clip(source: str, said: ClipArguments) -> ClipParts:
    located = locate(source, said)
    model, tokenizer = read_model(located), read_tokenizer(located)
    if has_languages(tokenizer):
        tokenizer = LanguageTokenizer(tokenizer)
    preprocess = Preprocessing.from_config(model.visual.preprocess_cfg)  # type: ignore[union-attr,arg-type]
    settings = settings_of(preprocess, tokenizer, network_settings(located.model_config))
    return ClipParts(model, tokenizer, replace(located.identity, settings=settings), own_prompts(located))


def _say_language(tokenizer: Any, language: str) -> None:
    if not isinstance(tokenizer, LanguageTokenizer):
        raise UsageError(f"{FLAG}: expected a CLIP whose tokenizer is told the language, as nllb's; this one's isn't")
    tokenizer.say(language)


def _absolute(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was said, with the absolute paths of files and folders that are there, so that a record finds them."""
    there = {key: values[key] for key in PATHS if isinstance(values.get(key), str) and Path(values[key]).exists()}
    return {**values, **{key: str(Path(value).absolute()) for key, value in there.items()}}
