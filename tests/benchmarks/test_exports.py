"""The figures of exported formats, on a model of the faces' shape with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from text2latent import export
from text2latent.benchmarks.exports import main
from text2latent.benchmarks.report import read_parts


@pytest.fixture(scope="module")
def folder(untrained_faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that the benchmark reads, but for the compiled package, which takes minutes."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    flags = ["--format", "diffusers", "--format", "onnx", "--format", "pt2", "--int8", "--compile", "no"]
    assert export.main([str(untrained_faces), str(folder), *flags]) == 0
    return folder


def test_formats_and_eight_bits(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("text2latent.benchmarks.exports.compiler", lambda: None)
    file = tmp_path / "figures.json"
    flags = ["--folder", str(folder), "--json", str(file), "--repeats", "2", "--num-captions", "3"]
    assert main(flags) == 0
    figures = {figure.name: figure for part in read_parts(file).values() for figure in part["figures"]}
    for name in ("text2latent", "diffusers", "onnxruntime", "onnxruntime, int8", "torch.export"):
        assert all(figures[f"{name}, {what}"].value > 0 for what in ("load", "size", "one image"))
    assert figures["onnxruntime, int8, size"].value < figures["onnxruntime, size"].value
    assert figures["diffusers, difference from text2latent"].value == 0
    assert figures["onnxruntime, difference from text2latent"].verdict == "ok"
    assert figures["torch.export, difference from text2latent"].verdict == "ok"
    assert 0 <= figures["int8, named attributes that are there"].value <= 1
    assert not [name for name in figures if name.startswith("AOTInductor")]


def test_model_that_cannot_be_exported_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(tmp_path / "nothing"), "--only", "int8"]) == 1
    assert "cannot be exported" in capsys.readouterr().err
