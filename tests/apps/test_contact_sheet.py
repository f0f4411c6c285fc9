"""Sheets: each picture is where it belongs, with words under it and before its row."""

import numpy as np
import pytest
from PIL import Image

from text2latent.apps.contact_sheet import contact_sheet, with_legend

COLORS = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 0), (0, 90, 90)]


def pictures(width: int = 40, height: int = 30) -> list[Image.Image]:
    return [Image.new("RGB", (width, height), color) for color in COLORS]


def boxes(sheet: Image.Image) -> list[tuple[int, int, int, int]]:
    """Left, top, right and bottom of each colour."""
    pixels = np.asarray(sheet)
    found = []
    for color in COLORS:
        rows, columns = np.nonzero((pixels == color).all(axis=2))
        found.append((int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1))
    return found


def ink(sheet: Image.Image, box: tuple[int, int, int, int]) -> int:
    return int((np.asarray(sheet.crop(box).convert("L")) < 100).sum())


def test_pictures_stand_row_by_row_and_whole() -> None:
    found = boxes(contact_sheet(pictures(), ["1"] * 5, 3))
    assert all((right - left, bottom - top) == (40, 30) for left, top, right, bottom in found)
    tops, lefts = [box[1] for box in found], [box[0] for box in found]
    assert tops[0] == tops[1] == tops[2] < tops[3] == tops[4]
    assert lefts[0] == lefts[3] < lefts[1] == lefts[4] < lefts[2]


def test_captions_stand_under_their_pictures_and_titles_before_their_rows() -> None:
    sheet = contact_sheet(pictures(), ["", "word", "", "", ""], 3, ["first", ""])
    found = boxes(sheet)
    under = [(left, bottom, right, bottom + 14) for left, _, right, bottom in found]
    assert [ink(sheet, box) > 0 for box in under] == [False, True, False, False, False]
    before = [(0, top, left, bottom) for left, top, _, bottom in (found[0], found[3])]
    assert [ink(sheet, box) > 0 for box in before] == [True, False]


def test_long_captions_widen_the_columns() -> None:
    narrow, wide = (boxes(contact_sheet(pictures(), [words] * 5, 3)) for words in ("1", "a caption of some length"))
    assert wide[1][0] - wide[0][2] > narrow[1][0] - narrow[0][2]


def test_a_legend_tells_colours_by_words_under_the_whole_picture() -> None:
    picture = Image.new("RGB", (40, 30), COLORS[0])
    sheet = with_legend(picture, [("dog", COLORS[1]), ("a word of some length", COLORS[2])])
    assert sheet.crop((0, 0, 40, 30)).tobytes() == picture.tobytes()
    line = (sheet.height - 30) // 2
    for i, color in enumerate(COLORS[1:3]):
        band = sheet.crop((0, 30 + i * line, sheet.width, 30 + (i + 1) * line))
        rows, columns = np.nonzero((np.asarray(band) == color).all(axis=2))
        square = int(columns.max()) + 1
        assert len(rows) >= 50
        assert ink(band, (square, 0, band.width, line)) > 0
        assert ink(band, (band.width - 2, 0, band.width, line)) == 0
    assert sheet.width > 100
    assert with_legend(picture, []).tobytes() == picture.tobytes()


def test_text_grows_with_pictures_within_bounds() -> None:
    small, large = (contact_sheet(pictures(size, size), ["1"] * 5, 5).height - size for size in (32, 1024))
    assert 10 < small < large < 40


@pytest.mark.parametrize(
    ("shown", "captions", "columns", "titles"),
    [
        ([], [], 1, ()),
        (pictures(), ["1"] * 5, 0, ()),
        (pictures(), ["1"] * 4, 2, ()),
        (pictures(), ["1"] * 5, 2, ["a"]),
    ],
)
def test_what_does_not_fit_is_refused(shown: list, captions: list, columns: int, titles: list) -> None:
    with pytest.raises(ValueError, match="expected"):
        contact_sheet(shown, captions, columns, titles)
    with pytest.raises(ValueError, match="of one size"):
        contact_sheet([*pictures(), Image.new("RGB", (1, 1))], ["1"] * 6, 2)
