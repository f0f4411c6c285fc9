"""Checkpoints of a training run: written whole or not at all, the last few kept, damaged ones passed over."""

from __future__ import annotations

import io
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from text2latent.common.errors import InputError, named_line
from text2latent.common.files import replacing, write_atomic
from text2latent.common.launch import LAUNCH_MINUTES
from text2latent.training.interruption import SignalWatch, TrainingInterrupted
from text2latent.training.module import DESCRIPTION_KEY

KEPT = 3
LAST, BEST = "last.ckpt", "best.ckpt"
_STEP = re.compile(r"step-(\d{8,})\.ckpt")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Local checkpoints appear whole or not at all: written beside their place, then renamed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write `checkpoint` to the local file `path`.

        Raises:
            InputError: when the disk refuses; a checkpoint of that name stays as it was.
        """
        target = Path(path)
        # Straight to a file, torch.save hides the reason of a failure.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write {target}: {error.strerror or error}") from error
        write_atomic(target, buffer.getbuffer())


class RunCheckpoints(Checkpoint):
    """Keeps the last few states as ``step-*.ckpt``, the newest as ``last.ckpt`` and the best as ``best.ckpt``.

    The best has the lowest ``val_loss``. When `signals` has noted one, training ends in good order: the step at hand
    is finished, the state written and `TrainingInterrupted` raised.

    Args:
        every_steps: steps between two writings, besides those after each validation.
        announce: gets one line when a signal has come.
        keep: how many states are kept.
        start_minutes: until the first step.
    """

    def __init__(
        self,
        folder: Path,
        every_steps: int,
        announce: Callable[[str], None] = lambda line: None,
        keep: int = KEPT,
        start_minutes: float = LAUNCH_MINUTES,
    ) -> None:
        self.folder, self.every_steps, self.keep = folder, every_steps, keep
        self.last, self.best = folder / LAST, folder / BEST
        self.signals = SignalWatch(self.last, announce, start_minutes)
        self.announce = announce
        self.best_val_loss, self.best_step = float("inf"), 0
        self._on_cpu = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Note where this session computes."""
        self._on_cpu = trainer.strategy.root_device.type == "cpu"

    def state_dict(self) -> dict[str, Any]:
        """The best loss so far, the step that it was reached at, and on a CPU the threads that compute."""
        threads = {"threads": torch.get_num_threads()} if self._on_cpu else {}
        return {"best_val_loss": self.best_val_loss, "best_step": self.best_step, **threads}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the best loss so far; report where other threads round sums in another way than before."""
        self.best_val_loss, self.best_step = float(state_dict["best_val_loss"]), int(state_dict.get("best_step", 0))
        before, now = state_dict.get("threads"), torch.get_num_threads()
        if before is not None and self._on_cpu and before != now:
            self.announce(
                f"going on with a number of threads of {now}, after {before}: losses may differ in the last digits "
                f"from those of a run that wasn't interrupted (OMP_NUM_THREADS={before} keeps them the same)"
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time to, and save and stop if a signal has come."""
        due = self.signals.signum is not None or trainer.global_step % self.every_steps == 0
        if due and not trainer.should_stop:  # the last validation, which then follows, saves
            self._save(trainer)
            self._stop_on_signal(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, and keep the better of this state and the best so far."""
        val_loss = float(trainer.callback_metrics["val_loss"])
        better = val_loss < self.best_val_loss
        if better:
            self.best_val_loss, self.best_step = val_loss, trainer.global_step
        self._save(trainer)
        if better and trainer.is_global_zero:
            _replace_with_copy(self.last, self.best)
        if not trainer.should_stop:
            self._stop_on_signal(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        path = self.folder / f"step-{trainer.global_step:08d}.ckpt"
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            _replace_with_copy(path, self.last)
            for _, old in numbered_checkpoints(self.folder)[self.keep :]:
                old.unlink(missing_ok=True)

    def _stop_on_signal(self, trainer: pl.Trainer) -> None:
        if self.signals.signum is not None:
            raise TrainingInterrupted(self.signals.signum, trainer.global_step, self.last)


def _replace_with_copy(source: Path, target: Path) -> None:
    """Give `source` a second name, atomically; a real copy where the disk knows no hard links."""
    with replacing(target) as partial:
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)


def numbered_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Steps and paths of the ``step-*.ckpt`` in a folder, newest first."""
    matches = ((_STEP.fullmatch(path.name), path) for path in folder.glob("step-*.ckpt"))
    return sorted(((int(match[1]), path) for match, path in matches if match), reverse=True)


def read_progress(checkpoint: Path) -> tuple[int, float]:
    """Steps and seconds trained of a checkpoint whose every byte is as it was written.

    Raises:
        InputError: when it can't be read.
    """
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} is damaged")
        data = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        return int(data["global_step"]), float(data["seconds"])
    except Exception as error:
        # Damaged files raise many kinds; with weights_only none of their code has run.
        raise InputError(f"{checkpoint}: expected a checkpoint of text2latent train: {named_line(error)}") from error


def read_record(checkpoint: Path) -> dict[str, Any]:
    """What a whole checkpoint says that it was trained as, see `assembly.build_prior`.

    Raises:
        InputError: when it says nothing.
    """
    try:
        record = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)[DESCRIPTION_KEY]
        return {part: dict(record[part]) for part in ("training", "dataset")}
    except Exception as error:
        raise InputError(f"{checkpoint}: expected a checkpoint of text2latent train: {named_line(error)}") from error


@dataclass(frozen=True)
class Resumed:
    """A state to go on from: its checkpoint, and the steps and seconds trained."""

    path: Path
    step: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.step} steps in {self.seconds / 60:.1f} minutes"


def find_checkpoint(folder: Path, announce: Callable[[str], None]) -> Resumed | None:
    """The newest whole checkpoint of a run; None where there is none at all.

    Args:
        announce: gets a line for each that is damaged and passed over.

    Raises:
        InputError: when there are some and all are damaged.
    """
    last = folder / LAST
    candidates = [*([last] if last.exists() else []), *(path for _, path in numbered_checkpoints(folder))]
    refused: InputError | None = None
    for path in candidates:
        try:
            step, seconds = read_progress(path)
        except InputError as error:
            announce(f"warning: {error}; trying the one before")
            refused = refused or error
            continue
        return Resumed(path, step, seconds)
    if refused is not None:
        raise refused
    return None
