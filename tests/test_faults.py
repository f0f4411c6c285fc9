"""Pairs are sampled and a prior is trained on them while more than 60 things go wrong, and nothing is lost.

    python -m pytest -m slow -s tests/test_faults.py

prints how often each was induced. What comes out is compared with what undisturbed runs leave: pairs, every loss of
the training, and its weights, to the bit.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from text2latent import sample, train
from text2latent.apps import verify
from text2latent.data.manifest import shard_name
from text2latent.data.records import read_manifest
from text2latent.data.shards import decode_shard, encode_shard, load_pairs, publish_shard, read_bytes
from text2latent.tests.data.web_server import Server
from text2latent.tests.sample_runs import largest_file, shards
from text2latent.tests.train_runs import arguments, assert_same_prior, loss_curve, rows

PATIENCE = 600  # seconds to wait for anything
SPAWN = multiprocessing.get_context("forkserver")  # starts processes in which all is imported already
SPAWN.set_forkserver_preload(
    ["text2latent.sample", "text2latent.train", "lightning.pytorch", "text2latent.models.clip.encoder"]
)
SHARDS = 60
PAIRS = ("--num-pairs", str(8 * SHARDS), "--shard-size", "8", "--batch-size", "1")

Arguments = Callable[..., list[str]]


def start(main: Callable[..., Any], words: list[str]) -> Any:
    process = SPAWN.Process(target=main, args=(words,))
    process.start()
    return process


def wait_until(process: Any, happened: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE
    while not happened():
        assert process.is_alive()
        assert time.monotonic() < limit
        time.sleep(0.002)


def kill(process: Any) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL


def kill_sampling(words: list[str], folder: Path, times: int, moments: random.Random) -> Counter[str]:
    """SIGKILL some moments after a shard was finished; what is there is whole, and stays."""
    for _ in range(times):
        there = shards(folder)
        process = start(sample.main, words)
        wait_until(process, lambda there=there: len(list(folder.glob("*.tar"))) > len(there))  # type: ignore[misc]
        time.sleep(moments.uniform(0, 0.03))
        kill(process)
        assert there.items() <= shards(folder).items()
        for record in read_manifest(folder).shards:
            read_bytes(folder, record)
    assert sample.main(words) == 0
    return Counter({"SIGKILL while sampling": times})


def damage_shards(words: list[str], folder: Path, foreign: Path, capsys: pytest.CaptureFixture[str]) -> Counter[str]:
    """Damage of each kind is reported by `verify` and mended by running `sample` again."""
    paths = [folder / shard_name(index) for index in range(0, SHARDS, 8)]
    whole = [path.read_bytes() for path in paths]
    paths[0].write_bytes(whole[0][:3000])
    paths[1].write_bytes(whole[1][:-1024])
    paths[2].write_bytes(b"")
    paths[3].write_bytes(whole[3][:700] + bytes([whole[3][700] ^ 1]) + whole[3][701:])
    paths[4].write_bytes(whole[5])
    paths[5].unlink()
    paths[6].write_bytes((foreign / paths[0].name).read_bytes())
    paths[7].write_bytes(random.Random(7).randbytes(5000))
    assert verify.main([str(folder)]) == 1
    assert f"{len(paths)} problems" in capsys.readouterr().out
    assert sample.main(words) == 0
    assert [path.read_bytes() for path in paths] == whole
    return Counter({"damaged shard": len(paths)})


def fill_the_disk(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> Counter[str]:
    """A limit on file sizes stands for the disk: writes fail half-way as they would there."""
    limits = (2000, 6000, 12_000)
    (folder / shard_name(17)).unlink()
    for limit in limits:
        with largest_file(limit):
            assert sample.main(words) == 1
        assert f"cannot write {folder / shard_name(17)}" in capsys.readouterr().err
    assert sample.main(words) == 0
    return Counter({"full disk while sampling": len(limits)})


def disturb_reading(folder: Path) -> Counter[str]:
    """A web server that fails once for each of some shards, in four ways."""
    with Server(folder.parent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kinds = ("503", "drop", "slow", "garble")
        server.faults = {(kinds[index % 4], shard_name(index)): 1 for index in range(20)}
        for ours, theirs in zip(load_pairs(server.store(folder=folder.name)), load_pairs(folder), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert not any(server.faults.values())
        server.shutdown()
    return Counter({f"{kind} while reading": 5 for kind in kinds})


def disturb_writing(words: list[str], root: Path, expected: Path) -> Counter[str]:
    """Sampling to a web server that refuses the first request to write some shards."""
    with Server(root) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.faults = {("503", shard_name(index)): 1 for index in range(5)}
        assert sample.main([*words, "--num-pairs", "40", "--output", str(server.store())]) == 0
        assert not any(server.faults.values())
        server.shutdown()
    assert shards(root / "pairs").items() <= shards(expected).items()
    return Counter({"503 while writing": 5})


def step_of(run: Path) -> int:
    return int(torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"])


def last_logged(run: Path) -> int:
    return max(loss_curve(run), default=0)


def end_trainings(words: list[str], run: Path, signums: list[int], moments: random.Random) -> Counter[str]:
    """A training that is ended again and again; a signal that can be caught costs not even a step."""
    for signum in signums:
        process, goal = start(train.main, words), last_logged(run) + moments.randint(2, 9)
        wait_until(process, lambda goal=goal: last_logged(run) >= goal)  # type: ignore[misc]
        time.sleep(moments.uniform(0, 0.02))
        if signum == signal.SIGKILL:
            kill(process)
        else:
            os.kill(process.pid, signum)
            process.join(PATIENCE)
            assert step_of(run) == last_logged(run)
    return Counter(f"{signal.Signals(signum).name} while training" for signum in signums)


def truncate_checkpoints(words: list[str], run: Path, times: int, moments: random.Random) -> Counter[str]:
    """The newest checkpoint is cut off after a kill."""
    for _ in range(times):
        end_trainings(words, run, [signal.SIGKILL], moments)
        newest = run / "checkpoints/last.ckpt"
        os.truncate(newest, int(newest.stat().st_size * moments.uniform(0, 0.99)))
    return Counter({"truncated checkpoint": times, "SIGKILL while training": times})


def fill_the_disk_of_checkpoints(words: list[str], run: Path, capsys: pytest.CaptureFixture[str]) -> Counter[str]:
    limits = (3000, 20_000)
    end_trainings(words, run, [signal.SIGTERM], random.Random(2))  # what stays is whole
    before = (run / "checkpoints/last.ckpt").read_bytes()
    for limit in limits:
        with largest_file(limit):
            assert train.main([*words, "--csv", "false"]) == 1
        assert "cannot write" in capsys.readouterr().err
        assert (run / "checkpoints/last.ckpt").read_bytes() == before
    return Counter({"full disk while training": len(limits), "SIGTERM while training": 1})


def spoil_pairs(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> Counter[str]:
    """NaN in a shard whose checksum is right stops training before it starts, naming the shard."""
    manifest, spoilt = read_manifest(folder), (5, 30, 59)
    for index in spoilt:
        samples, whole = manifest.shard_range(index), (folder / shard_name(index)).read_bytes()
        latents, embeddings = (values.copy() for values in decode_shard(whole, samples, manifest))
        embeddings[index % 8, 3] = np.nan
        publish_shard(folder, index, len(samples), encode_shard(samples.start, latents, embeddings))
        assert train.main([*words, "--data.in-memory", "true"]) == 1
        assert shard_name(index) in (error := capsys.readouterr().err)
        assert "NaN or infinity" in error
        publish_shard(folder, index, len(samples), whole)
    return Counter({"NaN in a shard": len(spoilt)})


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread computes, here and in the processes that are started: sums over several are rounded otherwise."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_more_than_sixty_faults_end_with_nothing_lost(
    tiny_world: Path,
    other_world: Path,
    tmp_path: Path,
    sample_arguments: Arguments,
    capsys: pytest.CaptureFixture[str],
    one_thread: None,
) -> None:
    whole, pairs, foreign = tmp_path / "whole", tmp_path / "pairs", tmp_path / "foreign"
    moments = random.Random(0)
    for world, folder in ((tiny_world, whole), (other_world, foreign)):
        assert sample.main(sample_arguments(world, folder, *PAIRS)) == 0
    words = sample_arguments(tiny_world, pairs, *PAIRS)
    faults = kill_sampling(words, pairs, 20, moments)
    faults += damage_shards(words, pairs, foreign, capsys)
    faults += fill_the_disk(words, pairs, capsys)
    faults += disturb_reading(pairs)
    faults += disturb_writing(words, tmp_path / "web", whole)
    assert shards(pairs) == shards(whole)
    assert verify.main([str(pairs)]) == 0

    run, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    settings = ("--log-every-steps", "1", "--checkpoint-every-steps", "3", "--prior.dropout", "0.1", "--tensorboard")
    settings += ("false", "--validation.every-steps", "25", "--optimizer.schedule", "constant", "--max-steps")
    words = arguments(pairs, run, *settings, "1000000")
    ends = [signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1] * 2
    faults += end_trainings(words, run, ends, moments)
    faults += truncate_checkpoints(words, run, 4, moments)
    faults += fill_the_disk_of_checkpoints(words, run, capsys)
    faults += spoil_pairs(words, pairs, capsys)
    steps = last_logged(run) + 10
    for folder in (run, undisturbed):
        assert train.main(arguments(pairs, folder, *settings, str(steps))) == 0
    expected = loss_curve(undisturbed)
    assert loss_curve(run) == expected
    assert all(row["train_loss"] == expected[int(row["step"])] for row in rows(run) if row["train_loss"])
    assert_same_prior(run, undisturbed)
    with capsys.disabled():
        print("\n".join(["", *(f"{count:3}  {kind}" for kind, count in faults.items()), f"{faults.total():3}  in all"]))
    assert faults.total() >= 60
