"""What a segmentation network finds in images: classes, their shares of pixels, and pictures with these overlaid."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from text2latent.apps.contact_sheet import with_legend
from text2latent.apps.evaluation.segmentation import Found, Segmenter, colors, overlay
from text2latent.common.files import write_text
from text2latent.common.progress import progress
from text2latent.inference.images import from_pil, read_picture, save_png
from text2latent.inference.writing import slugify

FOLDER, RESULTS = "segmentation", "segmentation.json"
GAP = 2
"""Pixels between the pictures of a grid, see `images.make_grid`."""

Named = tuple[str, Image.Image]


def segment_pictures(segmenter: Segmenter, pictures: Iterable[Named], total: int, folder: Path) -> list[dict[str, Any]]:
    """Segment pictures one by one and write an overlay of each, over a legend of the classes found.

    Args:
        pictures: names and pictures; names become those of the files.
        folder: `segmentation/NAME.png` and `segmentation.json` are written here; those that are there are replaced.

    Returns:
        For each picture its name and the classes found, the largest first, JSON-ready.
    """
    results = []
    for name, picture in progress(pictures, total, "images", description="segment"):
        classes = segmenter.segment(from_pil(picture))
        found = segmenter.find(classes)
        palette = colors(len(segmenter.labels)).tolist()
        entries = [(_share_of(one), tuple(palette[segmenter.labels.index(one.label)])) for one in found]
        sheet = with_legend(overlay(picture, classes), entries)
        save_png(sheet, folder / FOLDER / f"{name}.png", {"Description": _words(found)}, overwrite=True)
        results.append({"name": name, "found": [asdict(one) for one in found]})
    write_text(folder / RESULTS, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    return results


def read_pictures(files: Sequence[Path]) -> Iterator[Named]:
    """Pictures of files, one at a time, numbered, since files of two folders may have one name."""
    for number, file in enumerate(files):
        yield f"{number:04d}-{slugify(file.stem)}", read_picture(file, "--images")


def cut_grids(
    files: Sequence[Path], size: tuple[int, int], texts: Sequence[str], seeds: Sequence[int]
) -> Iterator[Named]:
    """Pictures of grids, one at a time, row by row.

    Args:
        files: the grids, a row per text and a column per seed, in order.
        size: height and width of a picture.
    """
    rows, (height, width) = iter(enumerate(texts)), size
    for file in files:
        with Image.open(file) as sheet:
            for row in range((sheet.height + GAP) // (height + GAP)):
                number, text = next(rows)
                for column, seed in enumerate(seeds):
                    left, top = column * (width + GAP), row * (height + GAP)
                    picture = sheet.crop((left, top, left + width, top + height))
                    yield f"{number:04d}-{slugify(text)}-{seed}", picture


def to_text(results: Sequence[dict[str, Any]]) -> str:
    """A line per picture: its name, the classes found and their shares in per cent."""
    return "\n".join(f"{result['name']}: {_words([Found(**one) for one in result['found']])}" for result in results)


def _words(found: Sequence[Found]) -> str:
    return ", ".join(map(_share_of, found)) or "nothing found"


def _share_of(found: Found) -> str:
    return f"{found.label} {100 * found.share:.1f}%"
