"""The commands on a dataset that lies on a real S3 server, moto's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from text2latent import sample, train
from text2latent.apps import verify
from text2latent.data.datamodule import PairDataModule
from text2latent.data.shards import load_pairs
from text2latent.tests.train_runs import arguments, assert_same_prior

Arguments = Callable[..., list[str]]


@pytest.fixture(scope="module")
def place(s3: str, tiny_world: Path, sample_arguments: Arguments) -> str:
    """Address of a dataset that `sample` has begun and then gone on with; read only."""
    address = "s3://bucket/tiny/pairs"
    words = sample_arguments(tiny_world, address)
    assert sample.main([*words, "--shards", "1..2"]) == 0
    assert sample.main(words) == 0
    return address


def test_sample_and_verify(place: str, tiny_pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([place, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 50
    for ours, theirs in zip(load_pairs(place), load_pairs(tiny_pairs), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_train_comes_to_the_same_as_on_a_disk(place: str, tiny_pairs: Path, tmp_path: Path) -> None:
    """Streamed by two processes that read, which can't share connections with the one that started them."""
    streamed = ("--data.in-memory", "false", "--data.num-workers", "2", "--max-steps", "6", "--tensorboard", "false")
    for pairs, run in ((place, tmp_path / "remote"), (tiny_pairs, tmp_path / "local")):
        assert train.main(arguments(pairs, run, *streamed)) == 0
    assert_same_prior(tmp_path / "remote", tmp_path / "local")


def test_pairs_are_held_in_memory_too(place: str, tiny_pairs: Path) -> None:
    remote, local = (PairDataModule(pairs, 8, val_pairs=10, in_memory=True) for pairs in (place, tiny_pairs))
    for module in (remote, local):
        module.setup("fit")
    ours, theirs = (next(iter(module.train_dataloader())) for module in (remote, local))
    np.testing.assert_array_equal(ours[0], theirs[0])
