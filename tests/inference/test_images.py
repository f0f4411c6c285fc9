import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from text2latent.common.errors import InputError
from text2latent.inference.images import from_pil, make_grid, read_picture, save_png, to_pil, to_uint8


def test_levels_round_to_the_nearest_and_cover_the_range() -> None:
    levels = torch.arange(256)
    images = (levels / 127.5 - 1).view(1, 1, 16, 16).expand(-1, 3, -1, -1)
    assert torch.equal(torch.from_numpy(to_uint8(images))[0, :, :, 0].flatten(), levels.to(torch.uint8))
    assert to_uint8(torch.tensor([-5.0, 5.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2))[0, 0, :, 0].tolist() == [0, 255]


def test_pictures_keep_channels_and_orientation() -> None:
    image = -torch.ones(1, 3, 4, 6)
    image[0, 0, 1, 5] = 1
    (picture,) = to_pil(image)
    assert picture.size == (6, 4)
    assert picture.getpixel((5, 1)) == (255, 0, 0)
    assert np.asarray(picture).sum() == 255


def test_grid_is_filled_row_by_row() -> None:
    colors = ["red", "lime", "blue", "black", "yellow"]
    sheet = make_grid([Image.new("RGB", (4, 3), color) for color in colors], columns=2, gap=1)
    assert sheet.size == (9, 11)
    corners = [sheet.getpixel((5 * (i % 2), 4 * (i // 2))) for i in range(6)]
    assert corners == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (255, 255, 0), (255, 255, 255)]
    assert sheet.getpixel((4, 0)) == (255, 255, 255)


@pytest.mark.parametrize(("sizes", "columns"), [([], 1), ([(1, 1)], 0), ([(1, 1), (2, 1)], 2)])
def test_impossible_grids_are_refused(sizes: list[tuple[int, int]], columns: int) -> None:
    with pytest.raises(ValueError, match="expected pictures of one size"):
        make_grid([Image.new("RGB", size) for size in sizes], columns)


def chunks(path: Path) -> list[tuple[bytes, bytes]]:
    """Chunk types and contents, by the PNG specification, section 5."""
    data, position, found = path.read_bytes(), 8, []
    while position < len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        found.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


def test_metadata_is_latin1_or_utf8_as_png_wants_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.png"
    save_png(Image.new("RGB", (2, 2), "red"), path, {"prompt": "眼鏡をかけた女性", "seed": "3"})
    found = chunks(path)
    assert (b"tEXt", b"seed\x003") in found
    assert (b"iTXt", b"prompt\x00\x00\x00\x00\x00" + "眼鏡をかけた女性".encode()) in found
    assert Image.open(path).text == {"prompt": "眼鏡をかけた女性", "seed": "3"}
    assert Image.open(path).convert("RGB").getpixel((1, 1)) == (255, 0, 0)


def test_existing_files_are_kept_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("precious")
    with pytest.raises(InputError, match="exists already"):
        save_png(Image.new("RGB", (2, 2)), path, {})
    assert path.read_text() == "precious"
    save_png(Image.new("RGB", (2, 2)), path, {}, overwrite=True)
    assert Image.open(path).size == (2, 2)
    assert os.listdir(tmp_path) == ["a.png"]


def test_failed_writing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(path: Path, data: bytes) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_png(Image.new("RGB", (2, 2)), tmp_path / "a.png", {})
    assert os.listdir(tmp_path) == []


def test_pictures_become_tensors_and_come_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    tensor = from_pil(picture)
    assert tensor.shape == (3, 5, 7)
    np.testing.assert_array_equal(np.asarray(to_pil(tensor[None])[0]), pixels)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "I;16", "1"])
def test_pictures_of_any_mode_are_taken(mode: str) -> None:
    tensor = from_pil(Image.new(mode, (4, 4)))
    assert tensor.shape == (3, 4, 4)
    assert tensor.abs().max() <= 1


def test_what_is_transparent_becomes_white() -> None:
    clear, half = (from_pil(Image.new("RGBA", (2, 2), (0, 0, 0, alpha))) for alpha in (0, 128))
    assert (clear == 1).all()
    assert half.mean() == pytest.approx(0, abs=0.01)


def test_pictures_are_read_upright(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 2), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read_picture(tmp_path / "a.jpg").size == (2, 4)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0broken"])
def test_files_that_are_no_pictures_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=r"--image: .*a\.png: expected an image file"):
        read_picture(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"b\.png: no such file"):
        read_picture(tmp_path / "b.png")
