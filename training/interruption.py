"""Signals that end training in good order, alone or in a group of processes, and the way back into SLURM's queue."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from text2latent.common.errors import one_line
from text2latent.common.launch import LAUNCH_MINUTES
from text2latent.common.watchdog import Watchdog
from text2latent.training.module import PriorTraining

CAUGHT = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)  # few on Windows
)
STOP_SECONDS = 5.0
"""What a process has to end in after a signal where there is no step to finish."""

STEP_SECONDS = 120.0
"""The longest that a step, a part of a validation or a checkpoint may take after a signal."""


class TrainingInterrupted(Exception):
    """A signal ended training after its state was saved.

    Attributes:
        signum: the signal's number.
        step: optimizer steps done.
        checkpoint: the file to resume from; None when the signal came before this session's first step.
    """

    def __init__(self, signum: int, step: int, checkpoint: Path | None) -> None:
        name = signal.Signals(signum).name
        saved = "before the first step" if checkpoint is None else f"at step {step}; state saved in {checkpoint}"
        super().__init__(f"{name} {saved}")
        self.signum, self.step, self.checkpoint = signum, step, checkpoint


class SignalWatch(Callback):
    """Notes the signals that end a process, and makes the processes of a run agree at the end of each step.

    A cluster signals its processes at slightly different times, and clocks differ; yet all have to stop, to save and
    to lower the learning rate at the same step, since each waits for the others' gradients. So they take the largest
    signal number and the latest clock of all.

    Before the first step, and when a second Ctrl-C comes, `TrainingInterrupted` is raised at once; clusters, however,
    repeat SIGTERM as a matter of course. SIGHUP that is ignored already, as under nohup, stays so. Where the process
    waits for what never comes, a `Watchdog` ends it: after a signal, or when the first step takes too long.

    Attributes:
        signum: the signal that all know of, or None.
        working: whether this session's first step has begun.

    Args:
        last: the checkpoint to name when a second Ctrl-C comes.
        announce: gets one line when a signal has come.
        start_minutes: until the first step.
        step_seconds: the longest that a step may take after a signal.
    """

    def __init__(
        self,
        last: Path,
        announce: Callable[[str], None] = lambda line: None,
        start_minutes: float = LAUNCH_MINUTES,
        step_seconds: float = STEP_SECONDS,
    ) -> None:
        self.last, self.announce = last, announce
        self.start_minutes, self.step_seconds = start_minutes, step_seconds
        self.signum: int | None = None
        self.working = False
        self._watchdog = Watchdog("text2latent train", STOP_SECONDS)
        self._came: int | None = None
        self._catching: tuple[int, ...] = ()
        self._step = 0

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Context in which signals are noted; to be entered around the Trainer's work."""
        hangup = getattr(signal, "SIGHUP", None)
        ignored = {hangup} if hangup is not None and signal.getsignal(hangup) == signal.SIG_IGN else set()
        self._catching = tuple(signum for signum in CAUGHT if signum not in ignored)
        before = {signum: signal.signal(signum, self._note) for signum in self._catching}
        self._expect("the processes didn't all come together", STOP_SECONDS)
        try:
            with self._watchdog.watching():
                yield
        finally:
            self._catching = ()
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _expect(self, otherwise: str, more_seconds: float = 0) -> None:
        limit = f"--launch-timeout {self.start_minutes:g}: no first step after so many minutes"
        self._watchdog.expect(60 * self.start_minutes + more_seconds, f"{limit}: {otherwise}")

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self._came is not None:
            if signum == signal.SIGINT:
                self._watchdog.patience = STOP_SECONDS
                raise TrainingInterrupted(signum, self._step, self.last if self.working else None)
            return
        self._came = signum
        if not self.working:
            raise TrainingInterrupted(signum, self._step, None)
        self.announce(f"{signal.Signals(signum).name}: saving the state after this step (Ctrl-C again: stop at once)")

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._expect("the processes came together, but their devices didn't answer each other")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals back from Lightning, whose handlers save or send messages in the middle of a step."""
        for signum in self._catching:
            signal.signal(signum, self._note)
        self._expect("--data.path gave no first batch")

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """From now on there is something to save."""
        self.working = True
        self._watchdog.patience = self.step_seconds
        self._watchdog.arrived()

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._watchdog.beat()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._watchdog.beat()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Agree on the signal and the clock."""
        assert isinstance(pl_module, PriorTraining)
        self._step = trainer.global_step
        self._watchdog.beat()
        if trainer.world_size == 1:
            self.signum = self._came
            return
        mine = torch.tensor([float(self._came or 0), pl_module.seconds()], dtype=torch.float64, device=pl_module.device)
        torch.distributed.all_reduce(mine, torch.distributed.ReduceOp.MAX)
        signum, seconds = mine.tolist()
        self.signum = int(signum) or None
        pl_module.agree_on_clock(seconds)


def requeue_job() -> str | None:
    """Put this SLURM job, or this task of a job array, back into the queue; returns a line that says so.

    None outside of SLURM. Preempted jobs needn't call it: SLURM requeues them itself.
    """
    job = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{job}_{os.environ['SLURM_ARRAY_TASK_ID']}" if job else os.environ.get("SLURM_JOB_ID")
    if job is None or not re.fullmatch(r"[0-9_]+", job):
        return None
    try:
        ran = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"SLURM job {job} could not be requeued: {error}"
    return f"SLURM job {job} is " + ("requeued" if ran.returncode == 0 else f"not requeued: {one_line(ran.stderr)}")
