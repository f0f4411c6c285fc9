"""Folders with small CLIPs of the transformers library, as its `save_pretrained` writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

TEXTS = ["A woman, with glasses!", "眼鏡の女性", "old man"]
TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
IMAGE = {**TOWER, "image_size": 32, "patch_size": 16}
VOCABULARY = 400


def save_tokenizer(folder: Path, style: str, **options: Any) -> Any:
    """Write a tokenizer of byte pairs, learned from `TEXTS`, and return it.

    Args:
        folder: where to.
        style: what is added to a text: `clip` adds a start and an end, which is the padding, too; `bert` a start and an
            end; `siglip` an end.
        options: more of the tokenizer's.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    learning = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(TEXTS * 3, learning)
    ends = [(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")]
    single = "$A </s>" if style == "siglip" else "<s> $A </s>"
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=ends)
    names = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "unk_token": "<unk>"}
    padding = "</s>" if style == "clip" else "<pad>"
    inputs = ["input_ids"] if style == "siglip" else ["input_ids", "attention_mask"]
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=padding, model_input_names=inputs, **names, **options
    )
    made.save_pretrained(folder)
    return made


def _text(**more: Any) -> dict[str, Any]:
    return {**TOWER, "vocab_size": VOCABULARY, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, **more}


def clip() -> Any:
    from transformers import CLIPConfig, CLIPModel

    text = _text(max_position_embeddings=20, pad_token_id=2)
    return CLIPModel(CLIPConfig(text_config=text, vision_config=IMAGE, projection_dim=24))


def siglip() -> Any:
    from transformers import SiglipConfig, SiglipModel

    return SiglipModel(SiglipConfig(text_config=_text(max_position_embeddings=16), vision_config=IMAGE))


def siglip2() -> Any:
    from transformers import Siglip2Config, Siglip2Model

    image = {**TOWER, "patch_size": 16, "num_patches": 16}
    return Siglip2Model(Siglip2Config(text_config=_text(max_position_embeddings=16), vision_config=image))


def chinese_clip() -> Any:
    from transformers import ChineseCLIPConfig, ChineseCLIPModel

    text = _text(max_position_embeddings=40)
    return ChineseCLIPModel(ChineseCLIPConfig(text_config=text, vision_config=IMAGE, projection_dim=24))


def altclip() -> Any:
    from transformers import AltCLIPConfig, AltCLIPModel

    text = _text(max_position_embeddings=40, project_dim=24)
    return AltCLIPModel(AltCLIPConfig(text_config=text, vision_config=IMAGE, projection_dim=24))


def metaclip2() -> Any:
    from transformers import MetaClip2Config, MetaClip2Model

    text = _text(max_position_embeddings=20)
    return MetaClip2Model(MetaClip2Config(text_config=text, vision_config=IMAGE, projection_dim=24))


def dual_encoder() -> Any:
    from transformers import RobertaConfig, VisionTextDualEncoderConfig, VisionTextDualEncoderModel, ViTConfig

    text = RobertaConfig(**_text(max_position_embeddings=42))
    config = VisionTextDualEncoderConfig.from_vision_text_configs(ViTConfig(**IMAGE), text, projection_dim=24)
    return VisionTextDualEncoderModel(config)


CROPPED = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
SQUEEZED = {"size": {"height": 32, "width": 32}}
KINDS: dict[str, tuple[Callable[[], Any], str, str, dict[str, Any]]] = {
    "clip": (clip, "clip", "CLIPImageProcessor", CROPPED),
    "siglip": (siglip, "siglip", "SiglipImageProcessor", SQUEEZED),
    "siglip2": (siglip2, "bert", "Siglip2ImageProcessor", {"patch_size": 16, "max_num_patches": 16}),
    "chinese_clip": (chinese_clip, "bert", "ChineseCLIPImageProcessor", {**SQUEEZED, "do_center_crop": False}),
    "altclip": (altclip, "bert", "CLIPImageProcessor", CROPPED),
    "metaclip_2": (metaclip2, "bert", "CLIPImageProcessor", CROPPED),
    "vision-text-dual-encoder": (dual_encoder, "bert", "ViTImageProcessor", SQUEEZED),
}
"""By `model_type`: the model, its tokenizer's style, its image processor, and what that one is told."""


def save(folder: Path, kind: str) -> Any:
    """Write a small CLIP of a `model_type` with random weights, none of them as it starts, and return the model."""
    import transformers

    build, style, processor, options = KINDS[kind]
    torch.manual_seed(0)
    model = build().eval()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    save_tokenizer(folder, style)
    getattr(transformers, processor)(**options).save_pretrained(folder)
    return model


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
