"""The tables of docs/optimize.md are made of the figures that were kept."""

from pathlib import Path

import pytest

from text2latent.benchmarks.optimize_table import DOCS, END, MARK, PARTS, main, with_tables
from text2latent.benchmarks.report import Figure, keep_part, read_parts
from text2latent.benchmarks.tables import FIGURES

TEXT = "# Title\n\n" + "\n\n".join(f"{MARK}\nold\n{END}".format(part=part) for part in PARTS) + "\n\nend\n"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    file = tmp_path / "figures.json"
    adam = [Figure("adam: CLIP similarity x 100", 31.234), Figure("adam: one image", 12.0, "s")]
    judged = Figure("adam: wanted attributes that are there", 0.5)
    keep_part(file, "optimizers", "python study", [*adam, judged, Figure("rank of adam among the optimizers", 2.0)])
    keep_part(file, "ways", "python ways", [Figure("infer: one image", 0.03, "s"), Figure("x over y", 400.0, "times")])
    return file


def test_tables_stand_in_their_places(kept: Path) -> None:
    written = with_tables(TEXT, read_parts(kept))
    assert "old" not in written
    assert written.startswith("# Title\n\n")
    assert written.endswith("\n\nend\n")
    ways, optimizers = written.split(END.format(part="ways"))
    assert "| way | one image |" in ways
    assert "| infer | 0.03 s |" in ways
    assert "- x over y: 400 times" in ways
    assert "| method | CLIP similarity x 100 | wanted attributes that are there | one image |" in optimizers
    assert "| adam | 31.23 | 0.500 | 12 s |" in optimizers
    assert "- rank of adam among the optimizers: 2" in optimizers
    assert "`python study`, " in optimizers
    assert with_tables(written, read_parts(kept)) == written


def test_script_writes_the_file(kept: Path, tmp_path: Path) -> None:
    page = tmp_path / "optimize.md"
    page.write_text(TEXT, encoding="utf-8")
    assert main(["--json", str(kept), "--docs", str(page)]) == 0
    assert page.read_text(encoding="utf-8") == with_tables(TEXT, read_parts(kept))


def test_what_is_missing_is_told_and_the_page_stays(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "optimize.md"
    page.write_text("nothing", encoding="utf-8")
    for file, message in (
        (kept, "--docs: expected a file with the lines"),
        (tmp_path / "none.json", "expected the part ways"),
    ):
        assert main(["--json", str(file), "--docs", str(page)]) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert message in err
    assert page.read_text(encoding="utf-8") == "nothing"


def test_the_page_shows_the_figures_that_are_kept() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert all(text.count(mark.format(part=part)) == 1 for part in PARTS for mark in (MARK, END))
    parts = read_parts(FIGURES)
    if parts.keys() >= PARTS.keys():
        assert text == with_tables(text, parts)
