"""Videos are read back by Pillow and ffmpeg."""

import itertools
import weakref
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image, ImageSequence

from text2latent.apps.optimize import pictures
from text2latent.apps.optimize.pictures import check_video, evenly_spaced, save_video
from text2latent.common.errors import InputError, UsageError

GREYS = (0, 100, 200)


@pytest.fixture
def frames(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{grey:03d}.png" for grey in GREYS]
    for file, grey in zip(files, GREYS, strict=True):
        Image.new("RGB", (33, 33), (grey, grey, grey)).save(file)
    return files


def test_a_gif_shows_all_frames_and_holds_the_last(frames: list[Path], tmp_path: Path) -> None:
    save_video(frames, tmp_path / "way.gif", fps=10, hold_seconds=2, description="a man")
    with Image.open(tmp_path / "way.gif") as video:
        read = [
            (np.asarray(frame.convert("RGB")).mean(), frame.info["duration"]) for frame in ImageSequence.Iterator(video)
        ]
        assert video.info["loop"] == 0
        assert video.info["comment"] == b"a man"
    assert [round(mean) for mean, _ in read] == pytest.approx(GREYS, abs=3)
    assert [duration for _, duration in read] == [100, 100, 2100]


def test_an_mp4_is_h264_and_holds_the_last(frames: list[Path], tmp_path: Path) -> None:
    save_video(frames, tmp_path / "way.mp4", fps=10, hold_seconds=2)
    reader = imageio_ffmpeg.read_frames(tmp_path / "way.mp4")
    meta = next(reader)
    means = [np.frombuffer(frame, np.uint8).reshape(34, 34, 3)[:32, :32].mean() for frame in reader]
    assert (meta["codec"], meta["size"]) == ("h264", (34, 34))
    assert len(means) == 3 + 20
    assert means[:3] == pytest.approx(GREYS, abs=4)
    assert means[-1] == pytest.approx(GREYS[-1], abs=4)


@pytest.mark.parametrize(("name", "at_most"), [("way.gif", pictures.PALETTE_FRAMES + 2), ("way.mp4", 3)])
def test_frames_are_read_one_at_a_time(
    frames: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, at_most: int
) -> None:
    """Of 150 frames, few are alive at once: those of the palette, or the first, the latest and the next."""
    alive: set[int] = set()
    most = itertools.count()
    peak = [0]
    read = pictures._read

    def count(file: Path) -> Image.Image:
        picture, number = read(file), next(most)
        alive.add(number)
        weakref.finalize(picture, alive.discard, number)
        peak[0] = max(peak[0], len(alive))
        return picture

    monkeypatch.setattr(pictures, "_read", count)
    save_video(frames * 50, tmp_path / name, 10, 1)
    assert next(most) >= 150
    assert peak[0] <= at_most


def test_what_is_there_is_kept(frames: list[Path], tmp_path: Path) -> None:
    (tmp_path / "way.gif").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        save_video(frames, tmp_path / "way.gif", 10, 0)
    assert (tmp_path / "way.gif").read_text() == "mine"
    assert not list(tmp_path.glob(".*"))


def test_other_suffixes_are_refused() -> None:
    with pytest.raises(UsageError, match="--video: expected a file name that ends in"):
        check_video(Path("way.avi"))


@pytest.mark.parametrize(("count", "chosen"), [(3, [0, 4, 9]), (10, list(range(10))), (20, list(range(10)))])
def test_chosen_files_are_evenly_spaced(count: int, chosen: list[int]) -> None:
    files = [Path(str(i)) for i in range(10)]
    assert evenly_spaced(files, count) == [files[i] for i in chosen]
