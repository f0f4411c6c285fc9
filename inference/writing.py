"""Where drawn images go: names from prompts, edits, seeds and what a user gives; and the files themselves.

Importing this is quick: what writes pictures comes in when there are some.
"""

from __future__ import annotations

import json
import os
import string
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text2latent.common.errors import UsageError

if TYPE_CHECKING:
    from text2latent.inference.result import Draw

SLUG_BYTES = 96
NAME_BYTES = 255
FIELDS = ("prompt", "seed", "index", "image")
DEFAULT_NAME = "{prompt}-{seed}.png"
DEFAULT_GRID_NAME = "{prompt}-grid.png"
DEFAULT_FRAMES_NAME = "{prompt}-{seed}.gif"
FRAMES_SUFFIXES = (".png", ".gif", ".mp4")


def slugify(text: str) -> str:
    """A text as part of a file name: `blonde-woman-with-glasses`, `眼鏡をかけた金髪の女性`.

    Letters, marks and digits of any script stay (NFKC, lower case), all else becomes single hyphens; at most
    `SLUG_BYTES` bytes of UTF-8. A text without any letter gives `image`.
    """
    folded = unicodedata.normalize("NFKC", text).lower()
    kept = "".join(char if unicodedata.category(char)[0] in "LMN" else " " for char in folded)
    slug = "-".join(kept.split()).encode()[:SLUG_BYTES].decode(errors="ignore").rstrip("-")
    return slug or "image"


def edit_label(start: str, source: str, target: str) -> str:
    """Label of an edited image: what it started from, and what was changed into what.

    Args:
        start: label of the image before.
        source: what was to go.
        target: what was to come.
    """
    return f"{start}, edited from '{source}' to '{target}'"


def plan_files(output: str | None, prompts: Sequence[str], seeds: Sequence[int]) -> list[Path]:
    """A file per image, in a prompt's order of seeds, one prompt after the other.

    Args:
        output: None for the current folder; a folder (one that exists, ends in a slash or has no suffix); a `.png`
            file, which is numbered if there are several images; or a pattern of either with any of the `FIELDS`, as in
            `{prompt}/{seed:05d}.png`: prompt (as `slugify` gives it), seed, index (of all images, from 0), image (of
            its prompt's, from 0).
        prompts: the prompts, at least one.
        seeds: seeds of each prompt's images, at least one.

    Raises:
        UsageError: for a name that isn't a PNG file's, an unknown field, or a pattern that gives a name twice.
    """
    fields = [
        {"prompt": slugify(prompt), "seed": seed, "index": i * len(seeds) + j, "image": j}
        for i, prompt in enumerate(prompts)
        for j, seed in enumerate(seeds)
    ]
    if output is None or _is_folder(output):
        return number_repeats([Path(output or "") / DEFAULT_NAME.format(**field) for field in fields])
    pattern = _pattern(output, DEFAULT_NAME)
    if "{" not in pattern:
        return _number(Path(pattern), len(fields))
    paths = [_fill(pattern, field) for field in fields]
    if len(set(paths)) < len(paths):
        raise UsageError(f"--output: {output!r} gives one name to several images; expected {{index}} in the pattern")
    return paths


def plan_grid(output: str | None, prompts: Sequence[str], seeds: Sequence[int]) -> Path:
    """The file of one picture that holds all images; arguments and errors as for `plan_files`."""
    field = {"prompt": slugify(prompts[0]), "seed": seeds[0], "index": 0, "image": 0}
    if output is None or _is_folder(output):
        return Path(output or "") / DEFAULT_GRID_NAME.format(**field)
    pattern = _pattern(output, DEFAULT_GRID_NAME)
    return _fill(pattern, field) if "{" in pattern else Path(pattern)


def plan_frames(output: str | None, prompts: Sequence[str], seeds: Sequence[int]) -> Path:
    """The file of an interpolation: `.gif` or `.mp4`, or `.png` for a sheet of all frames.

    Arguments and errors are as for `plan_files`; a folder, or None, gets a GIF.
    """
    field = {"prompt": slugify(prompts[0]), "seed": seeds[0], "index": 0, "image": 0}
    if output is None or _is_folder(output):
        return Path(output or "") / DEFAULT_FRAMES_NAME.format(**field)
    pattern = _pattern(output, DEFAULT_FRAMES_NAME, FRAMES_SUFFIXES)
    return _fill(pattern, field) if "{" in pattern else Path(pattern)


def _is_folder(output: str) -> bool:
    return os.path.isdir(output) or ("{" not in output and _names_folder(output))


def _names_folder(output: str) -> bool:
    return output.endswith(("/", os.sep)) or not Path(output).suffix


def _pattern(output: str, default_name: str, suffixes: Sequence[str] = (".png",)) -> str:
    """A file or a pattern of files; a pattern of folders gets the default name of files."""
    path = Path(output) / default_name if _names_folder(output) else Path(output)
    if path.suffix.lower() not in suffixes:
        kinds = " or ".join(suffixes)
        raise UsageError(
            f"--output: expected a {kinds} file, a folder (end its name with /) or a pattern, got {output!r}"
        )
    if len(path.name.encode(errors="replace")) > NAME_BYTES:
        raise UsageError(f"--output: expected a file name of at most {NAME_BYTES} bytes, got {path.name[:40]!r}...")
    return str(path)


def _fill(pattern: str, field: Mapping[str, object]) -> Path:
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None]
        if not set(names) <= set(FIELDS):
            raise KeyError(names)
        return Path(pattern.format(**field))
    except (KeyError, ValueError, IndexError):
        known = ", ".join(f"{{{name}}}" for name in FIELDS)
        raise UsageError(f"--output: expected a pattern with any of {known}, got {pattern!r}") from None


def _number(path: Path, count: int) -> list[Path]:
    if count == 1:
        return [path]
    digits = len(str(count - 1))
    return [path.with_name(f"{path.stem}-{i:0{digits}d}{path.suffix}") for i in range(count)]


def number_repeats(paths: Sequence[Path]) -> list[Path]:
    """Names that came before get `-2`, `-3` ...: two prompts can have one slug."""
    taken: set[Path] = set()
    numbered = []
    for path in paths:
        candidate, repeat = path, 2
        while candidate in taken:
            candidate, repeat = path.with_name(f"{path.stem}-{repeat}{path.suffix}"), repeat + 1
        taken.add(candidate)
        numbered.append(candidate)
    return numbered


def write_separately(
    images: Iterable[Draw], files: Sequence[Path], description: dict[str, Any], overwrite: bool
) -> Iterator[tuple[Path, Draw]]:
    """Write each image as soon as it comes; yields it with its file. Arguments are as for `write_sheet`."""
    from text2latent.inference.images import save_png

    for image, file in zip(images, files, strict=True):
        save_png(image.picture, file, png_metadata(description, [image]), overwrite)
        yield file, image


def write_sheet(
    images: Iterable[Draw], file: Path, description: dict[str, Any], columns: int, overwrite: bool
) -> Iterator[tuple[Path, Draw]]:
    """Write all images as one PNG, row by row; yields them with its file.

    Args:
        images: at least one.
        description: what they were drawn with, see `drawing.describe`.
        columns: images per row.
        overwrite: replace a file that is there.
    """
    from text2latent.inference.images import make_grid, save_png

    sheet = list(images)
    picture = make_grid([image.picture for image in sheet], columns)
    save_png(picture, file, png_metadata(description, sheet), overwrite)
    yield from ((file, image) for image in sheet)


def write_frames(
    images: Iterable[Draw], file: Path, description: dict[str, Any], columns: int, overwrite: bool
) -> Iterator[tuple[Path, Draw]]:
    """Write the frames of an interpolation, each of `columns` images side by side; yields the images with the file.

    A `.gif` or `.mp4` moves from frame to frame. A `.png` shows all frames, from left to right, and below each other
    what they have side by side. Arguments are as for `write_sheet`.
    """
    from text2latent.inference.animation import SUFFIXES, save_animation
    from text2latent.inference.images import make_grid

    drawn = list(images)
    if file.suffix.lower() in SUFFIXES:
        rows = [drawn[start : start + columns] for start in range(0, len(drawn), columns)]
        frames = [make_grid([image.picture for image in row], columns) for row in rows]
        save_animation(frames, file, png_metadata(description, drawn)["prompt"].splitlines()[0], overwrite=overwrite)
        yield from ((file, image) for image in drawn)
    else:
        ordered = [image for column in range(columns) for image in drawn[column::columns]]
        yield from write_sheet(ordered, file, description, len(drawn) // columns, overwrite)


def png_metadata(description: dict[str, Any], images: Sequence[Draw]) -> dict[str, str]:
    """Text chunks of a PNG file of one image, or of a sheet of several.

    `prompt` (one line per prompt), `seed` (likewise), `Software`, and `text2latent`: JSON with everything.
    """
    records = [record for image in images for record in image.records]
    everything = {**description, "images": records}
    return {
        "prompt": "\n".join(dict.fromkeys(record["prompt"] for record in records)),
        "seed": "\n".join(dict.fromkeys(str(record["seed"]) for record in records)),
        "Software": f"text2latent {description['text2latent']}",
        "text2latent": json.dumps(everything, ensure_ascii=False),
    }
