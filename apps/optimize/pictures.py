"""A run in pictures: its way as a strip of images and as a video."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from PIL import GifImagePlugin, Image

from text2latent.apps.contact_sheet import contact_sheet
from text2latent.common.errors import UsageError
from text2latent.common.files import replacing
from text2latent.inference.animation import SUFFIXES, require_writer, write_mp4
from text2latent.inference.images import make_grid, save_png

STRIP_IMAGES = 8
PALETTE_FRAMES = 16


def evenly_spaced(files: Sequence[Path], count: int) -> list[Path]:
    """At most `count` of the files, the first and the last among them."""
    if len(files) <= count:
        return list(files)
    return [files[round(i * (len(files) - 1) / (count - 1))] for i in range(count)]


def save_strip(
    files: Sequence[Path],
    captions: Mapping[Path, str],
    output: Path,
    metadata: Mapping[str, str],
    others: Sequence[tuple[Image.Image, str]] = (),
) -> None:
    """Write a PNG with up to `STRIP_IMAGES` of the images side by side, from the first to the last.

    Args:
        files: images of one size, in order.
        captions: what stands under each.
        output: the PNG file; one that is there is replaced.
        metadata: its text chunks.
        others: pictures of the same size, and their captions, that follow.
    """
    tiles = [(_read(file), captions[file]) for file in evenly_spaced(files, STRIP_IMAGES)]
    pictures, words = zip(*tiles, *others, strict=True)
    save_png(contact_sheet(pictures, words, len(pictures)), output, metadata, overwrite=True)


def check_video(path: Path) -> None:
    """Refuse a video that can't be written, before any work.

    Raises:
        InputError: for another suffix than `.mp4` or `.gif`, or for `.mp4` without imageio-ffmpeg.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--video: expected a file name that ends in {' or '.join(SUFFIXES)}, got {path.name!r}")
    require_writer(path, "--video")


def save_video(
    files: Sequence[Path], path: Path, fps: float, hold_seconds: float, description: str = "", overwrite: bool = False
) -> None:
    """Write images as an MP4 (H.264) or a GIF, one after the other, so that any number of them takes little memory.

    Args:
        files: at least one, all of one size.
        path: a `.mp4` or `.gif` file.
        fps: frames per second.
        hold_seconds: how much longer the last frame stays.
        description: comment in the file.
        overwrite: replace a file that is there.

    Raises:
        InputError: when the file exists and isn't to be replaced.
        OSError: when the disk refuses.
    """
    with replacing(path, overwrite) as partial:
        if path.suffix.lower() == ".mp4":
            write_mp4(_held(files, round(fps * hold_seconds)), partial, description, fps)
        else:
            with open(partial, "wb") as file:
                _stream_gif(files, file, fps, hold_seconds, description)


def _read(file: Path) -> Image.Image:
    with Image.open(file) as picture:
        return picture.convert("RGB")


def _held(files: Sequence[Path], times: int) -> Iterator[Image.Image]:
    for file in files:
        yield _read(file)
    for _ in range(times):
        yield _read(files[-1])


def _stream_gif(files: Sequence[Path], file: BinaryIO, fps: float, hold_seconds: float, description: str) -> None:
    """Write frames as they come; Pillow's own writer for several frames holds all of them."""
    sample = [_read(path) for path in evenly_spaced(files, PALETTE_FRAMES)]
    palette = make_grid(sample, len(sample), gap=0).quantize(256, method=Image.Quantize.MEDIANCUT)
    info: dict[str, Any] = {"loop": 0, "optimize": False, "comment": description.encode()[:255]}
    for i, path in enumerate(files):
        frame = _read(path).quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
        if i == 0:
            file.writelines(GifImagePlugin.getheader(frame, info=info)[0])
        seconds = 1 / fps + (hold_seconds if i == len(files) - 1 else 0)
        file.writelines(GifImagePlugin.getdata(frame, duration=round(1000 * seconds)))
    file.write(b";")
