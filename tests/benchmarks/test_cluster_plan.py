"""Plans for clusters: their arithmetic, and where they are written."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text2latent.benchmarks import tables
from text2latent.benchmarks.cluster_plan import Rates, make_plan
from text2latent.benchmarks.report import Figure, keep_part

BEGIN, END = tables.marks("plan")
RATES = Rates(bytes=4000, sampling=100, finishing=10_000, streaming=20_000, training=50_000)
PLAN = ("--only", "plan")


def test_a_plan_by_hand() -> None:
    plan = make_plan(RATES, 3_600_000, 10, epochs=10)
    assert plan.gigabytes == 14.4
    assert plan.hours == {"sampling": 1.0, "finishing": 0.1, "training": 0.05}
    assert plan.bottleneck == "sampling"
    assert make_plan(RATES, 3_600_000, 1000).bottleneck == "finishing"


@given(st.integers(1, 10**9), st.integers(1, 1000))
def test_twice_the_pairs_take_twice_as_much_and_twice_the_processes_half(num_pairs: int, processes: int) -> None:
    plan, more = make_plan(RATES, num_pairs, processes), make_plan(RATES, 2 * num_pairs, 2 * processes)
    assert more.gigabytes == pytest.approx(2 * plan.gigabytes)
    assert more.hours["sampling"] == pytest.approx(plan.hours["sampling"])
    assert more.hours["finishing"] == pytest.approx(2 * plan.hours["finishing"])


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Figures as benchmarks/cluster.py keeps them."""
    file = tmp_path / "cluster.json"
    for name, value in asdict(RATES).items():
        keep_part(file, name, f"measure {name}", [Figure(name, value)])
    return file


def test_the_table_takes_its_place_in_the_docs(kept: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs.md"
    docs.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert tables.main([*PLAN, "--json", str(kept), "--page", str(docs)]) == 0
    text = docs.read_text()
    assert text.startswith(f"before\n{BEGIN}\n\nOne process: 100 pairs/s sampled")
    assert text.endswith(f"{END}\nafter\n")
    assert "| 1 M | 4 GB | 1 | 2.8 h | 1.7 min | 8.3 min | sampling |" in text
    assert "| 1 B | 4.0 TB | 100 | 27.8 h | 27.8 h | 1.4 h | sampling |" in text
    assert text.count("\n| ") == 13


def test_rates_can_be_given(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tables.main([*PLAN, "--json", str(kept), "--page", "-", "--rate", "sampling=1000"]) == 0
    assert "1,000 pairs/s sampled" in (out := capsys.readouterr().out)
    assert "Given: sampling." in out


def test_a_rate_that_was_not_measured_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--json", str(tmp_path / "none.json"), "--page", "-", "--rate", "bytes=4000"]
    assert tables.main([*PLAN, *words]) == 1
    assert "expected the part sampling" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["memory", "parity"])
def test_other_tables_take_their_place_too(kept: Path, tmp_path: Path, name: str) -> None:
    figures = [Figure("one process", 0.5), Figure("difference", 0.01, target=0.02, at_most=True)]
    keep_part(kept, name, f"measure {name}", figures)
    docs = tmp_path / "docs.md"
    docs.write_text("\n".join([BEGIN, END, tables.marks(name)[0], "old", tables.marks(name)[1], ""]))
    assert tables.main([*PLAN, "--only", name, "--json", str(kept), "--page", str(docs)]) == 0
    table = docs.read_text().split(tables.marks(name)[0])[1]
    assert "| one process | 0.500 |  |\n| difference | 0.010 | <= 0.020 |\n\n" in table
    assert "old" not in table
