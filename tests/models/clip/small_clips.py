"""Folders with small CLIPs of the architectures that take their text tower or tokenizer from transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import nn

SPECIAL_TOKENS = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "pad_token": "<pad>",
    "sep_token": "</s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
}
SMALL_VISION = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
SMALL_RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}


def save_tokenizer(folder: Path, style: str = "roberta") -> None:
    """Write a byte-level tokenizer of 260 tokens that knows every language.

    Args:
        folder: made where it is missing.
        style: what the tokenizer adds to a text. `roberta` (NLLB is alike): `<s> text </s>`, padded with `<pad>`;
            `siglip`: `text </s>`, padded with `</s>`; `bert`: as `roberta`, with the padding as token 0.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<s>", "</s>", "<unk>"] if style == "bert" else ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = {token: index for index, token in enumerate([*names, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>" if style == "siglip" else "<s> $A </s>",
        special_tokens=[(name, vocabulary[name]) for name in ("<s>", "</s>")],
    )
    specials = {**SPECIAL_TOKENS, **({"pad_token": "</s>"} if style == "siglip" else {})}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **specials).save_pretrained(folder)


def save_clip(
    folder: Path, model_config: Mapping[str, Any], text_config: Any = None, preprocess: Mapping[str, Any] | None = None
) -> nn.Module:
    """Write a folder with a CLIP of random weights in half precision, and return the model with the same weights.

    Args:
        folder: where to.
        model_config: open_clip's.
        text_config: the transformers config of its text tower, which the folder then holds.
        preprocess: open_clip's `preprocess_cfg`.
    """
    from text2latent.models.clip.encoder import save_hub_folder

    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": deepcopy(dict(model_config)), "preprocess_cfg": dict(preprocess or {})}
    if text_config is not None:
        text_config.save_pretrained(folder)
    torch.manual_seed(0)
    model = build(config["model_cfg"], folder if text_config is not None else None)
    if hasattr(model, "text_decoder"):  # open_clip leaves this one as the memory was
        torch.nn.init.normal_(model.text_decoder.text_projection, std=0.02)
    save_hub_folder(model, config, folder)
    for parameter in model.parameters():
        parameter.data = parameter.data.half().float()
    return model.eval()


def build(model_config: Mapping[str, Any], text_folder: Path | None) -> nn.Module:
    arguments = deepcopy(dict(model_config))
    text = arguments["text_cfg"]
    if text_folder is not None:
        text |= {"hf_model_name": str(text_folder), "hf_model_pretrained": False}
    custom_text = arguments.pop("custom_text", False) or text_folder is not None
    if "multimodal_cfg" in arguments:
        return open_clip.CoCa(**arguments)
    return (open_clip.CustomTextCLIP if custom_text else open_clip.CLIP)(**arguments)


def small(name: str, **text: Any) -> dict[str, Any]:
    """open_clip's config of a model, with towers of a few channels; `text` replaces values of its text tower."""
    config = open_clip.get_model_config(name)
    vision = config["vision_cfg"]
    if "timm_model_name" in vision:
        config["vision_cfg"] = {**vision, "image_size": 32, "timm_model_name": "test_vit"}
    else:
        config["vision_cfg"] = {**vision, **(SMALL_RESNET if isinstance(vision["layers"], list) else SMALL_VISION)}
    config["text_cfg"] = {**config["text_cfg"], **text}
    if "multimodal_cfg" in config:
        config["multimodal_cfg"] |= {"width": 64, "heads": 2, "layers": 1}
    config["embed_dim"] = 64
    return json.loads(json.dumps(config))


def xlm_roberta_config() -> Any:
    """A small text model as that of `xlm-roberta-base-ViT-B-32`."""
    from transformers import XLMRobertaConfig

    return XLMRobertaConfig(
        vocab_size=260, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )  # fmt: skip


def nllb_config() -> Any:
    """A small text model as that of `nllb-clip-base`."""
    from transformers import M2M100Config

    return M2M100Config(
        vocab_size=260, d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
    )  # fmt: skip


def mt5_config() -> Any:
    """A small text model as that of `mt5-base-ViT-B-32`; its padding is token 1 as the tokenizer's here."""
    from transformers import MT5Config

    return MT5Config(vocab_size=260, d_model=32, num_layers=2, num_heads=2, d_kv=16, d_ff=32, pad_token_id=1)
