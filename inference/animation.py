"""Moving pictures: GIF through Pillow, MP4 (H.264) through imageio-ffmpeg, an optional dependency."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from text2latent.common.extras import require_extra
from text2latent.common.files import replacing
from text2latent.inference.images import on_white

FRAMES_PER_SECOND = 8
SUFFIXES = (".gif", ".mp4")


def require_writer(path: Path, flag: str = "--output") -> None:
    """Refuse what this installation can't write, before any work.

    Raises:
        InputError: for `.mp4` without imageio-ffmpeg.
    """
    if path.suffix.lower() != ".mp4":
        return
    require_extra(f"{flag}: {path}: an MP4, other than a .gif,", "video", ["imageio_ffmpeg"])


def save_animation(
    frames: Sequence[Image.Image],
    path: str | Path,
    description: str = "",
    fps: float = FRAMES_PER_SECOND,
    overwrite: bool = False,
) -> None:
    """Write frames as a GIF that repeats for ever or as an MP4, whole or not at all.

    Args:
        frames: at least one, all of one size; an MP4's are padded with white to even sides.
        path: a `.gif` or `.mp4` file; its folder is made if it is missing.
        description: comment in the file.
        fps: frames per second.
        overwrite: replace a file that is there.

    Raises:
        InputError: for `.mp4` without imageio-ffmpeg, or a file that is there and isn't to be replaced.
        OSError: when the disk refuses.
    """
    path = Path(path)
    require_writer(path)
    write = write_mp4 if path.suffix.lower() == ".mp4" else _write_gif
    with replacing(path, overwrite) as partial:
        write([on_white(frame) for frame in frames], partial, description, fps)


def _write_gif(frames: Sequence[Image.Image], path: Path, description: str, fps: float) -> None:
    # One palette for all frames: palettes of their own make still parts flicker.
    shared = _stack(frames).quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    first, *others = (frame.quantize(palette=shared, dither=Image.Dither.FLOYDSTEINBERG) for frame in frames)
    # The format's comments are plain bytes of at most 255; UTF-8 is what most programs take them for.
    comment = description.encode()[:255]
    first.save(path, format="GIF", save_all=True, append_images=others, duration=1000 / fps, loop=0, comment=comment)


def _stack(frames: Sequence[Image.Image]) -> Image.Image:
    return Image.fromarray(np.concatenate([np.asarray(frame) for frame in frames]))


def write_mp4(frames: Iterable[Image.Image], path: Path, description: str, fps: float) -> None:
    """Write frames, at least one and all of one size, as H.264, one by one; what is at `path` is replaced."""
    import imageio_ffmpeg

    coming = iter(frames)
    first = next(coming)
    # Chroma is stored at half the resolution, which takes even sides.
    width, height = ((side + 1) // 2 * 2 for side in first.size)
    writer = imageio_ffmpeg.write_frames(
        path,
        (width, height),
        fps=fps,
        codec="libx264",
        quality=8,
        macro_block_size=2,
        output_params=["-metadata", f"comment={description}", "-f", "mp4"],
    )
    writer.send(None)
    for frame in itertools.chain([first], coming):
        padded = Image.new("RGB", (width, height), "white")
        padded.paste(frame)
        writer.send(padded.tobytes())
    writer.close()
