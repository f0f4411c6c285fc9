"""A head on another CLIP's embeddings, which makes a CLIP of its own of them without storing that one's weights again.

A folder of such a CLIP holds one file, `head.safetensors`: the tensors of two `EmbeddingHead`s, one for images and one
for texts, and in its metadata the CLIP that they stand on, by name and by the SHA-256 of its weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from text2latent.common.errors import InputError, one_line
from text2latent.common.files import replacing

HEAD_NAME = "head.safetensors"
MODALITIES = ("image", "text")
BASE, BASE_SHA256 = "base", "base_sha256"


class EmbeddingHead(nn.Module):
    """A function of an embedding's direction: a linear map, a constant, and Fourier features that are mapped likewise.

    Fourier features are cosines of random projections (Rahimi and Recht, "Random features for large-scale kernel
    machines", 2007): what is near stays near, while far embeddings come to have nothing in common.

    Args:
        embedding_dim: D, channels that come out.
        base_dim: E, channels that go in.
        num_features: K, Fourier features; 0 for none.
    """

    def __init__(self, embedding_dim: int, base_dim: int, num_features: int) -> None:
        super().__init__()
        self.linear = nn.Parameter(torch.zeros(embedding_dim, base_dim))
        self.constant = nn.Parameter(torch.zeros(embedding_dim))
        self.features = nn.Parameter(torch.zeros(embedding_dim, num_features))
        self.frequencies = nn.Parameter(torch.zeros(num_features, base_dim))
        self.phases = nn.Parameter(torch.zeros(num_features))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings `[N, E]` of any length above zero -> `[N, D]`, not normalised, float32."""
        unit = normalize(embeddings.float(), dim=-1)
        waves = math.sqrt(2) * torch.cos(unit @ self.frequencies.T + self.phases)
        return unit @ self.linear.T + self.constant + waves @ self.features.T


class HeadedClip(nn.Module):
    """An open_clip model whose features go through a head; it is used as open_clip's own are.

    Args:
        base: an open_clip model.
        image_head: of its image features.
        text_head: of its text features.
    """

    def __init__(self, base: nn.Module, image_head: EmbeddingHead, text_head: EmbeddingHead) -> None:
        super().__init__()
        self.base: Any = base
        self.image_head, self.text_head = image_head, text_head

    @property
    def visual(self) -> Any:
        """Image tower of the base, with its preprocessing."""
        return self.base.visual

    @property
    def logit_scale(self) -> Tensor:
        """Logarithm of what cosines are multiplied with."""
        return self.base.logit_scale

    @property
    def token_embedding(self) -> nn.Embedding:
        """Table of the base's token embeddings, `[vocabulary, width]`."""
        return getattr(self.base, "text", self.base).token_embedding

    def encode_image(self, images: Tensor) -> Tensor:
        """Features `[N, D]` of preprocessed images `[N, 3, H, W]`."""
        return self.image_head(self.base.encode_image(images))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Features `[N, D]` of tokens `[N, L]`."""
        return self.text_head(self.base.encode_text(tokens))


def read_base(path: Path) -> tuple[str, str]:
    """Name and SHA-256 of the CLIP that the heads in a file stand on.

    Raises:
        InputError: when the file is damaged or doesn't say.
    """
    metadata = _open(path)[0]
    if not (metadata.get(BASE) and metadata.get(BASE_SHA256)):
        raise InputError(f"{path}: expected {BASE} and {BASE_SHA256} in its metadata, got {sorted(metadata)}")
    return metadata[BASE], metadata[BASE_SHA256]


def read_heads(path: Path, base_dim: int) -> tuple[EmbeddingHead, EmbeddingHead]:
    """The heads of images and of texts, in float32.

    Args:
        path: written by `save_heads`.
        base_dim: E, channels of the base's embeddings.

    Raises:
        InputError: when the file is damaged or its tensors don't fit together or the base.
    """
    tensors = _open(path)[1]
    heads = [_head(path, modality, tensors, base_dim) for modality in MODALITIES]
    if len({len(head.constant) for head in heads}) > 1:
        raise InputError(f"{path}: expected as many channels for images as for texts")
    return heads[0], heads[1]


def save_heads(path: Path, heads: Mapping[str, EmbeddingHead], base: str, base_sha256: str) -> None:
    """Write the heads of `MODALITIES` in half precision; the file appears complete or not at all."""
    from safetensors.torch import save_file

    tensors = {
        f"{modality}.{name}": value.half().contiguous()
        for modality in MODALITIES
        for name, value in heads[modality].state_dict().items()
    }
    with replacing(path) as partial:
        save_file(tensors, partial, {BASE: base, BASE_SHA256: base_sha256})


def _open(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name).float() for name in list(file.keys())}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: expected a complete safetensors file, got: {one_line(error)}") from error


def _head(path: Path, modality: str, tensors: Mapping[str, Tensor], base_dim: int) -> EmbeddingHead:
    state = {name.removeprefix(f"{modality}."): value for name, value in tensors.items() if name.startswith(modality)}
    try:
        head = EmbeddingHead(len(state["constant"]), base_dim, len(state["phases"]))
        head.load_state_dict(state)
    except (KeyError, RuntimeError, TypeError) as error:
        raise InputError(
            f"{path}: expected the tensors of a head of {base_dim} channels, got: {one_line(error)}"
        ) from error
    if not all(value.isfinite().all() for value in state.values()):
        raise InputError(f"{path}: expected finite numbers, got NaN or infinity")
    return head
