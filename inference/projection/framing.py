"""From a user's picture to what the generator draws pictures of: turned, cropped, and of its size and channels."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from text2latent.common.errors import InputError, UsageError, one_line
from text2latent.inference.images import on_white, read_picture
from text2latent.models.colours import MODES
from text2latent.models.generators.base import Generator

Box = tuple[int, int, int, int]
Aligner = Callable[[Image.Image], Image.Image]
CROP = "expected X,Y,WIDTH,HEIGHT in pixels of the picture"


@dataclass(frozen=True)
class Framing:
    """What part of a picture is taken.

    Attributes:
        crop: left, top, width and height in pixels; None takes the largest part in the middle of the generator's shape.
        aligner: brings a picture into the place that the generator knows, before it is cropped; None leaves it there.
    """

    crop: Box | None = None
    aligner: Aligner | None = None

    def read(self, path: str | Path, generator: Generator, flag: str = "PICTURE") -> Tensor:
        """A picture in a file as `frame` gives it; of an animation, its first.

        Raises:
            InputError: for a file that is no image, naming flag and file, or whatever the aligner makes of it.
        """
        return self.frame(read_picture(path, flag), generator, f"{flag}: {path}")

    def frame(self, picture: Image.Image, generator: Generator, name: str = "picture") -> Tensor:
        """A picture of any size and mode, `[C, H, W]` in [-1, 1] as the generator's images.

        Raises:
            InputError: when the crop lies outside or the aligner fails, naming the picture by `name`.
        """
        if self.aligner is not None:
            picture = _align(picture, self.aligner, name)
        height, width = generator.image_shape
        left, top, across, down = self.crop or _middle(picture.size, width / height)
        if left + across > picture.width or top + down > picture.height:
            size = f"{picture.width} x {picture.height}"
            raise InputError(f"{name}: --crop {left},{top},{across},{down} lies outside its {size} pixels")
        box = (left, top, left + across, top + down)
        mode = MODES[generator.image_channels]
        whole = picture.convert(mode) if "A" in mode else on_white(picture).convert(mode)
        levels = np.asarray(whole.resize((width, height), Image.Resampling.LANCZOS, box))
        return torch.from_numpy(np.atleast_3d(levels).copy()).permute(2, 0, 1).float() / 127.5 - 1


def check_tensor(picture: Tensor, generator: Generator) -> Tensor:
    """A picture that is a tensor already, `[C, H, W]` in [-1, 1].

    Raises:
        UsageError: for another shape, numbers out of range, or NaN.
    """
    shape = (generator.image_channels, *generator.image_shape)
    if tuple(picture.shape) != shape or not picture.is_floating_point():
        raise UsageError(f"image: expected floats {list(shape)}, got {picture.dtype} {list(picture.shape)}")
    if not picture.isfinite().all() or picture.abs().max() > 1:
        raise UsageError("image: expected numbers in [-1, 1], got NaN, infinity or numbers beyond")
    return picture.float()


def parse_crop(text: str | None) -> Box | None:
    """A box from `X,Y,WIDTH,HEIGHT`; None from None.

    Raises:
        UsageError: for anything else.
    """
    if text is None:
        return None
    try:
        left, top, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--crop: {CROP}, got {text[:60]!r}") from None
    if min(left, top) < 0 or min(width, height) < 1:
        raise UsageError(f"--crop: {CROP}, none negative and a size of at least 1, got {text[:60]!r}")
    return left, top, width, height


def load_aligner(path: str | None) -> Aligner | None:
    """A function of the user's from `my_package.align`; None from None.

    Raises:
        UsageError: when it can't be imported or called.
    """
    if path is None:
        return None
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:
        # A user's module may raise anything while it is imported.
        raise UsageError(
            f"--aligner: expected a function such as my_package.align, got {path!r}: {one_line(error)}"
        ) from error
    if not callable(found):
        raise UsageError(f"--aligner: expected a function, {path} is a {type(found).__name__}")
    aligner: Aligner = found
    return aligner


def _middle(size: tuple[int, int], ratio: float) -> Box:
    """The largest part of a width-to-height ratio in the middle of a picture."""
    width, height = size
    across, down = min(width, round(height * ratio)), min(height, round(width / ratio))
    across, down = max(1, across), max(1, down)
    return (width - across) // 2, (height - down) // 2, across, down


def _align(picture: Image.Image, aligner: Aligner, name: str) -> Image.Image:
    try:
        aligned = aligner(picture)
    except Exception as error:
        # As above: the function is the user's own.
        raise InputError(f"{name}: --aligner failed: {type(error).__name__}: {one_line(error)}") from error
    if not isinstance(aligned, Image.Image):
        raise InputError(f"{name}: --aligner: expected a PIL image from it, got {type(aligned).__name__}")
    return aligned
