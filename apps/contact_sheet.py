"""Pictures with words: side by side, a caption under each, a title before each row; or one over its legend."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from text2latent.inference.images import on_white

MIN_TEXT, MAX_TEXT = 10, 24
"""Pixels of the text's height; between these it is a tenth of a picture's width."""
GAP, MARGIN = 4, 6
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""


def contact_sheet(
    pictures: Sequence[Image.Image], captions: Sequence[str], columns: int, titles: Sequence[str] = ()
) -> Image.Image:
    """One white sheet of pictures, filled row by row.

    Args:
        pictures: at least one, all of one size.
        captions: a line under each picture, in Latin letters; lines wider than a picture widen the columns.
        columns: pictures per row, at least 1.
        titles: a line before each row; none if empty.

    Raises:
        ValueError: without pictures, with columns < 1, pictures of different sizes, or another number of captions or
            titles.
    """
    rows = -(-len(pictures) // max(1, columns))
    if not pictures or columns < 1 or len({picture.size for picture in pictures}) != 1:
        raise ValueError("expected pictures of one size and at least one column")
    if len(captions) != len(pictures) or len(titles) not in (0, rows):
        raise ValueError(f"expected a caption per picture and a title per row, got {len(captions)} and {len(titles)}")
    width, height = pictures[0].size
    font, line = _font_and_line(width)
    left = max((_size(title, font)[0] + 2 * MARGIN for title in titles), default=0)
    across = max(width, *(_size(caption, font)[0] for caption in captions)) + GAP
    down = height + line + GAP
    sheet = Image.new("RGB", (left + columns * across - GAP, rows * down - GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x, y = left + i % columns * across, i // columns * down
        sheet.paste(on_white(picture), (x + (across - GAP - width) // 2, y))
        pen.text((x + (across - GAP) // 2, y + height + line // 2), caption, "black", font, anchor="mm")
    for i, title in enumerate(titles):
        pen.text((left - MARGIN, i * down + height // 2), title, "black", font, anchor="rm")
    return sheet


def with_legend(picture: Image.Image, entries: Sequence[tuple[str, Color]]) -> Image.Image:
    """A picture, and under it a line per entry, words in Latin letters after a square of their colour, on white."""
    font, line = _font_and_line(picture.width)
    width = max(picture.width, *(line + _size(words, font)[0] + MARGIN for words, _ in entries), 0)
    sheet = Image.new("RGB", (width, picture.height + line * len(entries)), "white")
    sheet.paste(on_white(picture))
    pen = ImageDraw.Draw(sheet)
    for i, (words, color) in enumerate(entries):
        top, side = picture.height + i * line, line - MARGIN
        pen.rectangle((MARGIN // 2, top + MARGIN // 2, MARGIN // 2 + side, top + MARGIN // 2 + side), color)
        pen.text((line + MARGIN // 2, top + line // 2), words, "black", font, anchor="lm")
    return sheet


def _font_and_line(width: int) -> tuple[Font, int]:
    """The font for pictures of a width, and the height of its lines, pixels."""
    font = ImageFont.load_default(min(MAX_TEXT, max(MIN_TEXT, width // 10)))
    return font, _size("Ag", font)[1] + MARGIN


def _size(text: str, font: Font) -> tuple[int, int]:
    _, _, right, bottom = font.getbbox(text)
    return int(right) + 1, int(bottom) + 1
