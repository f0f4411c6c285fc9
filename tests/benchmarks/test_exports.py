"""The figures of exported formats, on the faces world."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from text2latent.benchmarks.export_runtimes import Timing
from text2latent.benchmarks.exports import default_parts, main
from text2latent.benchmarks.report import read_parts


def save_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"{}")


def test_formats_and_eight_bits(faces_export: Path, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    assert main(["--folder", str(faces_export), "--json", str(file), "--quick"]) == 0
    figures = {figure.name: figure for part in read_parts(file).values() for figure in part["figures"]}
    for name in ("text2latent", "diffusers", "onnxruntime", "onnxruntime, int8", "torch.export"):
        assert all(figures[f"{name}, {what}"].value > 0 for what in ("load", "size", "one image"))
        assert figures[f"{name}, difference from text2latent"].verdict == "ok"
    assert figures["onnxruntime, int8, size"].value < figures["onnxruntime, size"].value
    assert 0 <= figures["int8, named attributes that are there"].value <= 1
    assert not [name for name in figures if name.startswith("AOTInductor")]


def test_speed_up_is_that_of_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timings are made up here; the real package is compiled and drawn with by the tests of torch.export's folder."""
    seconds = {"torch.export": 0.3, "AOTInductor": 0.1}
    monkeypatch.setattr(
        "text2latent.benchmarks.exports.timed", lambda name, *_: Timing(1.0, seconds[name], np.zeros((1, 1, 3)))
    )
    save_files(tmp_path, "pt2/text2latent.pt2", "pt2/text2latent.aoti.pt2", "tokenizer/tokenizer.json")
    flags = ["--folder", str(tmp_path), "--only", "compile"]
    assert main([*flags, "--json", str(tmp_path / "figures.json")]) == 0
    (figure,) = read_parts(tmp_path / "figures.json")["compile"]["figures"]
    assert figure.value == pytest.approx(3)
    (tmp_path / "pt2" / "text2latent.aoti.pt2").unlink()
    assert main(flags) == 1


def test_the_compiled_package_is_measured_where_there_is_one(tmp_path: Path) -> None:
    config = Namespace(folder=str(tmp_path), quick=False)
    save_files(tmp_path, "tokenizer/tokenizer.json")
    assert default_parts(config) == ["formats", "int8"]
    save_files(tmp_path, "pt2/text2latent.aoti.pt2")
    assert default_parts(config) == ["formats", "int8", "compile"]
    assert default_parts(Namespace(folder=None, quick=True)) == ["formats", "int8"]


def test_model_that_cannot_be_exported_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(tmp_path / "nothing"), "--only", "int8"]) == 1
    assert "cannot be exported" in capsys.readouterr().err
