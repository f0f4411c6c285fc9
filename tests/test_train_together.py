"""Several processes that train together, by themselves, under torchrun, with whole and with split priors."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from text2latent import train
from text2latent.models.priors.folder import load_prior
from text2latent.tests.train_runs import arguments, assert_same_prior, rows

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
TORCHRUN = Path(train.__file__).parent / "configs" / "slurm" / "torchrun.sh"


def command(pairs: Path, run: Path, *extra: str) -> list[str]:
    words = arguments(pairs, run, "--data.batch-size", "4", "--log-every-steps", "1", *extra)
    return [sys.executable, "-m", "text2latent", "train", *words]


def run_to_the_end(words: list[str]) -> str:
    ran = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, timeout=900)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def pair_of_processes(tiny_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes, on 40 pairs in batches of 4; read only."""
    run = tmp_path_factory.mktemp("together") / "run"
    assert run_to_the_end(command(tiny_pairs, run, "--devices", "2")).count("the prior is in") == 1
    return run


def test_two_processes_train_together(pair_of_processes: Path) -> None:
    metrics = json.loads((pair_of_processes / "checkpoints/metrics.json").read_text())
    assert (metrics["processes"], metrics["steps"]) == (2, 12)
    assert metrics["pairs_seen"] == 8 * metrics["steps"]
    assert metrics["pairs_per_second"] > 0


def test_a_split_prior_comes_to_the_same(pair_of_processes: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    prompts = ("--validation.prompts", "[a hat]", "--validation.num-images", "1")
    run_to_the_end(command(tiny_pairs, run, "--devices", "2", "--strategy", "fsdp", *prompts))
    for key in ("train_loss", "val_loss", "grad_norm"):
        ours, theirs = ([float(row[key]) for row in rows(folder) if row[key]] for folder in (run, pair_of_processes))
        assert ours == pytest.approx(theirs, rel=1e-4)
    expected = load_prior(pair_of_processes).prior.state_dict()
    for name, value in load_prior(run).prior.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert (run / "grids/step-00000012.png").exists()


def one_of_two(pairs: Path, run: Path, *extra: str) -> subprocess.Popen[str]:
    """The process of rank 0, as an operator of Kubernetes starts it, whose other never comes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    words = command(pairs, run, *extra)
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**ENVIRONMENT, **launcher})


def test_an_absent_process_is_named_when_the_time_is_up(tiny_pairs: Path, tmp_path: Path) -> None:
    with one_of_two(tiny_pairs, tmp_path / "run", "--launch-timeout", "0.01") as process:
        _, stderr = process.communicate(timeout=600)
    assert process.returncode == 1, stderr
    assert "error: --launch-timeout 0.01: rank 1 of 2 missing at 127.0.0.1:" in stderr
    assert "Traceback" not in stderr


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_process_that_waits_for_another(signum: int, tiny_pairs: Path, tmp_path: Path) -> None:
    with one_of_two(tiny_pairs, tmp_path / "run") as process:
        assert process.stderr is not None
        line = process.stderr.readline()  # after some seconds of waiting
        while line and "waiting for the others" not in line:
            line = process.stderr.readline()
        process.send_signal(signum)
        _, stderr = process.communicate(timeout=600)
    assert process.returncode == 128 + signum, stderr
    assert f"interrupted by {signal.Signals(signum).name} before the first step" in stderr
    assert "Traceback" not in stderr


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_ends_both(tiny_pairs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = command(tiny_pairs, run, "--devices", "2", "--max-steps", "100000", "--validation.every-steps", "50000")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        try:
            while not (run / "logs/csv/version_0/metrics.csv").exists() and process.poll() is None:
                time.sleep(0.05)
            process.send_signal(signal.SIGUSR1)
            _, stderr = process.communicate(timeout=600)
        finally:
            process.kill()
    assert process.returncode == 128 + signal.SIGUSR1, stderr
    assert "Traceback" not in stderr
    step = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"]
    run_to_the_end(command(tiny_pairs, run, "--devices", "2", "--max-steps", str(step + 12)))
    metrics = json.loads((run / "checkpoints/metrics.json").read_text())
    assert metrics["steps"] == step + 12
    assert metrics["pairs_seen"] == 8 * metrics["steps"]


@pytest.mark.slow
def test_two_machines_under_torchrun_come_to_the_same(
    pair_of_processes: Path, tiny_pairs: Path, tmp_path: Path
) -> None:
    """The shipped script, started twice as on two machines of one process each."""
    run = tmp_path / "run"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**ENVIRONMENT, "NODES": "2", "HEAD": "127.0.0.1", "PORT": port, "PYTHON": sys.executable}
    words = ["bash", str(TORCHRUN), *command(tiny_pairs, run)[4:]]
    machines = [
        subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)
        for _ in range(2)
    ]
    try:
        errors = [machine.communicate(timeout=900)[1] for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    assert [machine.returncode for machine in machines] == [0, 0], errors
    assert_same_prior(run, pair_of_processes)
