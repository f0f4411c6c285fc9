"""Files and folders that appear whole or not at all, and folders that are made for them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from text2latent.common.errors import InputError
from text2latent.common.files import create_atomic, is_unfinished, new_parents, replacing, write_text
from text2latent.tests.sample_runs import largest_file


def test_new_parents_stay_with_what_they_were_made_for(tmp_path: Path) -> None:
    with new_parents(tmp_path / "a/b/c"):
        (tmp_path / "a/b/c").touch()
    assert (tmp_path / "a/b/c").exists()


def test_new_parents_of_nothing_go(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with pytest.raises(RuntimeError), new_parents(tmp_path / "old/new/newer/file"):
        raise RuntimeError
    assert (tmp_path / "old").is_dir()
    assert not (tmp_path / "old/new").exists()


def test_what_somebody_else_put_there_stays(tmp_path: Path) -> None:
    def fail() -> None:
        with new_parents(tmp_path / "new/newer/file"):
            (tmp_path / "new/theirs").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "new/theirs").exists()
    assert not (tmp_path / "new/newer").exists()


def test_a_failed_write_leaves_the_file_and_no_other(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.txt", "\ud800")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    write_text(file, "whole")
    with largest_file(100), pytest.raises(InputError, match=re.escape(f"cannot write {file}: File too large")):
        write_text(file, "x" * 1000)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]


def test_a_file_is_there_only_when_it_is_finished(tmp_path: Path) -> None:
    file = tmp_path / "new/a.txt"
    with replacing(file) as beside:
        beside.write_text("whole")
        assert not file.exists()
        assert is_unfinished(beside.name)
    assert file.read_text() == "whole"
    assert os.listdir(file.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_was_there_outlives_a_failure(tmp_path: Path, kind: str, error: type[BaseException]) -> None:
    place = tmp_path / "a"
    (place if kind == "file" else place / "part").parent.mkdir(exist_ok=True)
    (place if kind == "file" else place / "part").write_text("old")

    def fail() -> None:
        with replacing(place) as beside:
            (beside if kind == "file" else beside / "part").parent.mkdir(exist_ok=True)
            (beside if kind == "file" else beside / "part").write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert (place if kind == "file" else place / "part").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/old").touch()
    with replacing(tmp_path / "a") as beside:
        beside.mkdir()
        (beside / "new").touch()
    assert os.listdir(tmp_path) == ["a"]
    assert os.listdir(tmp_path / "a") == ["new"]


@pytest.mark.parametrize("link", [False, True])
def test_what_came_up_meanwhile_is_kept(tmp_path: Path, link: bool) -> None:
    file = tmp_path / "a.txt"

    def write() -> None:
        with replacing(file, overwrite=False) as beside:
            beside.write_text("mine")
            file.symlink_to("nowhere") if link else file.write_text("theirs")

    with pytest.raises(InputError, match=r"a\.txt exists already; expected a new name, or --overwrite"):
        write()
    assert file.is_symlink() if link else file.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_names_as_long_as_a_file_system_takes_are_written(tmp_path: Path) -> None:
    file = tmp_path / ("雪" * 84 + ".md")
    with replacing(file) as beside:
        beside.write_text("whole")
    assert file.read_text() == "whole"


def test_disks_without_hard_links_create_files_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "link", no_links)
    assert [create_atomic(tmp_path / "a", bytes([number])) for number in range(3)] == [True, False, False]
    assert (tmp_path / "a").read_bytes() == bytes([0])
    assert os.listdir(tmp_path) == ["a"]
