"""Folders that are made for a result go again when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from text2latent.common.folders import new_parents


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
