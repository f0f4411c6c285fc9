"""Pairs of the awkward faces from pairs of the easy ones: the same as those that are drawn."""

from pathlib import Path

import numpy as np
import pytest

from text2latent import sample
from text2latent.benchmarks import harden_pairs
from text2latent.data.records import read_manifest
from text2latent.data.shards import load_pairs
from text2latent.data.stats import load_statistics


@pytest.fixture(scope="module")
def easy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "easy"
    assert sample.main(["--num-pairs", "6", "--shard-size", "4", "--output", str(folder)]) == 0
    return folder


def test_pairs_are_those_that_are_drawn(easy: Path, tmp_path: Path) -> None:
    made, drawn = tmp_path / "made", tmp_path / "drawn"
    assert harden_pairs.main(["--pairs", str(easy), "--output", str(made)]) == 0
    flags = ["--model", "faces-hard", "--num-pairs", "6", "--shard-size", "4", "--output", str(drawn)]
    assert sample.main(flags) == 0
    found, wanted = read_manifest(made), read_manifest(drawn)
    assert (found.generator.sha256, found.clip) == (wanted.generator.sha256, wanted.clip)
    (latents, embeddings), (drawn_latents, drawn_embeddings) = load_pairs(made), load_pairs(drawn)
    assert np.array_equal(latents, drawn_latents)
    assert np.abs(embeddings.astype(float) - drawn_embeddings).max() < 2e-3
    assert load_statistics(made).embedding_mean.shape == (512,)


def test_pairs_of_another_clip_are_refused(easy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "made"
    assert harden_pairs.main(["--pairs", str(easy), "--output", str(made)]) == 0
    assert harden_pairs.main(["--pairs", str(made), "--output", str(tmp_path / "again")]) == 1
    assert "CLIP: expected faces-hard" in capsys.readouterr().err
    assert harden_pairs.main(["--pairs", str(easy), "--clip", "faces", "--output", str(tmp_path / "again")]) == 2
    assert "--clip: expected a CLIP that is a head" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()
