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

from text2latent.models.training import PriorTraining

CAUGHT = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1")
    if hasattr(signal, name)  # none on Windows
)


class TrainingInterrupted(Exception):
    """A signal ended training after its state was saved.

    Attributes:
        signum: the signal's number.
        step: optimizer steps done.
        checkpoint: the file to resume from.
    """

    def __init__(self, signum: int, step: int, checkpoint: Path) -> None:
        super().__init__(f"{signal.Signals(signum).name} at step {step}; state saved in {checkpoint}")
        self.signum, self.step, self.checkpoint = signum, step, checkpoint


class SignalWatch(Callback):
    """Notes SIGINT, SIGTERM and SIGUSR1, and brings the processes of a run to one mind at the end of each step.

    A cluster signals its processes at slightly different times, and clocks differ; yet all have to stop, to save and
    to lower the learning rate at the same step, since each waits for the others' gradients. So they take the largest
    signal number and the latest clock of all.

    A second Ctrl-C raises `TrainingInterrupted` at once; clusters, however, repeat SIGTERM as a matter of course.

    Attributes:
        signum: the signal that all know of, or None.

    Args:
        last: the checkpoint to name when a second Ctrl-C comes.
        announce: told one line when a signal has come.
    """

    def __init__(self, last: Path, announce: Callable[[str], None] = lambda line: None) -> None:
        self.last, self.announce = last, announce
        self.signum: int | None = None
        self._came: int | None = None
        self._catching = False
        self._step = 0

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Context in which signals are noted; to be entered around the Trainer's work."""
        before = {signum: signal.signal(signum, self._note) for signum in CAUGHT}
        self._catching = True
        try:
            yield
        finally:
            self._catching = False
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self._came is not None:
            if signum == signal.SIGINT:
                raise TrainingInterrupted(signum, self._step, self.last)
            return
        self._came = signum
        self.announce(f"{signal.Signals(signum).name}: saving the state after this step (Ctrl-C again: stop at once)")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals back from Lightning, whose handlers save or send messages in the middle of a step."""
        for signum in CAUGHT if self._catching else ():
            signal.signal(signum, self._note)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Agree on the signal and the clock."""
        assert isinstance(pl_module, PriorTraining)
        self._step = trainer.global_step
        if trainer.world_size == 1:
            self.signum = self._came
            return
        mine = torch.tensor([float(self._came or 0), pl_module.seconds()], dtype=torch.float64, device=pl_module.device)
        torch.distributed.all_reduce(mine, torch.distributed.ReduceOp.MAX)
        signum, seconds = mine.tolist()
        self.signum = int(signum) or None
        pl_module.agree_on_clock(seconds)


def requeue_job() -> str | None:
    """Put this SLURM job, or this task of a job array, back into the queue; returns a line that tells so.

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
    reason = " ".join(ran.stderr.split())
    return f"SLURM job {job} is requeued" if ran.returncode == 0 else f"SLURM job {job} is not requeued: {reason}"
