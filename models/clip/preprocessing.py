"""CLIP's image preprocessing on tensors, equal to what open_clip does to a PIL image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from text2latent.common.errors import InputError

RESIZE_MODES = ("shortest", "longest", "squash")
PATCHES = "patches"
"""Resize mode of networks that take images of any shape: to as many patches as there may be, at the image's shape."""
INTERPOLATIONS = ("bicubic", "bilinear", "random")
WHITE = 255


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop or pad, and normalise images, as `open_clip.image_transform(..., is_train=False)` does.

    PIL resizes rows, then columns, and clips and rounds to 8 bits after each. Here the passes and the clipping are the
    same, but values stay floats, which keeps gradients. So the results differ by the two roundings: half a grey level
    of 255 from the second, and at most 0.82 from the first (half a level times the sum of the absolute weights of a
    bicubic kernel): 1.32 together, in each resize and interpolation mode, and measured at most 1.06. Where no resize is
    needed they are equal. Pillow 13 takes columns first for some images taller than wide; that shows only where an
    overshoot is clipped: up to 18 levels in white noise, and never in square images.

    Attributes:
        size: height and width that the network takes; for `patches`, the most patches and a patch's pixels per side.
        mean: per channel, subtracted from values in [0, 1].
        std: per channel, divided by after that.
        interpolation: `bicubic`, `bilinear`, or `random` (open_clip takes bicubic for it outside training).
        resize_mode: `shortest` edge to size, then crop; `longest` edge to size, then pad; `squash`; or `patches`.
        fill_color: grey level of the padding, 0 to 255.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill_color: int = 0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocessing:
        """Read open_clip's `preprocess_cfg`.

        Raises:
            InputError: for an interpolation or resize mode that open_clip does not know.
        """
        interpolation, resize_mode = config.get("interpolation", "bicubic"), config.get("resize_mode", "shortest")
        if interpolation not in INTERPOLATIONS:
            raise InputError(f"CLIP interpolation: expected one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}")
        if resize_mode not in (*RESIZE_MODES, PATCHES):
            raise InputError(f"CLIP resize_mode: expected one of {', '.join(RESIZE_MODES)}, got {resize_mode!r}")
        size = config["size"]
        return cls(
            size=(size, size) if isinstance(size, int) else (int(size[0]), int(size[-1])),
            mean=_per_channel(config["mean"]),
            std=_per_channel(config["std"]),
            interpolation=interpolation,
            resize_mode=resize_mode,
            fill_color=int(config.get("fill_color", 0)),
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Turn images `[N, 3, H, W]` in [-1, 1] into the network's input `[N, 3, *size]`; differentiable.

        With `patches`, whole patches as near to the image's shape as they come: see `patch_grid`.
        """
        pixels = self._fit(self._resize(images.add(1).div(2)))
        # Channel by channel, whose numbers are arguments of kernels: a tensor of them would be sent to the device.
        channels = zip(pixels.unbind(dim=1), self.mean, self.std, strict=True)
        return torch.stack([channel.sub(mean).div(std) for channel, mean, std in channels], dim=1)

    def _resize(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        target_height, target_width = self._target(height, width)
        mode = "bilinear" if self._is_bilinear() else "bicubic"
        for size in ((height, target_width), (target_height, target_width)):
            if size != tuple(pixels.shape[-2:]):
                pixels = interpolate(pixels, size, mode=mode, antialias=True).clamp(0, 1)
        return pixels

    def _is_bilinear(self) -> bool:
        """open_clip always takes bicubic for the shortest edge of a target that is not square."""
        oblong = self.size[0] != self.size[1]
        return self.interpolation == "bilinear" and not (self.resize_mode == "shortest" and oblong)

    def _target(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the resize, rounded as open_clip and torchvision round them."""
        if self.resize_mode == PATCHES:
            return patch_grid(height, width, *self.size)
        if self.resize_mode == "squash":
            return self.size
        if self.resize_mode == "shortest" and self.size[0] == self.size[1]:
            return _shortest_edge(height, width, self.size[0])
        ratios = height / self.size[0], width / self.size[1]
        ratio = max(ratios) if self.resize_mode == "longest" else min(ratios)
        return round(height / ratio), round(width / ratio)

    def _fit(self, pixels: Tensor) -> Tensor:
        """Pad what is too small on all sides alike, and cut out the middle of what is too large."""
        if self.resize_mode == PATCHES:
            return pixels
        height, width = self.size
        missing = [max(0, size - length) for size, length in zip(self.size, pixels.shape[-2:], strict=True)]
        if any(missing):
            sides = [side for size in reversed(missing) for side in (size // 2, (size + 1) // 2)]
            pixels = pad(pixels, sides, value=self.fill_color / WHITE)
        top, left = (round((length - size) / 2) for size, length in zip(self.size, pixels.shape[-2:], strict=True))
        return pixels[..., top : top + height, left : left + width]


def patch_grid(height: int, width: int, most: int, size: int) -> tuple[int, int]:
    """Height and width, of whole patches of `size` pixels, that an image is brought to which may have `most` of them.

    It is the largest scale, found by halving intervals down to 1e-5, at which the sides, rounded up to whole patches,
    have no more: Tschannen et al., "SigLIP 2" (arXiv:2502.14786), section 2.4.2, as the transformers library does it.
    """

    def at(scale: float) -> tuple[int, int]:
        rows, columns = (max(1, math.ceil(side * scale / size)) for side in (height, width))
        return rows * size, columns * size

    low, high = 1e-6, 100.0
    while high - low >= 1e-5:
        scale = (low + high) / 2
        rows, columns = at(scale)
        low, high = (scale, high) if rows * columns <= most * size**2 else (low, scale)
    return at(low)


def _per_channel(values: float | tuple[float, ...]) -> tuple[float, ...]:
    return (values,) * 3 if isinstance(values, (int, float)) else tuple(values)


def _shortest_edge(height: int, width: int, size: int) -> tuple[int, int]:
    longest = int(size * max(height, width) / min(height, width))
    return (size, longest) if height <= width else (longest, size)
