"""From a CLIP's files to its network and its tokenizer; no code of a file or repository is run."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from torch import Tensor, nn

from text2latent.common.errors import InputError, one_line
from text2latent.common.extras import require_extra
from text2latent.models.clip.clip import as_named_in, build_plain_clip, has_plain_names, parse_towers
from text2latent.models.clip.files import CONFIG_NAME, TEXT_CONFIG_NAME, WEIGHTS_NAME, Source
from text2latent.models.clip.head import HeadedClip, read_heads
from text2latent.models.clip.languages import LanguageTokenizer, has_languages
from text2latent.models.clip.normalizing import normalizing
from text2latent.models.clip.shapes import fitting_hint, refuse_other_shapes
from text2latent.models.clip.tokenizer import CONTEXT_LENGTH, BytePairTokenizer, find_vocabulary
from text2latent.models.clip.weights import read_weights

UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    UnpicklingError,
    ValueError,
)
"""What open_clip, transformers and torch raise on a config or weights that they cannot make sense of."""
BIG_VISION = ".npz"
"""Suffix of Google's own files of SigLIP, which open_clip reads."""
USUAL_MODEL = "ViT-B-32"
"""A model whose tokenizer is OpenAI's."""
LOCAL_TEXT_MODEL = (
    f"without a network, give a folder with {CONFIG_NAME}, {WEIGHTS_NAME}, the tokenizer's files (tokenizer.json, "
    f"tokenizer_config.json) and the text model's {TEXT_CONFIG_NAME}"
)


def read_model(source: Source) -> nn.Module:
    """Build the model and load its weights as float32 on the CPU.

    Raises:
        InputError: when the config or the weights are damaged or do not belong together; positions of other images or
            longer texts than the model's are not resized.
    """
    _check_text_model(source)
    state = None if source.weights.suffix == BIG_VISION else read_weights(source.weights)
    is_plain = state is not None and has_plain_names(state) and parse_towers(source.model_config) is not None
    model = _build_plain(source, state or {}) if is_plain else _build_with_open_clip(source, state)
    if source.head is None:
        return model
    return HeadedClip(model, *read_heads(source.head, source.model_config["embed_dim"]))


def _build_plain(source: Source, state: Mapping[str, Tensor]) -> nn.Module:
    try:
        clip = build_plain_clip(source.model_config, source.preprocessing, state)
    except (ArithmeticError, AssertionError, RuntimeError, TypeError, ValueError) as error:
        told = f"expected weights that fit {_name_of(source)}, got: {one_line(error)}"
        raise InputError(f"{source.weights}: {told}{fitting_hint(state)}") from error
    found = as_named_in(clip, state)
    found["logit_scale"] = found["logit_scale"].reshape(clip.logit_scale.shape)
    refuse_other_shapes(_shapes(clip), found, source.weights, _name_of(source))
    clip.load_state_dict(found)
    return clip


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _build_with_open_clip(source: Source, state: dict[str, Tensor] | None) -> nn.Module:
    from text2latent.models.clip.saving import build_clip

    try:
        model = build_clip({"model_cfg": _with_text_model(source), "preprocess_cfg": source.preprocessing})
        if state is None:
            _load_big_vision(model, source.weights)
        else:
            _load(model, state, source)
    except UNREADABLE as error:
        raise InputError(
            f"{source.weights}: expected weights that fit the model's config, got: {one_line(error)}"
        ) from error
    return model


def _with_text_model(source: Source) -> dict[str, Any]:
    """A source's config, with its text model's own folder in the place of the name of one, and no other weights."""
    config = deepcopy(source.model_config)
    text, vision = config["text_cfg"], config["vision_cfg"]
    if "hf_model_name" in text:
        name = text["hf_model_name"] if source.text_folder is None else str(source.text_folder)
        config["text_cfg"] = {**text, "hf_model_name": name, "hf_model_pretrained": False}
    if "timm_model_name" in vision:
        config["vision_cfg"] = {**vision, "timm_model_pretrained": False}
    return config


def _load_big_vision(model: nn.Module, path: Path) -> None:
    from open_clip.convert import load_big_vision_weights

    load_big_vision_weights(model, str(path))


def _load(model: Any, state: Mapping[str, Tensor], source: Source) -> None:
    """Give a model of open_clip its weights, under all names that open_clip knows for them."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    found = dict(convert_state_dict(model, dict(state)))
    if "positional_embedding" in found and not hasattr(model, "positional_embedding"):
        found = convert_to_custom_text_state_dict(found)
    for name in ("logit_scale", "logit_bias"):
        own = getattr(model, name, None)
        if own is not None and name in found:
            found[name] = found[name].reshape(own.shape)
    if getattr(model, "logit_bias", None) is not None and "logit_bias" not in found:
        found["logit_bias"] = found["logit_scale"].new_zeros(model.logit_bias.shape)
    refuse_other_shapes(_shapes(model), found, source.weights, _name_of(source))
    model.load_state_dict(found)


def _name_of(source: Source) -> str:
    return f"{source.config} (the model's config)" if source.config else source.model_name or "OpenAI's CLIP"


def read_tokenizer(source: Source) -> Any:
    """The model's own tokenizer, with its context length and what normalises its texts.

    Raises:
        InputError: when its files are missing or cannot be downloaded.
    """
    return normalizing(_read_plain_tokenizer(source), source.normalization)


def _read_plain_tokenizer(source: Source) -> Any:
    text = source.model_config["text_cfg"]
    length = text.get("context_length", CONTEXT_LENGTH)
    if source.tokenizer is not None:
        return _named_tokenizer(source, source.tokenizer, length)
    name, vocabulary = text.get("hf_tokenizer_name"), find_vocabulary()
    own_files = source.config is not None or not source.model_name
    if own_files and vocabulary and not (name or text.get("tokenizer_kwargs")):
        return BytePairTokenizer(vocabulary, length)

    from open_clip import get_tokenizer

    # A config may ask for a tokenizer whose repository brings code along; said here, the refusal comes last and wins.
    arguments = {"trust_remote_code": False} if name else {}
    try:
        found = get_tokenizer(source.model_name or USUAL_MODEL, context_length=length, **arguments)
    except (ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        where = source.weights.parent if source.is_in_folder else _hub_places()
        raise InputError(
            f"CLIP {source.identity.source!r}: looked for its tokenizer {name!r} in {where}, got: {one_line(error)}; "
            f"{LOCAL_TEXT_MODEL}"
        ) from error
    return LanguageTokenizer(found) if has_languages(found) else found


def _named_tokenizer(source: Source, name: str, context_length: int) -> Any:
    """A tokenizer of the transformers library that the user names."""
    require_extra(f"CLIP {source.identity.source!r}: its tokenizer", "clip", ["transformers"])
    from open_clip.tokenizer import HFTokenizer

    mode = source.model_config["text_cfg"].get("tokenizer_mode")
    try:
        return HFTokenizer(name, context_length, tokenizer_mode=mode, trust_remote_code=False)
    except UNREADABLE as error:
        raise InputError(f"--clip-args: tokenizer: {name}: cannot be read: {one_line(error)}") from error


def _check_text_model(source: Source) -> None:
    """Refuse a text tower of the transformers library that cannot be built, before open_clip blames the weights."""
    text = source.model_config["text_cfg"]
    if not ("hf_model_name" in text or "hf_tokenizer_name" in text):
        return
    require_extra(f"CLIP {source.identity.source!r}: its text model or tokenizer", "clip", ["transformers"])
    if "hf_model_name" in text:
        _check_text_config(source, str(source.text_folder or text["hf_model_name"]))


def _check_text_config(source: Source, name: str) -> None:
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(name, trust_remote_code=False)
    except UNREADABLE as error:
        raise InputError(
            f"CLIP {source.identity.source!r}: looked for the config of its text model {name!r} in {_hub_places()}, "
            f"got: {one_line(error)}; {LOCAL_TEXT_MODEL}"
        ) from error


def _hub_places() -> str:
    from huggingface_hub import constants

    return f"the cache {constants.HF_HUB_CACHE} and at {constants.ENDPOINT}"
