"""What interrupts `text2latent train`, and that it costs nothing: signals, kills, damaged checkpoints, full disks."""

from __future__ import annotations

import csv
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from text2latent import train
from text2latent.models.priors.folder import load_prior
from text2latent.tests.train_runs import PROMPTS, arguments, assert_same_prior, loss_curve
from text2latent.training.run_folder import RunFolder, occupied


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP])
def test_a_signal_leaves_a_state_to_go_on_from(signum: int, tiny_pairs: Path, tmp_path: Path) -> None:
    words = arguments(tiny_pairs, tmp_path / "run", "--max-steps", "1000000", "--validation.every-steps", "20")
    command = [sys.executable, "-m", "text2latent", "train", *words]
    metrics = tmp_path / "run/logs/csv/version_0/metrics.csv"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not metrics.exists() and process.poll() is None:
                time.sleep(0.05)
            process.send_signal(signum)
            _, stderr = process.communicate(timeout=600)
        finally:
            process.kill()
    assert process.returncode == 128 + signum, stderr
    assert "Traceback" not in stderr
    assert "run the same command again to go on" in stderr
    state = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert state["global_step"] > 0
    more = ("--max-steps", str(state["global_step"] + 2), "--validation.every-steps", "20")
    assert train.main(arguments(tiny_pairs, tmp_path / "run", *more)) == 0
    assert load_prior(tmp_path / "run").record["metrics"]["step"] == state["global_step"] + 2


def test_a_second_run_in_a_folder_ends_in_a_line(
    run_copy: Path, tiny_pairs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("text2latent.training.run_folder.LOCK_SECONDS", 0.05)
    before = (run_copy / "config.yaml").read_bytes()
    with occupied(RunFolder(run_copy)):
        assert train.main(arguments(tiny_pairs, run_copy, "--max-steps", "20")) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "another process trains in it" in line
    assert (run_copy / "config.yaml").read_bytes() == before


def test_another_number_of_threads_is_told(
    run_copy: Path, tiny_pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        assert train.main(arguments(tiny_pairs, run_copy, "--max-steps", "14")) == 0
    finally:
        torch.set_num_threads(before)
    assert f"going on with a number of threads of {before + 1}, after {before}: " in capsys.readouterr().err


def test_a_truncated_checkpoint_costs_only_the_steps_since_the_one_before(
    tiny_run: Path, run_copy: Path, tiny_pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("last.ckpt", "step-00000012.ckpt"):
        path = run_copy / "checkpoints" / name
        path.write_bytes(path.read_bytes()[:3000])
    extra = ("--validation.prompts", PROMPTS, "--validation.num_images", "3")
    assert train.main(arguments(tiny_pairs, run_copy, *extra)) == 0
    error = capsys.readouterr().err
    assert "warning: " in error
    assert "going on at step 10, from" in error
    assert_same_prior(run_copy, tiny_run)


def test_a_full_disk_is_told_in_a_line_and_costs_nothing(tiny_run: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    """A limit on file sizes stands for the disk: writes fail half-way as they would there."""
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    limit = (run / "prior/diffusion_pytorch_model.safetensors").stat().st_size + 1000
    code = f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
    code += "from text2latent.train import main; sys.exit(main(sys.argv[1:]))"
    words = arguments(tiny_pairs, run, "--max-steps", "15", "--tensorboard", "false")
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().endswith(f"error: cannot write {run}/checkpoints/step-00000015.ckpt: File too large")
    assert (run / "checkpoints/last.ckpt").read_bytes() == (tiny_run / "checkpoints/last.ckpt").read_bytes()
    load_prior(run)
    assert not list(run.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("in_memory", "kills"), [("false", (12,)), pytest.param("true", (1, 12, 30), marks=pytest.mark.slow)]
)
def test_a_killed_run_joins_the_curve_of_the_uninterrupted_one(
    tiny_pairs: Path, tmp_path: Path, in_memory: str, kills: tuple[int, ...]
) -> None:
    """SIGKILL at whatever step it hits; every loss and the weights at the end are equal to the bit."""
    words = ("--log-every-steps", "1", "--checkpoint-every-steps", "3", "--prior.dropout", "0.1")
    words += ("--validation.every-steps", "25", "--tensorboard", "false", "--data.in-memory", in_memory)
    words += ("--optimizer.schedule", "constant")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    endless = arguments(tiny_pairs, killed, *words, "--max-steps", "1000000")
    for session, least in enumerate(kills):
        kill_after(endless, killed / f"logs/csv/version_{session}/metrics.csv", least)
    steps = max(loss_curve(killed)) + 10
    for run in (killed, whole):
        assert train.main(arguments(tiny_pairs, run, *words, "--max-steps", str(steps))) == 0
    assert loss_curve(killed) == loss_curve(whole)
    assert list(loss_curve(whole)) == list(range(1, steps + 1))
    assert_same_prior(killed, whole)


def kill_after(words: list[str], log: Path, step: int) -> None:
    command = [sys.executable, "-m", "text2latent", "train", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        limit = time.monotonic() + 600
        while process.poll() is None and time.monotonic() < limit:
            lines = log.read_text().splitlines() if log.exists() else []
            steps = [int(row["step"]) for row in csv.DictReader(lines) if (row["step"] or "").isdigit()]
            if steps and max(steps) >= step:
                break
            time.sleep(0.002)
        process.kill()
        _, error = process.communicate()
    assert process.returncode == -signal.SIGKILL, error
