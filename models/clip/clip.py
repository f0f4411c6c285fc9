"""CLIPs of the architectures that their authors published, in plain torch.

open_clip builds these and many others, and takes seconds of imports for it. What is read here has the same tensors of
the same names as there, gives the same features, and may be put in its place; whatever else a config asks for is left
to open_clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from text2latent.models.clip.image_towers import ModifiedResNet, ResNetConfig, TransformerConfig, VisionTransformer
from text2latent.models.clip.text_tower import TEXT_POOLS, TextConfig, TextTower
from text2latent.models.network import Unfilled

MODEL_KEYS = {"embed_dim", "vision_cfg", "text_cfg", "custom_text", "quick_gelu"}
TEXT, SHARED = "text.", ("visual.", "logit_scale")
"""What is before the names of a text tower that is a module of its own, and the names that it is never before."""
TOKENIZER_KEYS = {"hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs"}
"""Keys of `text_cfg` that say nothing of the network."""
PREPROCESSING = {
    "size": 224,
    "mode": "RGB",
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}
"""What open_clip takes where a config doesn't say: OpenAI's preprocessing."""

Known = TypeVar("Known", TextConfig, TransformerConfig, ResNetConfig)


class CustomTextClip(nn.Module):
    """A CLIP whose text tower is a module of its own, `text`, as that of configs with `custom_text`."""

    def __init__(self, visual: nn.Module, text: TextTower) -> None:
        super().__init__()
        self.visual, self.text = visual, text
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def encode_image(self, images: Tensor) -> Tensor:
        """Features `[N, D]`, not normalised, of preprocessed images `[N, 3, H, W]`."""
        return self.visual(images)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Features `[N, D]`, not normalised, of tokens `[N, L]`."""
        return self.text.encode_text(tokens)


class Clip(TextTower):
    """A CLIP whose text tower is the model itself, as OpenAI's."""

    def __init__(self, visual: nn.Module, config: TextConfig, embedding_dim: int, quick_gelu: bool) -> None:
        super().__init__(config, embedding_dim, quick_gelu)
        self.visual = visual
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def encode_image(self, images: Tensor) -> Tensor:
        """Features `[N, D]`, not normalised, of preprocessed images `[N, 3, H, W]`."""
        return self.visual(images)


def has_plain_names(state: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of what is built here, and not another program's."""
    return {"logit_scale", "visual.conv1.weight"} <= state.keys()


def build_plain_clip(
    model: Mapping[str, Any], preprocessing: Mapping[str, Any], state: Mapping[str, Tensor]
) -> CustomTextClip | Clip:
    """A CLIP on the CPU, in float32, that is to be given weights.

    Args:
        model: what `model_cfg` of an `open_clip_config.json` holds, for which `parse_towers` gives something.
        preprocessing: what its `preprocess_cfg` holds.
        state: the weights, of which only the number counts here.

    Raises:
        ArithmeticError, AssertionError, RuntimeError, TypeError, ValueError: for a config that is none, or of a far
            larger network.
    """
    towers = parse_towers(model)
    assert towers is not None
    with Unfilled(state):
        clip: CustomTextClip | Clip = _build(model, *towers)
    said = {key: value for key, value in preprocessing.items() if key in PREPROCESSING and value is not None}
    setattr(clip.visual, "preprocess_cfg", {**PREPROCESSING, **said, "size": clip.visual.image_size})  # noqa: B010
    return clip


def as_named_in(clip: CustomTextClip | Clip, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of a model whose text tower may be a module of its own, or not, as in the file."""
    bare = {name.removeprefix(TEXT): value for name, value in state.items()}
    if not isinstance(clip, CustomTextClip):
        return bare
    return {name if name.startswith(SHARED) else f"{TEXT}{name}": value for name, value in bare.items()}


def new_clip(model: Mapping[str, Any]) -> nn.Module:
    """A CLIP of a config's `model_cfg` that is yet to be given its weights, with OpenAI's preprocessing.

    Raises:
        ValueError: for a config that asks for what isn't built here.
    """
    towers = parse_towers(model)
    if towers is None:
        raise ValueError(f"model_cfg: expected one of OpenAI's architectures, got {dict(model)}")
    clip = _build(model, *towers)
    setattr(clip.visual, "preprocess_cfg", {**PREPROCESSING, "size": clip.visual.image_size})  # noqa: B010
    return clip


def parse_towers(model: Mapping[str, Any]) -> tuple[TextConfig, TransformerConfig | ResNetConfig] | None:
    """The text's and the images' part of a config's `model_cfg`; None where it asks for what isn't built here."""
    flags = [model.get(key, False) for key in ("custom_text", "quick_gelu")]
    if not (model.keys() <= MODEL_KEYS and all(type(flag) is bool for flag in flags)):
        return None
    text, image = _text_config(model), _image_config(model)
    if type(model["embed_dim"]) is not int or text is None or text.pool_type not in TEXT_POOLS or image is None:
        return None
    return text, image


def _text_config(model: Mapping[str, Any]) -> TextConfig | None:
    text = model["text_cfg"]
    if not isinstance(text, dict):
        return None
    return _parse(TextConfig, {key: value for key, value in text.items() if key not in TOKENIZER_KEYS})


def _image_config(model: Mapping[str, Any]) -> TransformerConfig | ResNetConfig | None:
    vision = model["vision_cfg"]
    if not isinstance(vision, dict):
        return None
    if isinstance(vision.get("layers"), list):
        return _parse(ResNetConfig, {key: value for key, value in vision.items() if key != "patch_size"})
    return _parse(TransformerConfig, vision)


def _parse(kind: type[Known], values: Mapping[str, Any]) -> Known | None:
    """A config of values of the types of its defaults; None where there are others."""
    types = {field.name: _types_of(field) for field in fields(kind)}
    return kind(**values) if all(type(value) in types.get(key, ()) for key, value in values.items()) else None


def _types_of(field: Field[Any]) -> tuple[type, ...]:
    """Types of JSON that a config's field may have; 4.0 may be written as 4."""
    if field.default is MISSING:
        return (list,)
    return (int, float) if isinstance(field.default, float) else (type(field.default),)


def _build(model: Mapping[str, Any], text: TextConfig, image: TransformerConfig | ResNetConfig) -> Any:
    size, quick_gelu = model["embed_dim"], model.get("quick_gelu", False)
    visual = (
        ModifiedResNet(image, size) if isinstance(image, ResNetConfig) else VisionTransformer(image, size, quick_gelu)
    )
    if model.get("custom_text", False):
        return CustomTextClip(visual, TextTower(text, size, quick_gelu))
    return Clip(visual, text, size, quick_gelu)
