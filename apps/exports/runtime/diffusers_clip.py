"""CLIP as a component of a diffusers pipeline."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin
from safetensors.torch import load_file, save_file
from torch import Tensor

from text2latent.common.prompt_text import check_prompt
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.clip.normalizing import normalizing, parse_normalization
from text2latent.models.clip.published import CONFIG_NAME
from text2latent.models.sources.identity import Identity, sha256_of

SMALL_FILES = ("*.json", "*.txt", "*.model")
"""Configs and tokenizers of open_clip's hub layout."""


class FolderClip(ModelMixin, ConfigMixin):  # type: ignore[misc]  # the two bases declare config_name differently
    """An open_clip model read from a folder in open_clip's hub layout.

    Args:
        folder: which it was read from.
    """

    def __init__(self, encoder: ClipEncoder, folder: Path) -> None:
        super().__init__()
        self.encoder, self.folder = encoder, folder
        self.identity = encoder.identity
        self.embedding_dim, self.context_length = encoder.embedding_dim, encoder.context_length

    @classmethod
    def from_pretrained(  # type: ignore[override]  # of diffusers' many options these concern a CLIP
        cls, source: str, torch_dtype: torch.dtype | None = None, variant: str | None = None, **_: Any
    ) -> FolderClip:
        """Load a folder with `open_clip_config.json` and `open_clip_model.safetensors`, as diffusers asks for it.

        Args:
            torch_dtype: of the weights; float32 unless given.
            variant: loads `open_clip_model.VARIANT.safetensors` instead.
        """
        from open_clip import create_model, get_tokenizer

        name, weights = f"local-dir:{source}", Path(source) / weights_name(variant)
        model = create_model(name, load_weights=False)
        model.load_state_dict(load_file(weights))
        config = Path(source) / CONFIG_NAME
        normalization = parse_normalization(json.loads(config.read_text(encoding="utf-8")), config)
        tokenizer = normalizing(get_tokenizer(name), normalization)
        encoder = ClipEncoder(model, tokenizer, Identity("CLIP", source, sha256_of(weights)))
        # diffusers' own `to` warns of every change of precision.
        return torch.nn.Module.to(cls(encoder, Path(source)), torch_dtype or torch.float32)

    def save_pretrained(  # type: ignore[override]  # likewise
        self, save_directory: str | Path, variant: str | None = None, **_: Any
    ) -> None:
        """Write such a folder, with the weights as they are."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        for file in {file for pattern in SMALL_FILES for file in self.folder.glob(pattern)}:
            if not (folder / file.name).exists():
                shutil.copyfile(file, folder / file.name)
        state = self.encoder.model.state_dict()
        contiguous = {key: value.clone(memory_format=torch.contiguous_format) for key, value in state.items()}
        save_file(contiguous, folder / weights_name(variant))

    def forward(self, texts: Sequence[str], normalized: bool = True) -> Tensor:
        """Embed texts that `check_prompt` has passed, see `ClipEncoder.encode_checked`."""
        return self.encoder.encode_checked(texts, normalized=normalized)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: float32 `[N, E]` of unit length, on the model's device.

        As all that embeds texts here, it calls the module, with the hooks by which accelerate offloads networks.

        Raises:
            UsageError: for a text that `check_prompt` refuses.
        """
        return self([check_prompt(text) for text in texts])

    def encode_checked(self, texts: Sequence[str], normalized: bool = True) -> Tensor:
        """As `encode_text`, for texts that `check_prompt` has passed; `normalized` is that of `ClipEncoder`."""
        return self(texts, normalized)

    def encode_image(self, images: Tensor, normalized: bool = True) -> Tensor:
        """Embed images `[N, 3, H, W]` in [-1, 1]: float32 `[N, E]`, on the model's device.

        Of unit length, or, without `normalized`, of the length that the model gives.
        """
        return self.encoder.encode_image(images, normalized=normalized)


def weights_name(variant: str | None) -> str:
    """Name of the weights file of a variant such as `fp16`, or of the plain one."""
    return f"open_clip_model.{variant}.safetensors" if variant else "open_clip_model.safetensors"
