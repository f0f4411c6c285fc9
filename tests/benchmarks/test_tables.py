"""The tables of the documents are made of the figures that were kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from text2latent.benchmarks.report import Figure, keep_part, read_parts
from text2latent.benchmarks.tables import ROOT, TABLES, all_figures, export_costs, main, marks, optimization, with_table

BEGIN, END = marks("figures")
TEXT = f"# Title\n\n{BEGIN}\nold\n{END}\n\nend\n"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    file = tmp_path / "figures.json"
    keep_part(file, "clip", "python benchmarks/worlds.py --only clip", [Figure("mean", 0.95, target=0.93)])
    keep_part(file, "demo", "python benchmarks/speed.py --only demo", [Figure("time", 9.5, "min", 10, True)])
    keep_part(file, "judge", "python benchmarks/worlds.py --only judge", [Figure("age", 0.5, detail=True)])
    return file


@pytest.fixture
def optimized(tmp_path: Path) -> Path:
    file = tmp_path / "optimized.json"
    adam = [Figure("adam: CLIP similarity x 100", 31.234), Figure("adam: one image", 12.0, "s")]
    judged = Figure("adam: wanted attributes that are there", 0.5)
    keep_part(file, "optimizers", "python study", [*adam, judged, Figure("rank of adam among the optimizers", 2.0)])
    keep_part(file, "ways", "python ways", [Figure("infer: one image", 0.03, "s"), Figure("x over y", 400.0, "times")])
    return file


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    file = tmp_path / "exports.json"
    figures = [Figure("a, load", 2.0, "s"), Figure("a, size", 3.0, "MiB"), Figure("a, int8, size", 1.0, "MiB")]
    keep_part(file, "formats", "python benchmarks/exports.py --only formats", figures)
    return file


def test_table_stands_between_the_marks_and_nothing_else_changes(kept: Path) -> None:
    written = with_table(TEXT, "figures", all_figures(read_parts(kept)))
    before, _, rest = written.partition(BEGIN)
    table, _, after = rest.partition(END)
    assert (before, after) == ("# Title\n\n", "\n\nend\n")
    assert "old" not in written
    assert "| mean | 0.950 | >= 0.930 | ok |" in table
    assert "| time | 9.5 min | <= 10 min | ok |" in table
    assert "python benchmarks/speed.py --only demo" in table
    assert "age" not in table
    assert table.count("Measured on") == 1


def test_writing_again_changes_nothing(kept: Path) -> None:
    once = with_table(TEXT, "figures", all_figures(read_parts(kept)))
    assert with_table(once, "figures", all_figures(read_parts(kept))) == once


def test_ways_and_methods_have_a_row_each(optimized: Path) -> None:
    ways = optimization("ways", "way", read_parts(optimized))
    assert "| way | one image |" in ways
    assert "| infer | 0.03 s |" in ways
    assert "- x over y: 400 times" in ways
    optimizers = optimization("optimizers", "method", read_parts(optimized))
    assert "| method | CLIP similarity x 100 | wanted attributes that are there | one image |" in optimizers
    assert "| adam | 31.23 | 0.500 | 12 s |" in optimizers
    assert "- rank of adam among the optimizers: 2" in optimizers
    assert "`python study`, " in optimizers


def test_exports_have_a_row_per_tool(exported: Path) -> None:
    text = export_costs(read_parts(exported))
    assert "| tool | load | size |\n|---|---|---|\n| a | 2 s | 3 MiB |\n| a, int8 |  | 1 MiB |" in text
    assert text.startswith("`python benchmarks/exports.py --only formats`")
    assert text.count("Measured on") == 1


@pytest.mark.parametrize(
    ("file", "names"), [("kept", ["figures"]), ("optimized", ["ways", "optimizers"]), ("exported", ["costs"])]
)
def test_script_replaces_the_tables_only(
    file: str, names: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    figures, page = request.getfixturevalue(file), tmp_path / "page.md"
    places = "\n\n".join("{}\nold\n{}".format(*marks(name)) for name in names)
    page.write_text(f"# Title\n\n{places}\n\nend\n", encoding="utf-8")
    chosen = [word for name in names for word in ("--only", name)]
    assert main([*chosen, "--json", str(figures), "--page", str(page)]) == 0
    texts = {name: TABLES[name].text(figures, {}) for name in names}
    expected = "\n\n".join("{}\n\n{text}\n\n{}".format(*marks(name), text=text) for name, text in texts.items())
    assert page.read_text(encoding="utf-8") == f"# Title\n\n{expected}\n\nend\n"


@pytest.mark.parametrize("text", ["", f"{BEGIN}\n", f"{END}\n", "nothing"])
def test_file_without_the_marks_is_refused_and_stays(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    page = tmp_path / "README.md"
    page.write_text(text, encoding="utf-8")
    assert main(["--only", "figures", "--json", str(kept), "--page", str(page)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--page: expected a file with the lines" in error
    assert page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("figures", "expected figures, found none; run benchmarks/worlds.py --json FILE"),
        ("ways", "expected the part ways; run benchmarks/optimizers.py --json FILE"),
        ("costs", "run benchmarks/exports.py --json FILE"),
        ("priors", "expected results that a comparison of priors has kept"),
    ],
)
def test_without_figures_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    page = tmp_path / "page.md"
    page.write_text("\n".join(marks(name)), encoding="utf-8")
    assert main(["--only", name, "--json", str(tmp_path / "none.json"), "--page", str(page)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert page.read_text(encoding="utf-8") == "\n".join(marks(name))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "x"], "--only: expected one of figures, "),
        (["--json", "x"], "--json: needs --only"),
        (["--page", "-"], "--page: needs --only"),
        (["--only", "costs", "--rate", "bytes=1"], "--rate: needs --only plan"),
        (["--only", "plan", "--rate", "bytes=-1"], "--rate: expected bytes|"),
        (["--only", "plan", "--rate", "sampling"], "got 'sampling'"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", TABLES)
def test_the_documents_show_the_figures_that_are_kept(name: str) -> None:
    table = TABLES[name]
    page = (ROOT / table.page).read_text(encoding="utf-8")
    assert [page.count(mark) for mark in marks(name)] == [1, 1]
    assert page == with_table(page, name, table.text(ROOT / table.source, {}))
