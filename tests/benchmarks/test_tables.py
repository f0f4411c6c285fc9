"""The README's table is made of the figures that were kept."""

import pytest

from text2latent.benchmarks.report import Figure, keep_part, read_parts
from text2latent.benchmarks.tables import BEGIN, END, FIGURES, README, main, with_table

TEXT = f"# Title\n\n{BEGIN}\nold\n{END}\n\nend\n"


@pytest.fixture
def kept(tmp_path):
    file = tmp_path / "figures.json"
    keep_part(file, "clip", "python benchmarks/faces.py --only clip", [Figure("mean", 0.95, target=0.93)])
    keep_part(file, "demo", "python benchmarks/speed.py --only demo", [Figure("time", 9.5, "min", 10, True)])
    keep_part(file, "judge", "python benchmarks/faces.py --only judge", [Figure("age", 0.5, detail=True)])
    return file


def test_table_stands_between_the_marks_and_nothing_else_changes(kept):
    written = with_table(TEXT, read_parts(kept))
    before, _, rest = written.partition(BEGIN)
    table, _, after = rest.partition(END)
    assert (before, after) == ("# Title\n\n", "\n\nend\n")
    assert "old" not in written
    assert "| mean | 0.950 | >= 0.930 | ok |" in table
    assert "| time | 9.5 min | <= 10 min | ok |" in table
    assert "python benchmarks/speed.py --only demo" in table
    assert "age" not in table
    assert table.count("Measured on") == 1


def test_writing_again_changes_nothing(kept):
    once = with_table(TEXT, read_parts(kept))
    assert with_table(once, read_parts(kept)) == once


def test_script_writes_the_file(kept, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(TEXT, encoding="utf-8")
    assert main(["--json", str(kept), "--readme", str(readme)]) == 0
    assert readme.read_text(encoding="utf-8") == with_table(TEXT, read_parts(kept))


@pytest.mark.parametrize("text", ["", f"{BEGIN}\n", f"{END}\n"])
def test_file_without_the_marks_is_refused_and_stays(kept, tmp_path, capsys, text):
    readme = tmp_path / "README.md"
    readme.write_text(text, encoding="utf-8")
    assert main(["--json", str(kept), "--readme", str(readme)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert readme.read_text(encoding="utf-8") == text


def test_without_figures_nothing_is_written(tmp_path, capsys):
    assert main(["--json", str(tmp_path / "none.json"), "--readme", str(README)]) == 1
    assert "run benchmarks/faces.py" in capsys.readouterr().err


def test_readme_shows_the_figures_that_are_kept():
    text = README.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    if FIGURES.exists():
        assert text == with_table(text, read_parts(FIGURES))
