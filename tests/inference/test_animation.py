import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from text2latent.common.errors import InputError
from text2latent.inference.animation import save_animation

COLORS = [(250, 10, 10), (10, 250, 10), (10, 10, 250), (128, 128, 128)]


@pytest.fixture
def frames() -> list[Image.Image]:
    return [Image.new("RGB", (33, 20), color) for color in COLORS]


def test_gif_has_all_frames_and_repeats(frames: list[Image.Image], tmp_path: Path) -> None:
    save_animation(frames, tmp_path / "new" / "a.gif", "男性 to 女性", fps=5)
    with Image.open(tmp_path / "new" / "a.gif") as picture:
        assert (picture.n_frames, picture.info["loop"], picture.info["duration"]) == (4, 0, 200)
        assert picture.info["comment"].decode() == "男性 to 女性"
        for index, color in enumerate(COLORS):
            picture.seek(index)
            assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - color).max() <= 8
    assert os.listdir(tmp_path / "new") == ["a.gif"]


def test_mp4_has_all_frames_at_even_sides(frames: list[Image.Image], tmp_path: Path) -> None:
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    save_animation(frames, tmp_path / "a.mp4", "a to b", fps=4)
    reader = imageio_ffmpeg.read_frames(tmp_path / "a.mp4")
    meta = next(reader)
    pictures = [np.frombuffer(raw, np.uint8).reshape(20, 34, 3) for raw in reader]
    assert (meta["size"], meta["fps"], len(pictures)) == ((34, 20), 4.0, 4)
    for picture, color in zip(pictures, COLORS, strict=True):
        assert np.abs(picture[4:16, 4:28].astype(int) - color).mean() < 15
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_mp4_without_its_library_is_refused(
    frames: list[Image.Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(InputError, match=r"needs imageio_ffmpeg, not installed here; pip .*\[video\]"):
        save_animation(frames, tmp_path / "a.mp4")
    assert not os.listdir(tmp_path)


def test_what_exists_is_kept_unless_it_may_go(frames: list[Image.Image], tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    path.write_text("precious")
    with pytest.raises(InputError, match="exists already"):
        save_animation(frames, path)
    assert path.read_text() == "precious"
    save_animation(frames, path, overwrite=True)
    assert Image.open(path).format == "GIF"
    assert os.listdir(tmp_path) == ["a.gif"]
