"""How unlike a picture an image is: in pixels at several scales, in structure, and to a network."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torchmetrics.functional.image import structural_similarity_index_measure

from text2latent.common.errors import UsageError
from text2latent.inference.projection.features import ImageFeatures, feature_distance

SCALES = 4
"""Sizes at which pixels are compared: the image's, and each half as large as the one before."""
SMALLEST_SIDE = 16
"""Pixels of the shorter side below which images aren't halved any more; SSIM's window has 11."""
RANGE = 2.0
"""Of images in [-1, 1]."""


@dataclass(frozen=True)
class LossWeights:
    """Weights of what a loss is made of; 0 leaves a part out.

    Attributes:
        pixels: of the mean squared difference, averaged over scales.
        structure: of 1 - SSIM (Wang et al. 2004), at half the size, where there are halves: a quarter of the time.
        features: of the distance to a network, see `projection.features`.

    Raises:
        UsageError: for a weight that is negative or not finite, or when all are 0.
    """

    pixels: float = 1.0
    structure: float = 0.2
    features: float = 1.0

    def __post_init__(self) -> None:
        weights = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, weight in weights.items():
            if not (weight >= 0 and math.isfinite(weight)):
                raise UsageError(f"weights.{name}: expected a finite number >= 0, got {weight}")
        if not any(weights.values()):
            raise UsageError("weights: expected at least one above 0, got none")


class PictureObjective:
    """What images lose that aren't the given pictures; an `Objective`.

    Args:
        pictures: `[N, C, H, W]` in [-1, 1], the size of the images.
        weights: of the loss's parts.
        features: what a network sees; None leaves that part out.
    """

    def __init__(self, pictures: Tensor, weights: LossWeights, features: ImageFeatures | None = None) -> None:
        self.weights, self.features = weights, features if weights.features else None
        self._scales = scales_of(pictures)
        with torch.no_grad():
            self._seen = None if self.features is None else self.features(pictures)

    @property
    def pictures(self) -> Tensor:
        return self._scales[0]

    def of(self, rows: slice) -> PictureObjective:
        """The same for some of the pictures."""
        chosen = copy.copy(self)
        chosen._scales = [scale[rows] for scale in self._scales]
        chosen._seen = None if self._seen is None else [layer[rows] for layer in self._seen]
        return chosen

    def losses(self, images: Tensor) -> Tensor:
        """Losses `[M]` of images `[M, C, H, W]`, M being N or, of one picture, any number; differentiable."""
        weights, total, scales = self.weights, images.new_zeros(len(images)), scales_of(images)
        if weights.pixels:
            pairs = zip(scales, self._scales, strict=True)
            squares = [(image - picture).square().mean(dim=(1, 2, 3)) for image, picture in pairs]
            total = total + weights.pixels * torch.stack(squares).mean(dim=0)
        if weights.structure:
            total = total + weights.structure * (1 - similarity(scales[:2][-1], self._scales[:2][-1]))
        if self.features is not None and self._seen is not None:
            total = total + weights.features * feature_distance(self.features(images), self._seen)
        return total

    def differentiate(self, images: Tensor, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
        """See `Objective`; nothing is random."""
        leaf = images.requires_grad_()
        losses = self.losses(leaf)
        return losses.detach(), torch.autograd.grad(losses.sum(), leaf)[0]


def scales_of(images: Tensor) -> list[Tensor]:
    """Images `[N, C, H, W]` and up to `SCALES - 1` smaller ones, each by halves."""
    scales = [images]
    while len(scales) < SCALES and min(scales[-1].shape[2:]) >= 2 * SMALLEST_SIDE:
        scales.append(avg_pool2d(scales[-1], 2))
    return scales


def similarity(images: Tensor, pictures: Tensor) -> Tensor:
    """Structural similarity (SSIM) `[N]`, at most 1, of images in [-1, 1]; differentiable."""
    pictures = pictures.expand_as(images)
    found = structural_similarity_index_measure(images, pictures, reduction="none", data_range=RANGE)
    assert isinstance(found, Tensor)
    return found.reshape(len(images))


def signal_to_noise(images: Tensor, pictures: Tensor) -> Tensor:
    """Peak signal-to-noise ratio `[N]` in dB of images in [-1, 1]; infinite where they are equal."""
    errors = (images - pictures).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(RANGE**2 / errors)
