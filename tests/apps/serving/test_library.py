"""The models of a server: their names, their loading, and how they are listed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from text2latent.apps.serving.library import ModelLibrary, ModelUnavailable, UnknownModel, split_name
from text2latent.common.errors import InputError, UsageError
from text2latent.inference.pipeline import Text2LatentPipeline


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("faces", ("faces", "faces")),
        ("mine=faces", ("mine", "faces")),
        ("runs/some/run", ("run", "runs/some/run")),
        ("runs/some/run/", ("run", "runs/some/run/")),
        ("a/last.ckpt", ("last", "a/last.ckpt")),
        ("x.y-z=a/b=c", ("x.y-z", "a/b=c")),
        ("hf://org/name", ("name", "hf://org/name")),
        ("hf://org/name@main", ("name", "hf://org/name@main")),
    ],
)
def test_models_have_the_name_of_their_folder_or_another(source: str, expected: tuple[str, str]) -> None:
    assert split_name(source) == expected


def test_a_folder_with_an_equals_sign_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a=b").mkdir()
    assert split_name("a=b") == ("a=b", "a=b")


def test_without_models_the_zoo_is_offered() -> None:
    assert "faces" in [info.name for info in ModelLibrary().infos]


def test_models_are_loaded_once_and_when_they_are_asked_for(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModelLibrary([f"one={tiny_model}", f"two={tiny_model}"])
    loads: list[str] = []
    load = Text2LatentPipeline.from_pretrained
    monkeypatch.setattr(
        Text2LatentPipeline, "from_pretrained", lambda source, *rest: loads.append(source) or load(source, *rest)
    )
    assert [info.is_loaded for info in library.infos] == [False, False]
    with ThreadPoolExecutor(4) as pool:
        pipelines = list(pool.map(library.get, ["two"] * 4))
    assert all(pipeline is pipelines[0] for pipeline in pipelines)
    assert loads == [str(tiny_model)]
    assert [(info.is_loaded, info.image_size, info.kind) for info in library.infos] == [
        (False, None, "folder"),
        (True, 32, "folder"),
    ]
    library.load_default()
    assert library.get() is not pipelines[0]
    assert library.default == "one"


def test_models_that_cannot_be_loaded_are_told_to_those_who_run_the_server(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{", encoding="utf-8")
    library = ModelLibrary([str(broken), f"tiny={tiny_model}"])
    with pytest.raises(ModelUnavailable) as refusal:
        library.get("broken")
    assert str(tmp_path) not in str(refusal.value)
    assert str(tmp_path) in capsys.readouterr().err
    with pytest.raises(InputError, match="broken"):
        library.load_default()
    assert library.get("tiny").generator.image_size == 32


def test_what_users_are_told_as_source_is_no_path(tiny_model: Path) -> None:
    library = ModelLibrary(["faces", f"tiny={tiny_model}", "hf://org/name"])
    assert [library.public_source(name) for name in ("faces", "tiny", "name")] == ["faces", "tiny", "hf://org/name"]


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ([], "--model: expected at least one model"),
        (["faces", "faces"], "expected names that differ, got 'faces' twice"),
        (["no/such/folder"], "got 'no/such/folder', which isn't there"),
    ],
)
def test_models_that_cannot_be_offered_are_refused(sources: list[str], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        ModelLibrary(sources)


def test_models_that_are_not_offered_are_refused(tiny_model: Path) -> None:
    with pytest.raises(UnknownModel, match="model: expected one of tiny, got 'other'"):
        ModelLibrary([f"tiny={tiny_model}"]).get("other")
