"""Random cutouts: what CLIP sees of an image during optimisation, so that no single view can be played to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from text2latent.common.errors import UsageError
from text2latent.inference.optimization.augmentations import Augmentation
from text2latent.inference.settings import require_count

SEED_RANGE = 2**31


@dataclass(frozen=True)
class Cutouts:
    """How images are cut.

    Attributes:
        min_size, max_size: smallest and largest side of a cutout, as shares of the image's side.
        mean_size, std_size: sizes are normal with these, clipped to the bounds (Big Sleep: 0.8 and 0.3, in 0.5 to
            0.95); a mean of None has them uniform.
        center_bias: 0 has places uniform; above, they are normal around the centre, of `1 / center_bias` of the room
            that there is as standard deviation, and uniform again where that leads out of the image.
        jitter: standard deviation of random brightness and contrast, in units of the images' range [-1, 1].
        augmentations: applied to each cutout for itself, in order.

    Raises:
        UsageError: for a value out of range.
    """

    count: int = 4
    min_size: float = 0.8
    max_size: float = 1.0
    mean_size: float | None = None
    std_size: float = 0.3
    center_bias: float = 0.0
    jitter: float = 0.1
    augmentations: tuple[Augmentation, ...] = ()

    def __post_init__(self) -> None:
        require_count("num_cutouts", self.count)
        for name in ("min_size", "max_size", "mean_size"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise UsageError(f"cutouts.{name}: expected a number in (0, 1], got {value}")
        if self.min_size > self.max_size:
            raise UsageError(f"cutouts.min_size: expected at most max_size {self.max_size}, got {self.min_size}")
        for name in ("std_size", "center_bias", "jitter"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise UsageError(f"cutouts.{name}: expected a finite number >= 0, got {value}")


@dataclass(frozen=True)
class Views:
    """Random numbers of V cutouts, of one image or of several.

    Attributes:
        image: `[V]`, number of the image that each is of.
        affine: `[V, 2, 3]`, from places of the cutout to places of the image, both in [-1, 1].
        tone: `[V, 2]`, brightness and contrast.
        seeds: `[V]`, of each one's augmentations.
    """

    image: Tensor
    affine: Tensor
    tone: Tensor
    seeds: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def split(self, size: int) -> list[Views]:
        columns = (part.split(size) for part in (self.image, self.affine, self.tone, self.seeds))
        return [Views(*parts) for parts in zip(*columns, strict=True)]


def draw_views(cutouts: Cutouts, generators: Sequence[torch.Generator], device: torch.device) -> Views:
    """Random cutouts of N images, those of an image side by side.

    Args:
        generators: N on the CPU, so that an image's cutouts don't depend on the others nor on the device.
    """
    drawn = [_draw(cutouts, generator) for generator in generators]
    image = torch.arange(len(generators)).repeat_interleave(cutouts.count)
    affine, tone, seeds = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    return Views(image.to(device), affine.to(device), tone.to(device), seeds)


def _draw(cutouts: Cutouts, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    count = cutouts.count
    numbers = torch.rand(count, 4, generator=generator)
    tone = cutouts.jitter * torch.randn(count, 2, generator=generator)
    size = cutouts.min_size + (cutouts.max_size - cutouts.min_size) * numbers[:, 0]
    if cutouts.mean_size is not None:
        size = cutouts.mean_size + cutouts.std_size * torch.randn(count, generator=generator)
        size = size.clamp(cutouts.min_size, cutouts.max_size)
    place = 2 * numbers[:, 1:3] - 1
    if cutouts.center_bias:
        centered = torch.randn(count, 2, generator=generator) / cutouts.center_bias
        place = torch.where((centered.abs() <= 1).all(dim=1, keepdim=True), centered, place)
    seeds = torch.zeros(count, dtype=torch.int64)
    if cutouts.augmentations:
        seeds = torch.randint(SEED_RANGE, (count,), generator=generator)
    mirror = torch.where(numbers[:, 3] < 0.5, -1.0, 1.0)
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0], affine[:, 1, 1], affine[:, :, 2] = size * mirror, size, place * (1 - size)[:, None]
    return affine, tone, seeds


def cut(images: Tensor, views: Views, augmentations: Sequence[Augmentation] = ()) -> Tensor:
    """Cutouts `[V, 3, H, W]` of images `[N, 3, H, W]` in [-1, 1]; half of them mirrored; differentiable."""
    grid = F.affine_grid(views.affine, [len(views), *images.shape[1:]], align_corners=False)
    # Summed in a fixed order going backward, unlike `images[views.image]`, so that a seed gives the same again.
    pieces = F.grid_sample(images.index_select(0, views.image), grid, padding_mode="border", align_corners=False)
    brightness, contrast = views.tone.T[:, :, None, None, None]
    toned = pieces * (1 + contrast) + brightness
    if not augmentations:
        return toned
    return torch.cat([_augment(toned[i : i + 1], augmentations, int(views.seeds[i])) for i in range(len(views))])


def _augment(piece: Tensor, augmentations: Sequence[Augmentation], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    for augmentation in augmentations:
        piece = augmentation(piece, generator)
    return piece
