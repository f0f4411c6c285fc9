"""Put pictures beside each other, each under its title; a script: `python -m text2latent.zoo.side_by_side --help`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from text2latent.common.command import CommandParser, check_output_file, run_command
from text2latent.common.errors import InputError, UsageError
from text2latent.common.files import replacing

MARGIN, TITLE_HEIGHT, TITLE_SIZE = 12, 36, 22


def side_by_side(images: Sequence[Image.Image], titles: Sequence[str]) -> Image.Image:
    """Lay `images` out from left to right on white, tops level, each under its title.

    Raises:
        ValueError: if there is not one title per image.
    """
    font = ImageFont.load_default(TITLE_SIZE)
    width = MARGIN + sum(image.width + MARGIN for image in images)
    sheet = Image.new("RGB", (width, TITLE_HEIGHT + max(image.height for image in images) + MARGIN), "white")
    pen, left = ImageDraw.Draw(sheet), MARGIN
    for image, title in zip(images, titles, strict=True):
        pen.text((left + image.width // 2, TITLE_HEIGHT // 2), title, fill="black", font=font, anchor="mm")
        sheet.paste(image.convert("RGB"), (left, TITLE_HEIGHT))
        left += image.width + MARGIN
    return sheet


def build_parser() -> CommandParser:
    parser = CommandParser("side_by_side", "Put pictures beside each other under their titles.")
    parser.add_argument("images", nargs="+", help="Picture files, from left to right.")
    parser.add_argument("--titles", nargs="+", required=True, help="One title per picture.")
    parser.add_argument("--output", required=True, help="PNG file to write; replaced if it is there.")
    return parser


def run(config: Namespace) -> None:
    """Read the pictures, lay them out and write the sheet."""
    if len(config.titles) != len(config.images):
        raise UsageError(f"--titles: expected {len(config.images)}, one per picture, got {len(config.titles)}")
    output = check_output_file(config.output, overwrite=True)
    sheet = side_by_side([_read(path) for path in config.images], config.titles)
    with replacing(output) as partial:
        sheet.save(partial, format="PNG")


def _read(path: str) -> Image.Image:
    try:
        with Image.open(Path(path)) as image:
            return image.copy()
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: expected a picture, got another kind of file") from error


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
