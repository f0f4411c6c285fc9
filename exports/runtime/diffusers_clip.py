"""CLIP as a component of a diffusers pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from text2latent.models.clip import ClipEncoder
from text2latent.models.identity import Identity, sha256_of


class FolderClip(ClipEncoder):
    """An open_clip model read from a folder in open_clip's hub layout."""

    @classmethod
    def from_pretrained(cls, source: str, torch_dtype: torch.dtype | None = None, **_: Any) -> FolderClip:
        """Load a folder with `open_clip_config.json` and `open_clip_model.safetensors`, as diffusers asks for it.

        Args:
            source: the folder.
            torch_dtype: of the weights; float32 unless given.
        """
        from open_clip import create_model_from_pretrained, get_tokenizer

        name = f"local-dir:{source}"
        digest = sha256_of(Path(source) / "open_clip_model.safetensors")
        model = create_model_from_pretrained(name, return_transform=False)
        return cls(model, get_tokenizer(name), Identity("CLIP", source, digest)).to(torch_dtype or torch.float32)
