"""Small trainings of a prior, as tests run them in this process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.strategies import Strategy
from torch import Tensor
from torch.utils.data import DataLoader

from text2latent.data.datamodule import PairTensors, ResumableBatches, RowBatches
from text2latent.models.priors.residual_mlp import ResidualMLPPrior
from text2latent.training.callbacks import EmaWeights, training_callbacks
from text2latent.training.checkpoints import AtomicCheckpointIO, RunCheckpoints
from text2latent.training.module import PriorTraining
from text2latent.training.objectives import DenoisingObjective
from text2latent.training.pseudo_text import PseudoText

L, D, E, BATCH = 1, 6, 5, 8
STEPS_PER_EPOCH = 5
DECAY = 0.9


def make_pairs(n: int = STEPS_PER_EPOCH * BATCH, seed: int = 0) -> PairTensors:
    generator = torch.Generator().manual_seed(seed)
    embeddings = F.normalize(torch.randn(n, E, generator=generator), dim=1)
    latents = embeddings @ torch.randn(E, D, generator=generator) + 0.1 * torch.randn(n, D, generator=generator)
    return PairTensors(latents[:, None], embeddings)


def make_module(
    max_steps: int, dropout: float = 0.0, kind: type[PriorTraining] = PriorTraining, **options: Any
) -> PriorTraining:
    torch.manual_seed(0)
    prior = ResidualMLPPrior((L, D), E, width=16, depth=1, dropout=dropout)
    pairs = make_pairs()
    prior.set_statistics(pairs.latents.mean(0), pairs.latents.std(0))
    size = {"latent_shape": [L, D], "embedding_dim": E, "width": 16, "depth": 1}
    description = {"prior": size, "scheduler": {}}
    settings: dict[str, Any] = {"lr": 1e-2, "warmup_steps": 3, "log_every_steps": 2, "description": description}
    return kind(prior, DenoisingObjective(PseudoText()), max_steps=max_steps, **settings | options)


def loader(pairs: PairTensors, shuffle: bool) -> DataLoader[Any]:
    return DataLoader(pairs, batch_size=None, sampler=RowBatches(len(pairs), BATCH, shuffle, seed=3))


def fit(
    module: PriorTraining,
    folder: Path,
    *extra: pl.Callback,
    checkpoint: Path | None = None,
    every_steps: int = 1000,
    val_every: int = 4,
    pairs: PairTensors | None = None,
    strategy: str | Strategy = "auto",
    ema: Callable[[float], EmaWeights] = EmaWeights,
) -> pl.Trainer:
    checkpoints = RunCheckpoints(folder, every_steps)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        strategy=strategy,
        max_epochs=-1,
        logger=False,
        num_sanity_val_steps=0,
        val_check_interval=val_every,
        check_val_every_n_epoch=None,
        callbacks=training_callbacks(ema(DECAY), checkpoints, extra),
        plugins=[AtomicCheckpointIO()],
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    batches = ResumableBatches(loader(pairs or make_pairs(), True))
    held_out = loader(make_pairs(12, seed=1), False)
    with checkpoints.signals.caught():
        trainer.fit(module, batches, held_out, ckpt_path=checkpoint, weights_only=True)
    return trainer


class SendSignal(pl.Callback):
    def __init__(self, step: int, signum: int = signal.SIGINT) -> None:
        self.step, self.signum = step, signum

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step - 1:
            os.kill(os.getpid(), self.signum)


class Losses(pl.Callback):
    def __init__(self) -> None:
        self.train: list[float] = []
        self.val: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        self.train.append(float(outputs["loss"]))

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.val.append(float(trainer.callback_metrics["val_loss"]))


def parameters(module: PriorTraining) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.prior.parameters()]


def assert_equal(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
