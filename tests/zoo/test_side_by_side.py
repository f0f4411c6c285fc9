"""Pictures side by side."""

import pytest
from PIL import Image

from text2latent.zoo.side_by_side import MARGIN, TITLE_HEIGHT, main, side_by_side


def colour(name: str, size: tuple[int, int]) -> Image.Image:
    return Image.new("RGB", size, name)


def test_pictures_keep_their_pixels_and_order():
    sheet = side_by_side([colour("red", (40, 30)), colour("blue", (20, 50))], ["a", "b"])
    assert sheet.size == (40 + 20 + 3 * MARGIN, TITLE_HEIGHT + 50 + MARGIN)
    left = sheet.crop((MARGIN, TITLE_HEIGHT, MARGIN + 40, TITLE_HEIGHT + 30))
    right = sheet.crop((2 * MARGIN + 40, TITLE_HEIGHT, 2 * MARGIN + 60, TITLE_HEIGHT + 50))
    assert left.getcolors() == [(40 * 30, (255, 0, 0))]
    assert right.getcolors() == [(20 * 50, (0, 0, 255))]


def test_titles_are_drawn():
    plain = side_by_side([colour("white", (200, 20))], [""])
    titled = side_by_side([colour("white", (200, 20))], ["shipped prior"])
    assert plain.getcolors() == [(plain.width * plain.height, (255, 255, 255))]
    assert len(titled.getcolors()) > 1


def test_script_writes_a_sheet_and_replaces_an_old_one(tmp_path):
    colour("red", (10, 10)).save(tmp_path / "a.png")
    out = tmp_path / "c.png"
    out.write_text("old")
    assert main([str(tmp_path / "a.png"), str(tmp_path / "a.png"), "--titles", "x", "y", "--output", str(out)]) == 0
    assert Image.open(out).size == (20 + 3 * MARGIN, TITLE_HEIGHT + 10 + MARGIN)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "c.png"]


@pytest.mark.parametrize(("content", "titles", "code"), [(b"text", ["x"], 1), (None, ["x"], 1), (b"", ["x", "y"], 2)])
def test_bad_input_is_one_line(tmp_path, capsys, content, titles, code):
    picture = tmp_path / "a.png"
    if content is not None:
        picture.write_bytes(content)
    assert main([str(picture), "--titles", *titles, "--output", str(tmp_path / "c.png")]) == code
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "c.png").exists()
