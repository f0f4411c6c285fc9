"""From tensors to pictures: PIL conversion, contact sheets, and PNG files that say how they were made."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from text2latent.common.errors import InputError, one_line
from text2latent.common.files import replacing


def to_levels(images: Tensor) -> Tensor:
    """Images in [-1, 1] -> uint8 of the same shape, rounded to the nearest of 256 levels; levels stay as they are."""
    if images.dtype == torch.uint8:
        return images
    return ((images.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_uint8(images: Tensor) -> np.ndarray:
    """Images `[N, C, H, W]`, as `to_levels` takes them -> `[N, H, W, C]` uint8."""
    return to_levels(images).permute(0, 2, 3, 1).cpu().numpy()


def to_pil(images: Tensor) -> list[Image.Image]:
    """Images `[N, C, H, W]`, as `to_levels` takes them -> N pictures of the kind that `colours.MODES` has for C."""
    pixels = to_uint8(images)
    return [Image.fromarray(picture) for picture in (pixels[..., 0] if pixels.shape[-1] == 1 else pixels)]


def on_white(picture: Image.Image) -> Image.Image:
    """A picture of any mode in RGB; what is transparent becomes white."""
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def from_pil(picture: Image.Image) -> Tensor:
    """A picture of any mode -> `[3, H, W]` in [-1, 1], float32; what is transparent becomes white."""
    levels = torch.from_numpy(np.array(on_white(picture)))
    return levels.permute(2, 0, 1).float() / 127.5 - 1


def read_picture(path: str | Path, flag: str = "--image") -> Image.Image:
    """Read an image file that Pillow knows, turned as its EXIF orientation says.

    Raises:
        InputError: when the file can't be read as an image, naming flag and file.
    """
    try:
        with Image.open(path) as picture:
            return ImageOps.exif_transpose(picture).copy()
    except FileNotFoundError:
        raise InputError(f"{flag}: {path}: no such file; expected an image") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{flag}: {path}: expected an image file: {one_line(error, 120)}") from error


def make_grid(pictures: Sequence[Image.Image], columns: int, gap: int = 2) -> Image.Image:
    """One picture of many, filled row by row.

    Args:
        pictures: at least one, all of one size and mode, which is also that of the sheet.
        columns: pictures per row, at least 1.
        gap: white pixels between neighbours.

    Raises:
        ValueError: without pictures, with columns < 1, or with pictures of different sizes.
    """
    if not pictures or columns < 1 or len({picture.size for picture in pictures}) != 1:
        raise ValueError("expected pictures of one size and at least one column")
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    size = (columns * (width + gap) - gap, rows * (height + gap) - gap)
    sheet = Image.new(pictures[0].mode, size, "white")
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        sheet.paste(picture, (column * (width + gap), row * (height + gap)))
    return sheet


def png_bytes(picture: Image.Image, metadata: Mapping[str, str]) -> bytes:
    """A PNG file in memory; arguments are as for `save_png`."""
    info = PngInfo()
    for keyword, text in metadata.items():
        info.add_text(keyword, text)
    file = io.BytesIO()
    picture.save(file, format="PNG", pnginfo=info)
    return file.getvalue()


def save_png(picture: Image.Image, path: str | Path, metadata: Mapping[str, str], overwrite: bool = False) -> None:
    """Write a PNG file, whole or not at all.

    Args:
        path: the file; its folder is made if it is missing.
        metadata: text chunks, keyword (Latin-1, at most 79 characters) -> any text; iTXt (UTF-8) where Latin-1 can't
            hold it, else tEXt.
        overwrite: replace a file that is there.

    Raises:
        InputError: when the file exists and isn't to be replaced, also when it came up since an earlier check.
        OSError: when the disk refuses.
    """
    with replacing(Path(path), overwrite) as partial:
        partial.write_bytes(png_bytes(picture, metadata))
