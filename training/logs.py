"""What a run has come to: a table for people at its end, metrics.json for programs while it goes, and logs.

The logs are CSV, TensorBoard and Weights & Biases.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from text2latent.common.files import write_text
from text2latent.training.checkpoints import RunCheckpoints
from text2latent.training.module import PriorTraining

ROWS = {
    "steps": "steps",
    "epochs": "epochs",
    "pairs_seen": "pairs seen",
    "processes": "processes",
    "parameters": "parameters of the prior",
    "minutes": "minutes, all sessions",
    "pairs_per_second": "pairs/s, latest",
    "train_loss": "training loss, latest",
    "val_loss": "validation loss",
    "best_val_loss": "validation loss, best",
    "best_step": "step of the best",
    "clip_score": "CLIP score of the prompts",
    "attribute_accuracy": "attribute accuracy",
    "grad_norm": "gradient norm, latest",
    "lr": "learning rate, latest",
    "ema_decay": "EMA decay",
    "skipped_steps": "steps left out",
}
"""Keys of metrics.json with their names in the table."""


def summarize(trainer: pl.Trainer, module: PriorTraining, checkpoints: RunCheckpoints) -> dict[str, float]:
    """Figures of a run by the keys of `ROWS`; those that weren't measured are left out."""
    figures = {
        **module.metrics,
        "val_loss": float(trainer.callback_metrics["val_loss"]),
        "steps": trainer.global_step,
        "epochs": trainer.current_epoch,
        "pairs_seen": module.count_pairs(),
        "processes": trainer.world_size,
        "parameters": sum(parameter.numel() for parameter in module.prior.parameters()),
        "minutes": module.seconds() / 60,
        "best_val_loss": checkpoints.best_val_loss,
        "best_step": checkpoints.best_step,
        "skipped_steps": module.skipped_steps,
    }
    return {key: figures[key] for key in ROWS if key in figures}


def format_table(figures: Mapping[str, float]) -> str:
    width = max(len(ROWS[key]) for key in figures)
    return "\n".join(f"{ROWS[key]:<{width}}  {_format(value)}" for key, value in figures.items())


def _format(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


class RunMetrics(Checkpoint):
    """Writes metrics.json after each validation and at the end; to be listed behind `RunCheckpoints`.

    Args:
        checkpoints: which know the best validation.
    """

    def __init__(self, path: Path, checkpoints: RunCheckpoints) -> None:
        self.path, self.checkpoints = path, checkpoints

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer, pl_module)

    def _write(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            figures = summarize(trainer, pl_module, self.checkpoints)
            plain = {key: value if math.isfinite(value) else None for key, value in figures.items()}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, json.dumps(plain, indent=1) + "\n")


def build_loggers(folder: Path, csv: bool, tensorboard: bool, wandb: str | None, run_name: str) -> list[Logger]:
    """The loggers asked for; each session has a CSV version of its own, the others go on in one.

    Args:
        wandb: a project of Weights & Biases, or None.
    """
    loggers: list[Logger] = []
    if csv:
        loggers.append(CSVLogger(folder, name="csv", flush_logs_every_n_steps=1))
    if tensorboard:
        loggers.append(TensorBoardLogger(folder, name="tensorboard", version=""))
    if wandb is not None:
        folder.mkdir(parents=True, exist_ok=True)
        # An id that follows from the place lets a resumed session go on in the same run, and no other.
        place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]
        run_id = f"{run_name}-{place}"
        loggers.append(WandbLogger(name=run_name, id=run_id, project=wandb, save_dir=folder, resume="allow"))
    return loggers
