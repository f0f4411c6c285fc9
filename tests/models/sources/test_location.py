"""The one door to a model's files: zoo, folders, files; and which of them a load opens."""

import sys
from pathlib import Path

import pytest

from text2latent.common.errors import UsageError
from text2latent.models.sources.location import Location, locate


def resolve(source: str | Path, part: str) -> Path:
    return locate(source, part).folder


def test_zoo_name_gives_its_weights_without_importing_its_code(zoo: Path) -> None:
    before = set(sys.modules)
    assert resolve("birds", "generator") == zoo / "birds" / "weights" / "generator"
    assert not [name for name in set(sys.modules) - before if "birds" in name]


def test_zoo_name_wins_over_a_folder_of_that_name(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faces").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve("faces", "generator") == zoo / "faces" / "weights" / "generator"
    assert resolve("./faces", "generator") == Path("./faces")


def test_folder_may_be_the_part_or_hold_it(zoo: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / "prior").mkdir(parents=True)
    assert resolve(tmp_path / "run", "prior") == tmp_path / "run" / "prior"
    assert resolve(str(tmp_path / "run" / "prior"), "prior") == tmp_path / "run" / "prior"


def test_unknown_source_lists_the_zoo(zoo: Path) -> None:
    with pytest.raises(
        UsageError, match=r"'horses': expected a name of the zoo \(birds, faces\), a local path, https://"
    ):
        resolve("horses", "generator")


def test_missing_and_unknown_parts_are_refused(zoo: Path) -> None:
    with pytest.raises(UsageError, match="ships no prior"):
        resolve("birds", "prior")
    with pytest.raises(UsageError, match="expected one of generator, clip, prior, got 'judge'"):
        resolve("faces", "judge")


def test_unfinished_world_is_unknown(zoo: Path) -> None:
    with pytest.raises(UsageError, match="'unfinished'"):
        resolve("unfinished", "generator")


def test_the_kind_tells_what_is_there(zoo: Path, tmp_path: Path) -> None:
    exported = tmp_path / "exported"
    for part in ("prior", "generator"):
        (exported / part).mkdir(parents=True)
    (exported / "text2latent.json").write_text("{}")
    (tmp_path / "run.ckpt").write_bytes(b"")
    assert locate("faces", "prior") == Location("faces", "prior", "zoo", zoo / "faces" / "weights" / "prior")
    assert locate(exported, "prior") == Location(str(exported), "prior", "exported", exported / "prior")
    assert locate(exported, "generator").kind == "exported"
    assert locate(zoo / "faces", "prior").kind == "folder"
    assert (locate(tmp_path / "run.ckpt", "prior").kind, locate(tmp_path / "run.ckpt", "clip").kind) == (
        "checkpoint",
        "file",
    )
    with pytest.raises(UsageError, match="or a folder, got a file"):
        _ = locate(tmp_path / "run.ckpt", "clip").folder
