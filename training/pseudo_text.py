"""Pseudo-text: image embeddings made to look like text embeddings, so that a prior trains without captions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from text2latent.common.errors import UsageError


class PseudoText:
    """Moves image embeddings by noise and puts them back on the unit sphere (clip2latent, arXiv:2210.02347, sec. 3.2).

    The noise teaches the prior to bear the gap between images and texts. How much of it is right depends on the text: a
    caption fixes more of an image than a word does. With random noise a prior learns all of them, and sees from a
    condition itself how vague it is: noise spreads over all channels alike, images vary in few.

    Args:
        noise_scale: norm of the noise relative to the embedding's.
        random_noise: each sample's noise scale is uniform in [0, noise_scale] instead of noise_scale itself.

    Raises:
        UsageError: for a scale out of range.
    """

    def __init__(self, noise_scale: float = 2.0, random_noise: bool = True) -> None:
        if not (noise_scale >= 0 and math.isfinite(noise_scale)):
            raise UsageError(f"noise_scale: expected a number >= 0, got {noise_scale}")
        self.noise_scale, self.random_noise = noise_scale, random_noise

    def __call__(self, embeddings: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Pseudo-text of images.

        Args:
            embeddings: `[N, E]`, L2-normalised.
            generator: source of all randomness, on the embeddings' device; None means torch's global one.

        Returns:
            `[N, E]`, L2-normalised.
        """
        noise = F.normalize(torch.randn(embeddings.shape, generator=generator, device=embeddings.device), dim=1)
        if self.random_noise:
            noise = noise * torch.rand(len(noise), 1, generator=generator, device=noise.device)
        return F.normalize(embeddings + self.noise_scale * noise, dim=1)
