"""Plans for clusters: their arithmetic, where they are written, and that what they rest on is measured."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text2latent.benchmarks import cluster, cluster_table
from text2latent.benchmarks.cluster_table import FIRST_FIGURES, TABLES, Rates, make_plan, markdown_figures, marks
from text2latent.benchmarks.report import Figure, keep_part, read_parts
from text2latent.data.shards import load_pairs

BEGIN, END = marks("plan")
RATES = Rates(bytes=4000, sampling=100, finishing=10_000, streaming=20_000, training=50_000)


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
    assert cluster_table.main(["--json", str(kept), "--docs", str(docs)]) == 0
    text = docs.read_text()
    assert text.startswith(f"before\n{BEGIN}\n\nOne process: 100 pairs/s sampled")
    assert text.endswith(f"{END}\nafter\n")
    assert "| 1 M | 4 GB | 1 | 2.8 h | 1.7 min | 8.3 min | sampling |" in text
    assert "| 1 B | 4.0 TB | 100 | 27.8 h | 27.8 h | 1.4 h | sampling |" in text
    assert text.count("\n| ") == 13


def test_rates_can_be_given(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cluster_table.main(["--json", str(kept), "--docs", "-", "--sampling", "1000"]) == 0
    assert "1,000 pairs/s sampled" in (out := capsys.readouterr().out)
    assert "Given: sampling." in out


def test_a_rate_that_was_not_measured_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cluster_table.main(["--json", str(tmp_path / "none.json"), "--docs", "-", "--bytes", "4000"]) == 1
    assert "expected the part sampling" in capsys.readouterr().err


@pytest.mark.parametrize("name", TABLES)
def test_other_tables_take_their_place_too(kept: Path, tmp_path: Path, name: str) -> None:
    figures = [Figure("one process", 0.5), Figure("difference", 0.01, target=0.02, at_most=True)]
    keep_part(kept, name, f"measure {name}", figures)
    docs = tmp_path / "docs.md"
    docs.write_text("\n".join([BEGIN, END, marks(name)[0], "old", marks(name)[1], ""]))
    assert cluster_table.main(["--json", str(kept), "--docs", str(docs)]) == 0
    table = docs.read_text().split(marks(name)[0])[1]
    assert "| one process | 0.500 |  |\n| difference | 0.010 | <= 0.020 |\n\n" in table
    assert "old" not in table


def test_the_shipped_tables_are_those_of_the_shipped_figures(tmp_path: Path) -> None:
    parts, text = read_parts(cluster_table.FIGURES), cluster_table.DOCS.read_text(encoding="utf-8")
    for name in TABLES:
        begin, end = marks(name)
        expected = markdown_figures(parts[name]["figures"]) if name in parts else ""
        assert text.split(begin)[1].split(end)[0].strip() == expected
    if set(FIRST_FIGURES) <= parts.keys():
        docs = tmp_path / "docs.md"
        docs.write_text(text, encoding="utf-8")
        assert cluster_table.main(["--docs", str(docs)]) == 0
        assert docs.read_text(encoding="utf-8") == text
    else:
        assert text.split(BEGIN)[1].split(END)[0].strip() == ""


def test_synthetic_pairs_are_a_dataset(tmp_path: Path) -> None:
    latents, embeddings = load_pairs(cluster.write_pairs(tmp_path, 1500, 16, 8))
    assert (latents.shape, embeddings.shape) == ((1500, 1, 16), (1500, 8))
    assert len({row.tobytes() for row in latents}) == 1500


def test_what_a_pair_takes_and_how_fast_it_is_read() -> None:
    config = Namespace(num_pairs=2000)
    stored, in_memory = (figure.value for figure in cluster.bytes_figures(config))
    assert 4096 <= stored < 4200  # two files, each a header and its bytes in blocks of 512
    assert in_memory == 2048
    rates = [*cluster.finishing_figures(config), *cluster.streaming_figures(config)]
    assert len(rates) == 3
    assert all(figure.value > 0 for figure in rates)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells a process's peak there")
def test_memory_while_streaming_does_not_follow_the_pairs() -> None:
    few, many, growth = cluster.memory_figures(Namespace(num_pairs=20_000))
    assert (few.name[-10:], many.name[-10:]) == (" 20 shards", "200 shards")
    assert growth.verdict == "ok"


@pytest.mark.slow
def test_two_processes_come_to_the_loss_of_one(tmp_path: Path) -> None:
    file = tmp_path / "parity.json"
    assert cluster.main(["--only", "parity", "--json", str(file)]) == 0
    figures = json.loads(file.read_text())["parts"]["parity"]["figures"]
    assert len(figures) == 3 + 6
    assert figures[2]["value"] <= figures[2]["target"]
