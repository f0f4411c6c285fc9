"""Where a run's figures and pictures go: CSV, TensorBoard, Weights & Biases."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger


def build_loggers(folder: Path, csv: bool, tensorboard: bool, wandb: str | None, run_name: str) -> list[Logger]:
    """The loggers asked for; each session has a CSV version of its own, the others go on in one.

    Args:
        folder: of the logs.
        csv, tensorboard: whether to write these.
        wandb: a project of Weights & Biases, or None.
        run_name: of the run there.
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
