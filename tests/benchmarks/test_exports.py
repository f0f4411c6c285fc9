"""The figures of exported formats, on the faces world, and the tables made of them."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from text2latent.benchmarks.export_runtimes import Timing
from text2latent.benchmarks.exports import default_parts, main
from text2latent.benchmarks.exports_table import BEGIN, DOCS, END, FIGURES, markdown_tables
from text2latent.benchmarks.exports_table import main as write_tables
from text2latent.benchmarks.report import Figure, keep_part, read_parts


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


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    file = tmp_path / "figures.json"
    figures = [Figure("a, load", 2.0, "s"), Figure("a, size", 3.0, "MiB"), Figure("a, int8, size", 1.0, "MiB")]
    keep_part(file, "formats", "python benchmarks/exports.py --only formats", figures)
    return file


def test_tables_have_a_row_per_tool(kept: Path) -> None:
    text = markdown_tables(read_parts(kept))
    assert "| tool | load | size |\n|---|---|---|\n| a | 2 s | 3 MiB |\n| a, int8 |  | 1 MiB |" in text
    assert text.startswith("`python benchmarks/exports.py --only formats`")
    assert text.count("Measured on") == 1


def test_script_replaces_the_tables_only(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docs = tmp_path / "export.md"
    docs.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nend\n", encoding="utf-8")
    assert write_tables(["--json", str(kept), "--docs", str(docs)]) == 0
    table = markdown_tables(read_parts(kept))
    assert docs.read_text(encoding="utf-8") == f"# Title\n\n{BEGIN}\n\n{table}\n\n{END}\n\nend\n"
    assert write_tables(["--json", str(tmp_path / "none.json"), "--docs", str(docs)]) == 1
    assert "run benchmarks/exports.py --json FILE" in capsys.readouterr().err


def test_docs_show_the_figures_that_are_kept() -> None:
    shown = DOCS.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].strip()
    assert shown == markdown_tables(read_parts(FIGURES))
