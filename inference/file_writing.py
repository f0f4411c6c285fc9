"""Drawn images into files: each into its own, or all into one sheet or animation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from text2latent.inference.animation import SUFFIXES, save_animation
from text2latent.inference.drawing import DrawnImage, png_metadata
from text2latent.inference.images import make_grid, save_png

Written = Iterator[tuple[Path, DrawnImage]]


def write_separately(
    images: Iterable[DrawnImage], files: Sequence[Path], description: dict[str, Any], overwrite: bool
) -> Written:
    """Write each image as soon as it comes; yields it with its file. Arguments are as for `write_sheet`."""
    for image, file in zip(images, files, strict=True):
        save_png(image.picture, file, png_metadata(description, [image]), overwrite)
        yield file, image


def write_sheet(
    images: Iterable[DrawnImage], file: Path, description: dict[str, Any], columns: int, overwrite: bool
) -> Written:
    """Write all images as one PNG, row by row; yields them with its file.

    Args:
        images: at least one.
        file: where.
        description: what they were drawn with, see `drawing.describe`.
        columns: images per row.
        overwrite: replace a file that is there.
    """
    sheet = list(images)
    picture = make_grid([image.picture for image in sheet], columns)
    save_png(picture, file, png_metadata(description, sheet), overwrite)
    yield from ((file, image) for image in sheet)


def write_frames(
    images: Iterable[DrawnImage], file: Path, description: dict[str, Any], columns: int, overwrite: bool
) -> Written:
    """Write the frames of an interpolation, each of `columns` images side by side; yields the images with the file.

    A `.gif` or `.mp4` moves from frame to frame. A `.png` shows all frames, from left to right, and below each other
    what they have side by side. Arguments are as for `write_sheet`.
    """
    drawn = list(images)
    if file.suffix.lower() in SUFFIXES:
        rows = [drawn[start : start + columns] for start in range(0, len(drawn), columns)]
        frames = [make_grid([image.picture for image in row], columns) for row in rows]
        save_animation(frames, file, png_metadata(description, drawn)["prompt"].splitlines()[0], overwrite=overwrite)
        yield from ((file, image) for image in drawn)
    else:
        ordered = [image for column in range(columns) for image in drawn[column::columns]]
        yield from write_sheet(ordered, file, description, len(drawn) // columns, overwrite)
