"""The figures of exported formats, on the faces world."""

from __future__ import annotations

from pathlib import Path

import pytest

from text2latent.benchmarks.exports import main
from text2latent.benchmarks.report import read_parts


def test_formats_and_eight_bits(faces_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("text2latent.benchmarks.exports.compiler", lambda: None)
    file = tmp_path / "figures.json"
    flags = ["--folder", str(faces_export), "--json", str(file), "--repeats", "2", "--num-captions", "3"]
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
