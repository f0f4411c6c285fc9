"""What projection found: latents, their images, and how like the pictures these are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from text2latent.inference.images import to_pil
from text2latent.inference.projection.loss import signal_to_noise, similarity
from text2latent.inference.settings import DEFAULT_BATCH_SIZE
from text2latent.models.generators.base import Generator


@dataclass(frozen=True)
class Projection:
    """N pictures as a generator draws them.

    Attributes:
        pictures: `[N, C, H, W]` in [-1, 1], as they were cropped.
        images: `[N, C, H, W]` in [-1, 1], of the latents.
        latents: `[N, num_ws, D]`.
        psnr: `[N]`, peak signal-to-noise ratio in dB, of images and pictures.
        ssim: `[N]`, their structural similarity, at most 1.
    """

    pictures: Tensor
    images: Tensor
    latents: Tensor
    psnr: Tensor
    ssim: Tensor

    def __len__(self) -> int:
        return len(self.latents)

    @property
    def pil_images(self) -> list[Image.Image]:
        return to_pil(self.images)


@torch.no_grad()
def draw_projection(generator: Generator, pictures: Tensor, latents: Tensor) -> Projection:
    """Draw latents `[N, num_ws, D]` and compare their images with pictures `[N, C, H, W]`."""
    images = torch.cat([generator.synthesize(batch) for batch in latents.split(DEFAULT_BATCH_SIZE)])
    return Projection(
        pictures, images, latents, signal_to_noise(images, pictures).cpu(), similarity(images, pictures).cpu()
    )
