import sys
from pathlib import Path

import pytest

from text2latent.common.errors import UsageError
from text2latent.models.sources import zoo as registry


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "zoo"
    for world in ("birds", "faces"):
        (folder / world / "weights" / "generator").mkdir(parents=True)
    (folder / "faces" / "weights" / "prior").mkdir()
    (folder / "unfinished").mkdir()
    (folder / "birds" / "__init__.py").write_text("raise RuntimeError('zoo code was imported')")
    monkeypatch.setattr(registry, "ZOO", folder)
    return folder


def test_names_are_the_worlds_with_weights(zoo: Path) -> None:
    assert registry.zoo_names() == ["birds", "faces"]


def test_zoo_name_gives_its_weights_without_importing_its_code(zoo: Path) -> None:
    before = set(sys.modules)
    assert registry.resolve("birds", "generator") == zoo / "birds" / "weights" / "generator"
    assert not [name for name in set(sys.modules) - before if "birds" in name]


def test_zoo_name_wins_over_a_folder_of_that_name(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faces").mkdir()
    monkeypatch.chdir(tmp_path)
    assert registry.resolve("faces", "generator") == zoo / "faces" / "weights" / "generator"
    assert registry.resolve("./faces", "generator") == Path("./faces")


def test_folder_may_be_the_part_or_hold_it(zoo: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / "prior").mkdir(parents=True)
    assert registry.resolve(tmp_path / "run", "prior") == tmp_path / "run" / "prior"
    assert registry.resolve(str(tmp_path / "run" / "prior"), "prior") == tmp_path / "run" / "prior"


def test_unknown_source_lists_the_zoo(zoo: Path) -> None:
    with pytest.raises(
        UsageError, match=r"'horses': expected a name of the zoo \(birds, faces\), a local path, https://"
    ):
        registry.resolve("horses", "generator")


def test_missing_and_unknown_parts_are_refused(zoo: Path) -> None:
    with pytest.raises(UsageError, match="ships no prior"):
        registry.resolve("birds", "prior")
    with pytest.raises(UsageError, match="expected one of generator, clip, prior, got 'judge'"):
        registry.resolve("faces", "judge")


def test_unfinished_world_is_unknown(zoo: Path) -> None:
    with pytest.raises(UsageError, match="'unfinished'"):
        registry.resolve("unfinished", "generator")
