"""What interrupts sample.py and who shares its work: full disks, Ctrl-C, kills, job arrays, several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from text2latent import sample
from text2latent.data.records import read_manifest
from text2latent.data.shards import load_pairs
from text2latent.tests.sample_runs import assert_close_in_float16, files, largest_file, shards

Arguments = Callable[..., list[str]]


def test_a_shard_that_cannot_be_written_spoils_nothing(
    tiny_world: Path,
    tiny_pairs: Path,
    tmp_path: Path,
    sample_arguments: Arguments,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert sample.main(sample_arguments(tiny_world, tmp_path, "--num-pairs", "32")) == 0
    finished = shards(tmp_path)
    with largest_file(20_000):
        assert sample.main(sample_arguments(tiny_world, tmp_path)) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("text2latent sample: error: cannot write ")
    assert "shard-000002.tar" in line
    assert shards(tmp_path) == finished
    assert not list(tmp_path.glob(".*"))
    assert sample.main(sample_arguments(tiny_world, tmp_path)) == 0
    assert files(tmp_path) == files(tiny_pairs)


def wait_for(path: Path, seconds: float = 300) -> None:
    limit = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < limit:
        time.sleep(0.005)
    assert path.exists()


def interrupt_after(path: Path) -> threading.Thread:
    """Send this process the signal of Ctrl-C when `path` appears."""

    def wait_and_send() -> None:
        wait_for(path)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait_and_send, daemon=True)
    thread.start()
    return thread


MANY = ("--num-pairs", "400", "--batch-size", "1")


def test_ctrl_c_keeps_the_finished_shards(
    tiny_world: Path, tmp_path: Path, sample_arguments: Arguments, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = sample_arguments(tiny_world, tmp_path, *MANY)
    thread = interrupt_after(tmp_path / "shard-000001.tar")
    assert sample.main(arguments) == 130
    thread.join()
    assert "interrupted; run the same command again to go on" in capsys.readouterr().err
    finished = shards(tmp_path)
    assert 2 <= len(finished) < 25
    assert len(read_manifest(tmp_path).finished()) == len(finished)
    assert sample.main(arguments) == 0
    assert load_pairs(tmp_path)[0].shape[0] == 400
    assert finished.items() <= shards(tmp_path).items()


def command(*arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", *arguments], env=environment, stderr=subprocess.PIPE)


def test_a_killed_run_leaves_whole_shards_and_goes_on(
    tiny_world: Path, tmp_path: Path, sample_arguments: Arguments
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert sample.main(sample_arguments(tiny_world, whole, *MANY)) == 0
    process = command("text2latent", "sample", *sample_arguments(tiny_world, killed, *MANY))
    wait_for(killed / "shard-000002.tar")
    process.kill()
    process.communicate()
    left = shards(killed)
    assert 3 <= len(left) < 25
    assert len(read_manifest(killed).finished()) == len(left)
    assert sample.main(sample_arguments(tiny_world, killed, *MANY)) == 0
    assert left.items() <= shards(killed).items()
    np.testing.assert_array_equal(load_pairs(killed)[0], load_pairs(whole)[0])
    assert_close_in_float16(load_pairs(killed)[1], load_pairs(whole)[1])
    assert not list(killed.glob(".*"))


def test_tasks_of_a_job_array_fill_one_dataset(
    tiny_world: Path, tiny_pairs: Path, tmp_path: Path, sample_arguments: Arguments, capsys: pytest.CaptureFixture[str]
) -> None:
    for task, (shards_of_task, line) in enumerate(
        [("3..5", "1 of 4 shards"), ("0..1", "3 of 4 shards"), ("2", "50 pairs in")]
    ):
        arguments = sample_arguments(tiny_world, tmp_path, "--shards", shards_of_task, "--batch-size", str(3 + task))
        assert sample.main(arguments) == 0
        assert line in capsys.readouterr().out
    assert files(tmp_path).keys() == files(tiny_pairs).keys()
    np.testing.assert_array_equal(load_pairs(tmp_path)[0], load_pairs(tiny_pairs)[0])
    assert_close_in_float16(load_pairs(tmp_path)[1], load_pairs(tiny_pairs)[1])


LAUNCHERS = {
    "torchrun": ("torch.distributed.run", "--nproc-per-node", "2", "--standalone"),
    # On CPUs, accelerate starts several processes through MPI only.
    "accelerate": ("accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1"),
}


@pytest.mark.parametrize("launcher", LAUNCHERS.values(), ids=LAUNCHERS.keys())
def test_launchers_start_processes_that_share_the_shards(
    tiny_world: Path, tiny_pairs: Path, tmp_path: Path, sample_arguments: Arguments, launcher: tuple[str, ...]
) -> None:
    arguments = sample_arguments(tiny_world, tmp_path, "--batch-size", "3")
    process = command(*launcher, "-m", "text2latent", "sample", *arguments)
    _, error = process.communicate(timeout=900)
    assert process.returncode == 0, error.decode()
    assert files(tmp_path).keys() == files(tiny_pairs).keys()
    np.testing.assert_array_equal(load_pairs(tmp_path)[0], load_pairs(tiny_pairs)[0])
    assert_close_in_float16(load_pairs(tmp_path)[1], load_pairs(tiny_pairs)[1])
