"""Signals to a training process, and the way back into SLURM's queue (on a real SLURM: tests/cluster)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from text2latent.training.interruption import SignalWatch, TrainingInterrupted, requeue_job

SIGNALS = [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT]


def at_work(watch: SignalWatch) -> SignalWatch:
    """A watch over a training whose first step has begun."""
    watch.on_train_batch_start(None, None, None, 0)  # type: ignore[arg-type]
    return watch


@pytest.mark.parametrize("signum", SIGNALS)
def test_signals_are_noted_until_the_context_ends(signum: int, tmp_path: Path) -> None:
    lines: list[str] = []
    watch = at_work(SignalWatch(tmp_path / "last.ckpt", lines.append))
    before = {number: signal.getsignal(number) for number in SIGNALS}
    with watch.caught():
        os.kill(os.getpid(), signum)
    assert {number: signal.getsignal(number) for number in before} == before
    assert len(lines) == 1
    assert lines[0].startswith(f"{signal.Signals(signum).name}: saving the state after this step")


def test_clusters_repeat_sigterm_and_nothing_is_cut_short(tmp_path: Path) -> None:
    lines: list[str] = []
    with at_work(SignalWatch(tmp_path / "last.ckpt", lines.append)).caught():
        for signum in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), signum)
    assert len(lines) == 1


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    with at_work(SignalWatch(tmp_path / "last.ckpt")).caught():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(TrainingInterrupted, match=r"SIGINT at step 0; state saved in .*last\.ckpt"):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("signum", SIGNALS)
def test_before_the_first_step_a_signal_ends_at_once(signum: int, tmp_path: Path) -> None:
    watch = SignalWatch(tmp_path / "last.ckpt")
    with pytest.raises(TrainingInterrupted, match="before the first step") as stop, watch.caught():
        os.kill(os.getpid(), signum)
    assert (stop.value.signum, stop.value.checkpoint) == (signum, None)


def test_under_nohup_a_hangup_is_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with SignalWatch(tmp_path / "last.ckpt").caught():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_of_slurm_nothing_is_requeued(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    assert requeue_job() is None


@pytest.mark.parametrize(
    ("environment", "job"),
    [
        ({"SLURM_JOB_ID": "12"}, "12"),
        ({"SLURM_JOB_ID": "13", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}, "12_3"),
    ],
)
def test_a_requeue_that_fails_is_told(
    environment: dict[str, str], job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (requeue_job() or "").startswith(f"SLURM job {job} could not be requeued: ")
