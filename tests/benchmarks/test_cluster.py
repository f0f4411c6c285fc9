"""What plans for clusters rest on is measured."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest

from text2latent.benchmarks import cluster
from text2latent.data.shards import load_pairs


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
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux shows a process's peak there")
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
