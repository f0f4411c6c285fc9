"""Lightning callbacks of the prior's training: averaged weights, grids, the usable prior, checkpoints, progress.

Order matters in one place: whatever looks at the averaged weights in ``on_validation_end`` stands before `EmaWeights`
in the Trainer's list. Lightning moves checkpoint callbacks to the end, where the weights are the trained ones again.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, WeightAveraging
from lightning.pytorch.callbacks.progress.progress_bar import ProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from text2latent.configs.errors import InputError
from text2latent.configs.progress import progress
from text2latent.models.images import save_png
from text2latent.models.training import NonFiniteLoss, PriorTraining


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


class EmaWeights(WeightAveraging):
    """Exponential moving average of the weights through Lightning's weight averaging.

    The decay grows as ``(1 + n) / (10 + n)`` after n updates up to `decay`, so that a short run isn't dominated by its
    random start. The averaged weights stay in place through ``on_validation_end``, for the callbacks listed before.
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=_ema_with_warmup(decay))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the averaged weights in place a little longer."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the trained weights back."""
        super().on_validation_epoch_end(trainer, pl_module)


def _ema_with_warmup(decay: float) -> Callable[[Any, Any, Any], None]:
    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], num_averaged: Tensor | int) -> None:
        updates = float(num_averaged)
        torch._foreach_lerp_(averaged, current, 1.0 - min(decay, (1.0 + updates) / (10.0 + updates)))

    return update


class ValidationGrids(Callback):
    """Draws the prompts' images with the averaged weights after each validation.

    Writes ``folder/step-{step:08d}.png`` and the same picture to TensorBoard.

    Args:
        draw: returns one picture, drawn with the weights that are in the module at that time.
        folder: where the PNG files go.
    """

    def __init__(self, draw: Callable[[], Image.Image], folder: Path) -> None:
        self.draw, self.folder = draw, folder

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw, and write to disk and TensorBoard."""
        if not trainer.is_global_zero:
            return
        picture = self.draw()
        self.folder.mkdir(parents=True, exist_ok=True)
        save_png(picture, self.folder / f"step-{trainer.global_step:08d}.png", {}, overwrite=True)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("prompts", np.asarray(picture), trainer.global_step, dataformats="HWC")


class PriorFolder(Callback):
    """Keeps a prior that can be used, of the averaged weights, as of the latest validation.

    Args:
        save: writes the prior with these metrics, replacing the one before.
    """

    def __init__(self, save: Callable[[dict[str, float]], None]) -> None:
        self.save = save

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the prior."""
        assert isinstance(pl_module, PriorTraining)
        if trainer.is_global_zero:
            val_loss = float(trainer.callback_metrics["val_loss"])
            self.save({"step": trainer.global_step, "val_loss": val_loss, "minutes": pl_module.seconds() / 60})


class AtomicCheckpointIO(TorchCheckpointIO):
    """Local checkpoints appear whole or not at all: written beside their place, then renamed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write `checkpoint` to the local file `path`.

        Raises:
            InputError: when the disk refuses; a checkpoint of that name stays as it was.
        """
        target = Path(path)
        partial = target.with_name(f".{target.name}.partial")
        # Straight to a file, torch.save hides the reason of a failure.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(buffer.getbuffer())
            os.replace(partial, target)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise InputError(f"cannot write {target}: {error.strerror or error}") from error


class RunCheckpoints(Checkpoint):
    """Keeps ``last.ckpt`` and ``best.ckpt`` (lowest ``val_loss``), and ends training in good order on a signal.

    On SIGINT or SIGTERM (see `signals_caught`) the step at hand is finished, ``last.ckpt`` written and
    `TrainingInterrupted` raised; on a second signal it is raised at once, and ``last.ckpt`` stays as it was.

    Args:
        folder: where the checkpoints go.
        every_steps: steps between two writings of ``last.ckpt``, besides those after each validation.
        announce: told one line when a signal has come.
    """

    def __init__(self, folder: Path, every_steps: int, announce: Callable[[str], None] = lambda line: None) -> None:
        self.folder, self.every_steps, self.announce = folder, every_steps, announce
        self.last, self.best = folder / "last.ckpt", folder / "best.ckpt"
        self.best_val_loss = float("inf")
        self._signum: int | None = None
        self._step = 0

    def state_dict(self) -> dict[str, Any]:
        """The best loss so far."""
        return {"best_val_loss": self.best_val_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the best loss so far."""
        self.best_val_loss = float(state_dict["best_val_loss"])

    @contextmanager
    def signals_caught(self) -> Iterator[None]:
        """Context in which SIGINT and SIGTERM end training in good order; to be entered around the Trainer's work."""
        before = {signum: signal.signal(signum, self._on_signal) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._signum is not None:
            raise TrainingInterrupted(signum, self._step, self.last)
        self._signum = signum
        self.announce(f"{signal.Signals(signum).name}: saving the state after this step (again: stop at once)")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time to, and save and stop if a signal has come."""
        self._step = trainer.global_step
        due = self._signum is not None or self._step % self.every_steps == 0
        if not due or trainer.should_stop:  # the last validation, which then follows, saves
            return
        if not torch.isfinite(outputs["loss"]):
            raise NonFiniteLoss(f"training loss became {float(outputs['loss'])} at step {self._step}")
        trainer.save_checkpoint(self.last)
        if self._signum is not None:
            raise TrainingInterrupted(self._signum, self._step, self.last)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, and keep the better of this state and the best so far."""
        val_loss = float(trainer.callback_metrics["val_loss"])
        better = val_loss < self.best_val_loss
        self.best_val_loss = min(val_loss, self.best_val_loss)
        trainer.save_checkpoint(self.last)
        if better and trainer.is_global_zero:
            _replace_with_copy(self.last, self.best)
        if self._signum is not None and not trainer.should_stop:
            raise TrainingInterrupted(self._signum, trainer.global_step, self.last)


def _replace_with_copy(source: Path, target: Path) -> None:
    """Give `source` a second name, atomically; a real copy where the disk knows no hard links."""
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:
        shutil.copyfile(source, partial)
    os.replace(partial, target)


class StopAtLimits(Callback):
    """Ends training when the run's progress reaches 1, by steps or by seconds, with a last validation."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ask the Trainer to stop once the progress is 1."""
        assert isinstance(pl_module, PriorTraining)
        if pl_module.progress(trainer.global_step) >= 1.0:
            trainer.should_stop = True


class RunProgress(ProgressBar):
    """One bar over the run's steps, with rate and remaining time; a time limit shortens it to what will be reached."""

    EVERY_STEPS = 20

    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None

    def disable(self) -> None:
        """Lightning calls this in all processes but the first."""
        self._enabled = False

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        tqdm.write(" ".join(map(str, args)), file=sys.stderr)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar at the step that training starts from."""
        assert isinstance(pl_module, PriorTraining)
        if trainer.is_global_zero:
            self._bar = progress(
                total=pl_module.max_steps, unit="steps", initial=trainer.global_step, description="train"
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar, every few steps."""
        if trainer.global_step % self.EVERY_STEPS == 0:
            self._move(trainer, pl_module)

    def _move(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, PriorTraining)
        if self._bar is None:
            return
        step = trainer.global_step
        if pl_module.max_seconds is not None:
            rate = (step - self._bar.initial) / max(self._bar.format_dict["elapsed"], 1e-9)
            reachable = step + int(rate * max(0.0, pl_module.max_seconds - pl_module.seconds()))
            self._bar.total = min(pl_module.max_steps, reachable)
        self._bar.set_postfix_str(_postfix(trainer, pl_module), refresh=False)
        self._bar.update(step - self._bar.n)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close(trainer, pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar."""
        self._close(trainer, pl_module)

    def _close(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._move(trainer, pl_module)
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _postfix(trainer: pl.Trainer, module: PriorTraining) -> str:
    parts = [] if module.latest_loss is None else [f"loss {module.latest_loss:.4f}"]
    if "val_loss" in trainer.callback_metrics:
        parts.append(f"val {float(trainer.callback_metrics['val_loss']):.4f}")
    return ", ".join(parts)


def training_callbacks(ema_decay: float, checkpoints: RunCheckpoints, watchers: Sequence[Callback]) -> list[Callback]:
    """The callbacks of a run in the order that they rely on; `watchers` see the averaged weights."""
    return [StopAtLimits(), RunProgress(), *watchers, EmaWeights(ema_decay), checkpoints]
