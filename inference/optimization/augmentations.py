"""Random changes to images through which gradients pass, each from its own random numbers, by torchvision's v2 kernels.

An augmentation takes `[N, 3, H, W]` in [-1, 1], its strength, and a generator on the CPU; all N images change alike.
What comes into view from beyond the image's edge is grey, 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from text2latent.common.errors import UsageError


def _uniform(count: int, generator: torch.Generator) -> list[float]:
    """`count` numbers in [-1, 1)."""
    return (2 * torch.rand(count, generator=generator) - 1).tolist()


def random_crop(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """A square of at least `1 - strength` of the sides, brought back to full size."""
    from torchvision.transforms.v2.functional import InterpolationMode, resized_crop

    height, width = images.shape[-2:]
    cut, top, left = ((number + 1) / 2 for number in _uniform(3, generator))
    rows, columns = (max(1, round(side * (1 - strength * cut))) for side in (height, width))
    place = round(top * (height - rows)), round(left * (width - columns))
    return resized_crop(images, *place, rows, columns, [height, width], InterpolationMode.BILINEAR, antialias=True)


def random_rotation(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """A turn by at most `strength` degrees."""
    from torchvision.transforms.v2.functional import InterpolationMode, rotate

    return rotate(images, strength * _uniform(1, generator)[0], InterpolationMode.BILINEAR)


def random_affine(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """A shift by at most `strength` of the sides, a scale of 1 +- `strength`, a shear of at most `strength` radians."""
    from torchvision.transforms.v2.functional import InterpolationMode, affine

    height, width = images.shape[-2:]
    across, down, scale, shear_x, shear_y = (strength * number for number in _uniform(5, generator))
    shift = [float(round(across * width)), float(round(down * height))]
    shear = [math.degrees(shear_x), math.degrees(shear_y)]
    return affine(images, 0.0, shift, 1 + scale, shear, InterpolationMode.BILINEAR)


def random_perspective(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Each corner moved inwards by at most `strength` of half a side."""
    from torchvision.transforms.v2.functional import InterpolationMode, perspective

    bottom, right = (side - 1 for side in images.shape[-2:])
    corners = [(0, 0), (right, 0), (right, bottom), (0, bottom)]
    inwards = torch.tensor([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * torch.rand(4, 2, generator=generator)
    moved = torch.tensor(corners) + strength / 2 * inwards * torch.tensor([right, bottom])
    return perspective(images, [list(corner) for corner in corners], moved.tolist(), InterpolationMode.BILINEAR)


def random_color(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation times 1 +- `strength` each."""
    from torchvision.transforms.v2.functional import adjust_brightness, adjust_contrast, adjust_saturation

    factors = [1 + strength * number for number in _uniform(3, generator)]
    pixels = (images + 1) / 2
    for adjust, factor in zip((adjust_brightness, adjust_contrast, adjust_saturation), factors, strict=True):
        pixels = adjust(pixels, factor)
    return 2 * pixels - 1


def random_noise(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Normal noise of standard deviation `strength`."""
    noise = torch.randn(images.shape[1:], generator=generator)
    return images + strength * noise.to(images)


@dataclass(frozen=True)
class Kind:
    """An augmentation, the strength that it has by default, and the bound of that."""

    apply: Callable[[Tensor, float, torch.Generator], Tensor]
    default: float
    at_most: float


KINDS = {
    "crop": Kind(random_crop, 0.2, 0.95),
    "rotation": Kind(random_rotation, 15.0, 180.0),
    "affine": Kind(random_affine, 0.1, 0.5),
    "perspective": Kind(random_perspective, 0.3, 0.9),
    "color": Kind(random_color, 0.2, 1.0),
    "noise": Kind(random_noise, 0.1, 2.0),
}


@dataclass(frozen=True)
class Augmentation:
    """A random change by name, and how strong it is; see the functions of this module for units."""

    name: str
    strength: float

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Changed images of the same shape, differentiable."""
        return KINDS[self.name].apply(images, self.strength, generator)


def parse_augmentations(texts: Iterable[str]) -> tuple[Augmentation, ...]:
    """Augmentations from `NAME` or `NAME:STRENGTH`, such as `rotation:30`, in the order in which they are applied.

    Raises:
        UsageError: for an unknown name, or a strength that is no number in its range.
    """
    return tuple(_parse(text) for text in texts)


def _parse(text: str) -> Augmentation:
    name, colon, given = text.strip().partition(":")
    if name not in KINDS:
        raise UsageError(f"augmentations: expected NAME or NAME:STRENGTH of {', '.join(KINDS)}; got {text[:60]!r}")
    kind = KINDS[name]
    try:
        strength = float(given) if colon else kind.default
    except ValueError:
        strength = math.nan
    if not 0 < strength <= kind.at_most:
        raise UsageError(f"augmentations: {name}: expected a strength > 0 and <= {kind.at_most:g}, got {given[:60]!r}")
    return Augmentation(name, strength)
