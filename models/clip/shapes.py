"""What the shapes of a CLIP's tensors tell: its architecture, and whether they fit a model as they are."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from text2latent.common.errors import InputError
from text2latent.models.clip.image_towers import STRIDE

HEAD_WIDTH = 64
POSITIONS = re.compile(r"(positional_embedding|pos_embed|position_embeddings\.weight|position_embedding\.weight)$")
TEXT_POSITIONS = ("positional_embedding", "text.positional_embedding")
MOST_NAMED = 3
Shape = tuple[int, ...]


def openai_config(state: Mapping[str, Any]) -> dict[str, Any]:
    """open_clip's `model_cfg` of tensors under OpenAI's names, with heads of 64 channels as all of theirs have.

    Args:
        state: tensors, or what else has a `shape`, by name.

    Raises:
        KeyError, IndexError, ValueError: when they are of something else.
    """
    width, context = state["ln_final.weight"].shape[0], state["positional_embedding"].shape[0]
    return {
        "embed_dim": state["text_projection"].shape[1],
        "vision_cfg": _transformer(state) if "visual.proj" in state else _resnet(state),
        "text_cfg": {
            "context_length": context,
            "vocab_size": state["token_embedding.weight"].shape[0],
            "width": width,
            "heads": width // HEAD_WIDTH,
            "layers": _count(state, "transformer.resblocks."),
        },
    }


def _transformer(state: Mapping[str, Any]) -> dict[str, Any]:
    width, _, patch, _ = state["visual.conv1.weight"].shape
    return {
        "image_size": patch * _grid(state["visual.positional_embedding"].shape[0]),
        "layers": _count(state, "visual.transformer.resblocks."),
        "width": width,
        "patch_size": patch,
    }


def _resnet(state: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "image_size": STRIDE * _grid(state["visual.attnpool.positional_embedding"].shape[0]),
        "layers": [_count(state, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)],
        "width": state["visual.layer1.0.conv1.weight"].shape[0],
    }


def _count(state: Mapping[str, Any], prefix: str) -> int:
    return len({name[len(prefix) :].partition(".")[0] for name in state if name.startswith(prefix)})


def _grid(positions: int) -> int:
    """Places in height and width of so many positions, of which one is the whole image's."""
    side = math.isqrt(positions - 1)
    if side * side != positions - 1:
        raise ValueError(f"{positions} positions: expected one more than a square number")
    return side


def refuse_other_shapes(expected: Mapping[str, Shape], found: Mapping[str, Tensor], path: Path, model: str) -> None:
    """Refuse weights that aren't a model's; positions in particular are never resized to fit.

    Args:
        expected: shape of each tensor of the model.
        found: the weights.
        path: their file.
        model: what the model is called.

    Raises:
        InputError: in one line, with what to do.
    """
    other = [name for name, shape in expected.items() if name in found and tuple(found[name].shape) != shape]
    missing, spare = expected.keys() - found.keys(), found.keys() - expected.keys()
    if other and not missing and not spare and all(POSITIONS.search(name) for name in other):
        raise InputError(f"{path}: {_about_positions(other[0], expected, found)}")
    if other or missing or spare:
        told = _first(other, missing, spare, expected, found)
        raise InputError(f"{path}: expected weights that fit {model}; {told}{fitting_hint(found)}")


def _about_positions(name: str, expected: Mapping[str, Shape], found: Mapping[str, Tensor]) -> str:
    wanted, there = expected[name], tuple(found[name].shape)
    told = f"{name}: expected {list(wanted)} positions and channels, got {list(there)}; they are not resized"
    if name in TEXT_POSITIONS:
        return f"{told}. --clip-args context_length={there[0]} takes texts of as many tokens as the file has places for"
    size = _pixels(found)
    return f"{told}. --clip-args image_size={size} takes images of the file's size" if size else told


def _pixels(found: Mapping[str, Tensor]) -> int | None:
    """Height and width of the images that weights are for; None where that doesn't show."""
    try:
        tower = _transformer(found) if "visual.positional_embedding" in found else _resnet(found)
    except (KeyError, ValueError, IndexError):
        return None
    return int(tower["image_size"])


def _first(
    other: list[str], missing: set[str], spare: set[str], expected: Mapping[str, Shape], found: Mapping[str, Tensor]
) -> str:
    if other:
        return f"{_plain(other[0])} is {list(found[other[0]].shape)}, not {list(expected[other[0]])}"
    if missing:
        return f"{_plain(min(missing))} is missing" + (f", with {len(missing) - 1} others" if len(missing) > 1 else "")
    return f"{_plain(min(spare))} is none of its tensors"


def _plain(name: str) -> str:
    """A name out of a file, fit for a message."""
    return "".join(char if char.isprintable() else "?" for char in name)[:80]


def fitting_hint(found: Mapping[str, Tensor]) -> str:
    """The end of a message about weights of another model: what they are of, as far as that shows."""
    if any(name.startswith(("text_model.", "vision_model.")) for name in found):
        return ". They have the transformers library's names: give the folder with config.json that they come from"
    models = fitting_models(found)
    return f". They have the shapes of {', '.join(models)}" if models else ""


def fitting_models(state: Mapping[str, Tensor]) -> list[str]:
    """Some models of open_clip that have the shapes of weights under OpenAI's names, the shortest names first."""
    from open_clip import get_model_config, list_models

    flat = {name.removeprefix("text."): tensor for name, tensor in state.items()}
    try:
        wanted = _key_figures(openai_config(flat))
    except (KeyError, IndexError, ValueError):
        return []
    found = [name for name in list_models() if _key_figures(get_model_config(name) or {}) == wanted]
    return sorted(found, key=len)[:MOST_NAMED]


def _key_figures(config: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """What tells one architecture from another; None for those that aren't built of OpenAI's parts."""
    vision, text = config.get("vision_cfg", {}), config.get("text_cfg", {})
    if not vision or "timm_model_name" in vision or "hf_model_name" in text or "multimodal_cfg" in config:
        return None
    towers = [(vision, ("image_size", "layers", "width", "patch_size")), (text, ("vocab_size", "width", "layers"))]
    figures = [tower.get(key) for tower, keys in towers for key in keys]
    return (config["embed_dim"], text.get("context_length", 77), *map(str, figures))
