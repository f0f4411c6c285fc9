"""A CLIP that the transformers library has built, used as open_clip's are; and its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

PADDED = ("siglip", "siglip2")
"""Kinds whose texts are always padded to the whole context, as in their training."""


class TransformersTokenizer:
    """Texts -> tokens, by a tokenizer of the transformers library.

    Args:
        tokenizer: the library's.
        context_length: L, tokens of a text with all that are added to it.
    """

    def __init__(self, tokenizer: Any, context_length: int) -> None:
        self.tokenizer, self.context_length = tokenizer, context_length

    def __call__(self, texts: Sequence[str], context_length: int | None = None) -> Tensor:
        """Tokens of texts, int64 `[N, L]`, padded; a text that is too long loses its end."""
        length = context_length or self.context_length
        options = {"padding": "max_length", "truncation": True, "max_length": length}
        found: Tensor = self.tokenizer(list(texts), return_tensors="pt", **options).input_ids
        return found


class TransformersClip(nn.Module):
    """A model of the transformers library, used as open_clip's are.

    Args:
        model: with `get_text_features` and `get_image_features`.
        preprocess_cfg: open_clip's of its images.
        tokenizer: the library's tokenizer of its texts.
        kind: its `model_type`.
    """

    def __init__(self, model: Any, preprocess_cfg: Mapping[str, Any], tokenizer: Any, kind: str) -> None:
        super().__init__()
        self.model, self.kind = model, kind
        self.visual = SimpleNamespace(preprocess_cfg=dict(preprocess_cfg))
        self.is_masked = "attention_mask" in tokenizer.model_input_names
        self.padding_token, self.end_token = tokenizer.pad_token_id, tokenizer.eos_token_id

    @property
    def logit_scale(self) -> Tensor:
        """Logarithm of what cosines are multiplied with."""
        scale: Tensor = self.model.logit_scale
        return scale

    def encode_image(self, images: Tensor) -> Tensor:
        """Features `[N, D]`, not normalised, of preprocessed images `[N, 3, H, W]`."""
        if self.kind == "siglip2":
            return _pooled(self.model.get_image_features(**to_patches(images, self.model.config.vision_config)))
        return _pooled(self.model.get_image_features(pixel_values=images))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Features `[N, D]`, not normalised, of tokens `[N, L]`; only up to the longest text where that is the same."""
        if not self.is_masked:
            return _pooled(self.model.get_text_features(input_ids=tokens))
        mask = self._mask(tokens)
        if self.kind not in PADDED and bool(mask[:, 0].all()):
            longest = int(mask.sum(dim=1).max())
            tokens, mask = tokens[:, :longest], mask[:, :longest]
        return _pooled(self.model.get_text_features(input_ids=tokens, attention_mask=mask))

    def _mask(self, tokens: Tensor) -> Tensor:
        """1 for a text's own tokens, 0 for padding; where that is the end-of-text token, the first is the text's."""
        padding = tokens.eq(self.padding_token)
        if self.padding_token == self.end_token:
            padding &= padding.cumsum(dim=1) > 1
        return (~padding).long()


def _pooled(features: Any) -> Tensor:
    """The features in what the library returns, which is a tensor in earlier versions of it."""
    found: Tensor = features if isinstance(features, Tensor) else features.pooler_output
    return found


def to_patches(images: Tensor, config: Any) -> dict[str, Tensor]:
    """What SigLIP 2 for images of any shape takes: patches `[N, P, 3 size^2]`, all of them seen, and their rows."""
    size = config.patch_size
    rows, columns = images.shape[-2] // size, images.shape[-1] // size
    cut = images.unflatten(3, (columns, size)).unflatten(2, (rows, size))
    patches = cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
    seen = torch.ones(patches.shape[:2], dtype=torch.int32, device=images.device)
    shapes = torch.tensor([[rows, columns]], device=images.device).expand(len(images), -1)
    return {"pixel_values": patches, "pixel_attention_mask": seen, "spatial_shapes": shapes}
