"""Lightning callbacks of the prior's training: averaged weights, grids, the usable prior, limits, progress.

Order matters in one place: whatever looks at the averaged weights in ``on_validation_end`` stands before `EmaWeights`
in the Trainer's list. Lightning moves checkpoint callbacks to the end, where the weights are the trained ones again.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.callbacks.progress.progress_bar import ProgressBar
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image
from tqdm import tqdm

from text2latent.common.progress import progress
from text2latent.inference.images import on_white, save_png
from text2latent.training.checkpoints import RunCheckpoints
from text2latent.training.module import NonFiniteLoss, PriorTraining, ema_decay


class EmaWeights(WeightAveraging):
    """Exponential moving average of the weights through Lightning's weight averaging.

    The decay grows as `ema_decay` says, so that a short run isn't dominated by its random start. The averaged weights
    stay in place through ``on_validation_end``, for the callbacks listed before.

    Args:
        decay: largest decay per update.
        every_steps: training steps between two updates.
    """

    def __init__(self, decay: float = 0.999, every_steps: int = 1) -> None:
        super().__init__(use_buffers=False)
        self.decay, self.every_steps = decay, every_steps

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether the average is updated after the step `step_idx`, counted from 0."""
        return step_idx is not None and (step_idx + 1) % self.every_steps == 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            # On the device each step would wait for it.
            self._average_model.n_averaged = self._average_model.n_averaged.cpu()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average where `should_update` says so."""
        step = trainer.global_step
        if step > self._latest_update_step and self.should_update(step_idx=step - 1):
            self.update(pl_module)
            self._latest_update_step = step

    @torch.no_grad()
    def update(self, module: pl.LightningModule) -> None:
        """Take a module's weights into the average, the first ones whole; nothing waits for the device."""
        average = self._average_model
        assert average is not None
        updates = int(average.n_averaged)
        share = 1.0 - ema_decay(updates, self.decay) if updates else 1.0
        torch._foreach_lerp_(list(average.module.parameters()), list(module.parameters()), share)
        for averaged, current in zip(average.module.buffers(), module.buffers(), strict=True):
            averaged.copy_(current)
        average.n_averaged += 1

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the averaged weights in place a little longer."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_epoch_end(trainer, pl_module)


class FiniteValidation(Callback):
    """Ends training at a validation loss that isn't finite, before such weights reach a checkpoint or the prior."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the loss of all processes together.

        Raises:
            NonFiniteLoss: when it is NaN or infinite.
        """
        val_loss = float(trainer.callback_metrics["val_loss"])
        if not math.isfinite(val_loss):
            raise NonFiniteLoss(f"validation loss became {val_loss} at step {trainer.global_step}")


class ValidationGrids(Callback):
    """Draws the prompts' images with the averaged weights after each validation.

    Writes ``folder/step-{step:08d}.png``, the same picture to TensorBoard and W&B, and the measures to all logs.

    Args:
        draw: returns one picture, drawn with the weights that are in the module at that time, and what was measured
            on it by name.
        folder: where the PNG files go.
    """

    def __init__(self, draw: Callable[[], tuple[Image.Image, dict[str, float]]], folder: Path) -> None:
        self.draw, self.folder = draw, folder

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, PriorTraining)
        if not trainer.is_global_zero:
            return
        picture, measures = self.draw()
        pl_module.log_measures(measures)
        self.folder.mkdir(parents=True, exist_ok=True)
        save_png(picture, self.folder / f"step-{trainer.global_step:08d}.png", {}, overwrite=True)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(
                    "prompts", np.asarray(on_white(picture)), trainer.global_step, dataformats="HWC"
                )
            elif isinstance(logger, WandbLogger):
                logger.log_image("prompts", [picture], trainer.global_step)


class PriorFolder(Callback):
    """Keeps a prior that can be used, of the averaged weights, as of the latest validation.

    Args:
        save: writes the prior with these metrics, replacing the one before.
    """

    def __init__(self, save: Callable[[dict[str, float]], None]) -> None:
        self.save = save

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, PriorTraining)
        if trainer.is_global_zero:
            val_loss = float(trainer.callback_metrics["val_loss"])
            self.save({"step": trainer.global_step, "val_loss": val_loss, "minutes": pl_module.seconds() / 60})


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
        tqdm.write(" ".join(map(str, args)), file=sys.stderr)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
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
        self._close(trainer, pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close(trainer, pl_module)

    def _close(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._move(trainer, pl_module)
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _postfix(trainer: pl.Trainer, module: PriorTraining) -> str:
    parts = [f"loss {module.metrics['train_loss']:.4f}"] if "train_loss" in module.metrics else []
    if "val_loss" in trainer.callback_metrics:
        parts.append(f"val {float(trainer.callback_metrics['val_loss']):.4f}")
    return ", ".join(parts)


def training_callbacks(
    ema: EmaWeights, checkpoints: RunCheckpoints, watchers: Sequence[Callback] = ()
) -> list[Callback]:
    """The callbacks of a run in the order that they rely on; `watchers` see the averaged weights."""
    watching = [checkpoints.signals, StopAtLimits(), FiniteValidation(), RunProgress()]
    return [*watching, *watchers, ema, checkpoints]
