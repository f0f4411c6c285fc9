"""What a user says of a CLIP whose files don't: `--clip-args FILE`, or `--clip-args KEY=VALUE,KEY=VALUE`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from text2latent.common.errors import UsageError, one_line
from text2latent.models.clip.normalizing import NORMALIZATION_KEY, NORMALIZATION_NAMES, NORMALIZATIONS
from text2latent.models.clip.preprocessing import INTERPOLATIONS, RESIZE_MODES, WHITE

FLAG = "--clip-args"
EXAMPLE = "quick_gelu: true"
MAX_PIXELS, MAX_TOKENS = 4096, 65536
_ASSIGNMENT = re.compile(r"(?:^|(?<=[,\s]))(\w+)=")


@dataclass(frozen=True)
class ClipArguments:
    """What is said of a CLIP; None where nothing is.

    Attributes:
        model: open_clip's name of the architecture, for a weights file alone.
        pretrained: open_clip's name of published weights whose preprocessing and activation these have.
        quick_gelu: whether the activation is QuickGELU, not GELU.
        mean, std: per channel of images in [0, 1].
        interpolation, resize_mode, fill_color: see `text2latent.models.clip.preprocessing.Preprocessing`.
        image_size: height and width that the network takes, in pixels.
        context_length: tokens of a text, its start and end included.
        tokenizer: folder or hub id of a tokenizer of the transformers library.
        text_normalization: how texts are normalised before the tokenizer, see `text2latent.models.clip.normalizing`.
        text: folder or `hf://` id of a text tower that stands in the place of the CLIP's own.
        language: of all texts, as NLLB calls it, for tokenizers that are told; not a part of a CLIP's identity.
    """

    model: str | None = None
    pretrained: str | None = None
    quick_gelu: bool | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: str | None = None
    resize_mode: str | None = None
    fill_color: int | None = None
    image_size: int | None = None
    context_length: int | None = None
    tokenizer: str | None = None
    text_normalization: str | None = None
    text: str | None = None
    language: str | None = None

    def said(self, *names: str) -> dict[str, Any]:
        """Those of the named arguments that are said."""
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What is said of the preprocessing, but for the size."""
        return self.said("mean", "std", "interpolation", "resize_mode", "fill_color")


def parse_clip_arguments(values: Mapping[str, Any]) -> ClipArguments:
    """Check plain values by name.

    Raises:
        UsageError: naming the first that isn't known or of another type or range.
    """
    known = [field.name for field in fields(ClipArguments)]
    unknown = [str(name) for name in values if name not in known]
    if unknown:
        raise UsageError(f"{FLAG}: {unknown[0]}: expected any of {', '.join(known)}")
    return ClipArguments(**{name: _checked(name, value) for name, value in values.items()})


def read_clip_arguments(given: str | Mapping[str, Any]) -> dict[str, Any]:
    """Names and values of a YAML or JSON file, or of a text such as `quick_gelu=true, mean=[0.5, 0.5, 0.5]`, checked.

    Raises:
        UsageError: for a text that is neither, and as `parse_clip_arguments`.
        InputError: when the file cannot be read or holds something else.
    """
    values = given if isinstance(given, Mapping) else _read(given)
    parse_clip_arguments(values)
    return dict(values)


def named_clip(
    clip: str | Mapping[str, Any] | None, arguments: str | Mapping[str, Any] | None, language: str | None = None
) -> str | dict[str, Any] | None:
    """The CLIP that `--clip`, `--clip-args` and `--clip-language` name, as `ClipEncoder.from_pretrained` takes it.

    A mapping without `source` is of arguments alone, for the CLIP that a record names. None where no flag is given.

    Raises:
        UsageError, InputError: as `read_clip_arguments`.
    """
    said = {} if arguments is None else read_clip_arguments(arguments)
    if language is not None:
        said["language"] = language
    if not said:
        return dict(clip) if isinstance(clip, Mapping) else clip
    return _as_mapping(clip, said)


def is_arguments_alone(clip: str | Mapping[str, Any] | None) -> bool:
    """Whether what `named_clip` gives names no CLIP, but at most says something of one."""
    return clip is None or (not isinstance(clip, str) and not clip.keys() - {"arguments"})


def with_source(clip: str | Mapping[str, Any] | None, usual: str) -> str | Mapping[str, Any]:
    """What `named_clip` gives, of the CLIP `usual` where it names none."""
    if clip is None or isinstance(clip, str):
        return clip or usual
    return {**clip, "source": usual} if is_arguments_alone(clip) else clip


def _as_mapping(clip: str | Mapping[str, Any] | None, said: Mapping[str, Any]) -> dict[str, Any]:
    """A CLIP with more arguments, which win over those that it has."""
    found: dict[str, Any] = dict(clip) if isinstance(clip, Mapping) else {} if clip is None else {"source": clip}
    return {**found, "arguments": {**found.get("arguments", {}), **said}}


def _read(text: str) -> dict[str, Any]:
    import yaml

    from text2latent.models.generators.formats.arguments import read_arguments

    if Path(text).is_file() or not _ASSIGNMENT.search(text):
        return read_arguments(text, FLAG, EXAMPLE)
    try:
        values = yaml.safe_load("{" + _ASSIGNMENT.sub(r"\1: ", text) + "}")
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise UsageError(f"{FLAG}: expected KEY=VALUE,KEY=VALUE or a file, got {text!r}: {one_line(error)}") from error
    return {str(name): value for name, value in values.items()}


def _checked(name: str, value: Any) -> Any:
    check, expected = _CHECKS[name]
    if not check(value):
        raise UsageError(f"{FLAG}: {name}: expected {expected}, got {value!r:.100}")
    return tuple(map(float, value)) if name in ("mean", "std") else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e6


def _are_three(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 3 and all(map(_is_number, value))


def _whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "model": (_is_text, "a model of open_clip, such as ViT-B-32"),
    "pretrained": (_is_text, "open_clip's name of published weights, such as openai"),
    "quick_gelu": (lambda value: isinstance(value, bool), "true or false"),
    "mean": (_are_three, "three numbers, such as [0.5, 0.5, 0.5]"),
    "std": (lambda value: _are_three(value) and min(value) > 0, "three positive numbers, such as [0.5, 0.5, 0.5]"),
    "interpolation": (lambda value: value in INTERPOLATIONS, f"one of {', '.join(INTERPOLATIONS)}"),
    "resize_mode": (lambda value: value in RESIZE_MODES, f"one of {', '.join(RESIZE_MODES)}"),
    "fill_color": (_whole(0, WHITE), f"a whole number from 0 to {WHITE}"),
    "image_size": (_whole(1, MAX_PIXELS), f"a whole number of pixels from 1 to {MAX_PIXELS}"),
    "context_length": (_whole(3, MAX_TOKENS), f"a whole number of tokens from 3 to {MAX_TOKENS}"),
    "tokenizer": (_is_text, "a folder or hub id of a tokenizer"),
    NORMALIZATION_KEY: (lambda value: value in NORMALIZATIONS, NORMALIZATION_NAMES),
    "text": (_is_text, "a folder or hf:// id of a text tower"),
    "language": (_is_text, "a language, such as jpn_Jpan"),
}
