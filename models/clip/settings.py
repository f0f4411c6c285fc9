"""What a CLIP's embeddings depend on besides its weights, as its identity keeps it: a short text for each setting."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from text2latent.models.clip.clip import parse_towers
from text2latent.models.clip.normalizing import NORMALIZATION_KEY, NormalizingTokenizer
from text2latent.models.clip.preprocessing import Preprocessing

DIGITS = 12
NOT_OF_THE_NETWORK = (
    *("hf_tokenizer_name", "hf_model_name", "hf_model_pretrained", "timm_model_pretrained"),
    *("context_length", "tokenizer_kwargs", "tokenizer_mode"),
)
"""Keys of a config that only say where parts of it come from, or what settings of their own say."""
PROBES = ("A photo of 2 dogs, isn't it?", " ".join(["a very old red house by the sea"] * 64))
"""Texts whose tokens tell one tokenizer from another."""


def settings_of(preprocess: Preprocessing, tokenizer: Any, network: Mapping[str, str]) -> dict[str, str]:
    """The settings of a CLIP.

    Args:
        preprocess: of its images.
        tokenizer: of its texts.
        network: what its network does with the same weights, see `network_settings`.
    """
    tokens = tokenizer(list(PROBES))
    return {
        **network,
        **preprocessing_settings(preprocess),
        "context_length": str(tokens.shape[1]),
        "tokenizer": digest_of(tokens.tolist()),
        **({NORMALIZATION_KEY: tokenizer.normalization} if isinstance(tokenizer, NormalizingTokenizer) else {}),
    }


def preprocessing_settings(preprocess: Preprocessing) -> dict[str, str]:
    """Size, mean and deviation, interpolation and resize mode, with the fill colour where it is used."""
    fill = {"fill_color": str(preprocess.fill_color)} if preprocess.resize_mode == "longest" else {}
    return {
        "size": _numbers(preprocess.size),
        "mean": _numbers(preprocess.mean),
        "std": _numbers(preprocess.std),
        "interpolation": "bilinear" if preprocess.interpolation == "bilinear" else "bicubic",
        "resize_mode": preprocess.resize_mode,
        **fill,
    }


def network_settings(model_config: Mapping[str, Any]) -> dict[str, str]:
    """Activation and, as a digest, all else that an open_clip config says of the network."""
    towers = parse_towers(model_config)
    told = _unusual(model_config) if towers is None else [_besides_defaults(asdict(one), one) for one in towers]
    activation = "QuickGELU" if model_config.get("quick_gelu") else "GELU"
    return {"activation": activation, "network": digest_of([model_config["embed_dim"], told])}


def _unusual(model_config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config says that isn't open_clip's default anyway, without names of files and of the tokenizer."""
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    kinds = {"text_cfg": CLIPTextCfg, "vision_cfg": CLIPVisionCfg}
    towers = {key: _besides_defaults(model_config[key], kind) for key, kind in kinds.items()}
    rest = {key: value for key, value in model_config.items() if key not in ("custom_text", "quick_gelu")}
    return {**rest, **towers}


def _besides_defaults(values: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """Values that differ from a dataclass's defaults, so that a later version with more of them changes nothing."""
    defaults = {field.name: field.default for field in fields(kind)}
    return {
        name: value
        for name, value in values.items()
        if name not in NOT_OF_THE_NETWORK and not (name in defaults and value == defaults[name])
    }


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def digest_of(told: Any) -> str:
    """The first digits of the SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:DIGITS]
