"""What images lose in a descent, with the gradient of that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from text2latent.inference.optimization.cutouts import Cutouts, Views, cut, draw_views
from text2latent.models.colours import to_rgb


class ImageEncoder(Protocol):
    """What optimisation needs of CLIP."""

    def encode_image(self, images: Tensor) -> Tensor:
        """Embeddings `[N, E]`, L2-normalised, of images `[N, C, H, W]` in [-1, 1]; differentiable."""


class Objective(Protocol):
    """What images `[N, C, H, W]` in [-1, 1] are to be like."""

    def differentiate(self, images: Tensor, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
        """Losses `[N]` of images, detached, and the gradient `[N, C, H, W]` of their sum.

        Args:
            images: cut off from what made them.
            generators: one on the CPU per image, for what is random.
        """


class ClipObjective:
    """`1 - product` of an embedding and a direction, on average over random cutouts.

    As in Big Sleep and VQGAN-CLIP (arXiv:2204.08583, section 2.2). Without cutouts gradients find pictures that please
    CLIP and show nothing.

    Args:
        clip: encodes images.
        direction: `[N, E]`, what each image's embedding is to have a large product with: the wanted embedding,
            L2-normalised, perhaps less what to avoid.
        cutouts: what CLIP sees.
        at_once: cutouts in CLIP at once; None takes all. It changes memory, not results.
    """

    def __init__(self, clip: ImageEncoder, direction: Tensor, cutouts: Cutouts, at_once: int | None = None) -> None:
        self.clip, self.direction, self.cutouts, self.at_once = clip, direction, cutouts, at_once

    def differentiate(self, images: Tensor, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
        """See `Objective`; one group of cutouts after the other is in memory."""
        views = draw_views(self.cutouts, generators, images.device)
        leaf = images.requires_grad_()
        losses = torch.ones(len(images), device=images.device)
        gradient = torch.zeros_like(images)
        for group in views.split(self.at_once or len(views)):
            lost = -self.see(leaf, group) / self.cutouts.count
            gradient += torch.autograd.grad(lost.sum(), leaf)[0]
            losses.index_add_(0, group.image, lost.detach())
        return losses, gradient

    def see(self, images: Tensor, views: Views) -> Tensor:
        """Products `[V]` of the embeddings of cutouts with their image's direction."""
        embeddings = self.clip.encode_image(cut(to_rgb(images), views, self.cutouts.augmentations))
        return (embeddings * self.direction[views.image]).sum(dim=-1)
