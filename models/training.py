"""Training of the diffusion prior as a Lightning module: loss, optimizer, schedule, self-describing checkpoints.

A step's noise, times and dropped conditions come from a generator seeded by (seed, step, rank), not from one long
stream: a resumed run draws what the uninterrupted one would have, and validation draws the same numbers every time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, Protocol, cast

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from text2latent.configs.errors import InputError
from text2latent.models.prior_base import Prior

TRAINING_STREAM, VALIDATION_STREAM = 0, 1
DESCRIPTION_KEY = "text2latent"


class NonFiniteLoss(InputError):
    """The training loss became NaN or infinite; the weights in memory are of no use any more."""


class Objective(Protocol):
    """What gives the loss, a scalar, of a prior on a batch; see `DenoisingObjective.loss`."""

    def loss(
        self, prior: Any, latents: Tensor, embeddings: Tensor, generator: torch.Generator | None = None
    ) -> Tensor: ...


class PriorTraining(pl.LightningModule):
    """Fits a prior on pairs of (latents ``[N, L, D]``, CLIP image embeddings ``[N, E]``).

    Args:
        prior: the network, with its statistics set.
        objective: what gives the loss.
        max_steps: optimizer steps of the whole run.
        max_seconds: seconds of the whole run, over all of its sessions, or None. The run's progress is the larger of
            the fractions of steps and seconds spent, so that a cosine anneals to its end whichever limit comes first.
        lr: learning rate at the end of warm-up.
        weight_decay: AdamW's decay (arXiv:1711.05101), for matrices only, not for biases and gains.
        betas: AdamW's momentum coefficients.
        warmup_steps: steps over which the learning rate grows linearly from 0.
        schedule: ``cosine`` (to 0 at the end of the run) or ``constant``.
        gradient_clip: largest L2 norm of the gradient; 0 leaves it as it is.
        seed: of all that training and validation draw.
        log_every_steps: steps between two lines in the logs.
        description: plain data that goes into each checkpoint under ``text2latent`` (config, identities, versions).
    """

    def __init__(
        self,
        prior: Prior,
        objective: Objective,
        *,
        max_steps: int,
        max_seconds: float | None = None,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.99),
        warmup_steps: int = 500,
        schedule: str = "cosine",
        gradient_clip: float = 1.0,
        seed: int = 0,
        log_every_steps: int = 50,
        description: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.prior = prior
        self.objective = objective
        self.max_steps, self.max_seconds = max_steps, max_seconds
        self.lr, self.weight_decay, self.betas = lr, weight_decay, betas
        self.warmup_steps, self.schedule = warmup_steps, schedule
        self.gradient_clip = gradient_clip
        self.seed = seed
        self.log_every_steps = log_every_steps
        self.description = dict(description or {})
        self._seconds_before = 0.0
        self._started: float | None = None
        self._grad_norm: Tensor | None = None
        self.latest_loss: float | None = None
        self._window_loss: Tensor | None = None
        self._window_steps, self._window_pairs, self._window_started = 0, 0, 0.0
        self._validation_started = 0.0

    # The run's clock and the schedule on it.

    def seconds(self) -> float:
        """Seconds trained so far, over all sessions of the run (validation included)."""
        return self._seconds_before + (0.0 if self._started is None else time.monotonic() - self._started)

    def progress(self, step: int, seconds: float | None = None) -> float:
        """Fraction in [0, 1] of the run that is over after `step` optimizer steps and `seconds` (None: until now)."""
        fraction = step / self.max_steps
        if self.max_seconds is not None:
            fraction = max(fraction, (self.seconds() if seconds is None else seconds) / self.max_seconds)
        return min(1.0, fraction)

    def lr_factor(self, step: int) -> float:
        """Factor in [0, 1] on the learning rate for the step after `step` steps: linear warm-up times half a cosine
        (arXiv:1608.03983, without restarts).
        """
        warmup = min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.schedule == "constant":
            return warmup
        return warmup * 0.5 * (1.0 + math.cos(math.pi * self.progress(step)))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW over the prior, with `lr_factor` applied after each step."""
        parameters = [p for p in self.prior.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        fused = self.device.type in ("cpu", "cuda")
        optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, fused=fused)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: self.lr_factor(self._optimizer_steps()))
        return cast(
            OptimizerLRScheduler, {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
        )

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        """Clip the gradient's norm, and keep the norm for the logs."""
        limit = self.gradient_clip or math.inf
        self._grad_norm = torch.nn.utils.clip_grad_norm_(self.prior.parameters(), limit)

    # Steps.

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch.

        Raises:
            NonFiniteLoss: when it isn't finite (looked at in each step on CPU, at each log line on an accelerator,
                where looking costs a synchronisation).
        """
        loss = self._loss(batch, TRAINING_STREAM, self._optimizer_steps())
        self._collect(loss.detach(), len(batch[0]))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log ``val_loss``; noise and times depend on the seed and the batch's index only.

        Raises:
            NonFiniteLoss: when it isn't finite, so that such weights reach neither a checkpoint nor the prior's folder.
        """
        loss = self._loss(batch, VALIDATION_STREAM, batch_idx)
        if not torch.isfinite(loss):
            raise NonFiniteLoss(f"validation loss became {float(loss)} at step {self._optimizer_steps()}")
        size = len(batch[0])
        self.log("val_loss", loss, on_step=False, on_epoch=True, batch_size=size, sync_dist=True, logger=False)

    def _loss(self, batch: tuple[Tensor, Tensor], stream: int, index: int) -> Tensor:
        latents, embeddings = batch
        entropy = (self.seed, stream, index, self.global_rank)
        seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
        generator = torch.Generator(self.device).manual_seed(seed)
        if self.prior.training:
            torch.manual_seed(seed)  # dropout can draw from the global generator only
        return self.objective.loss(self.prior, latents.float(), embeddings.float(), generator)

    def _optimizer_steps(self) -> int:
        return 0 if self._trainer is None else int(self.global_step)

    # Logs.

    def on_train_start(self) -> None:
        """Start the run's clock."""
        self._started = time.monotonic()
        self._open_window()

    def on_train_end(self) -> None:
        """Stop the run's clock."""
        self._seconds_before, self._started = self.seconds(), None

    def on_validation_start(self) -> None:
        """Note the time, which isn't training's."""
        self._validation_started = time.monotonic()

    def on_validation_end(self) -> None:
        """Log the validation loss, and leave out of the rates the time that it took with all that callbacks did."""
        for logger in self.loggers:
            logger.log_metrics({"val_loss": float(self.trainer.callback_metrics["val_loss"])}, self.global_step)
        self._window_started += time.monotonic() - self._validation_started

    def _open_window(self) -> None:
        self._window_loss, self._window_steps, self._window_pairs = None, 0, 0
        self._window_started = time.monotonic()

    def _collect(self, loss: Tensor, pairs: int) -> None:
        step = self._optimizer_steps() + 1
        due = step % self.log_every_steps == 0
        if (due or self.device.type == "cpu") and not torch.isfinite(loss):
            raise NonFiniteLoss(f"training loss became {float(loss)} at step {step}, learning rate {self._lr():.3g}")
        self._window_loss = loss if self._window_loss is None else self._window_loss + loss
        self._window_steps += 1
        self._window_pairs += pairs
        if due:
            self._write_log(step)

    def _write_log(self, step: int) -> None:
        assert self._window_loss is not None
        seconds = max(time.monotonic() - self._window_started, 1e-9)
        metrics = {
            "train_loss": float(self._window_loss) / self._window_steps,
            "lr": self._lr(),
            "grad_norm": math.nan if self._grad_norm is None else float(self._grad_norm),
            "pairs_per_second": self._window_pairs * self.trainer.world_size / seconds,
            "steps_per_second": self._window_steps / seconds,
            "minutes": self.seconds() / 60,
        }
        for logger in self.loggers:
            logger.log_metrics(metrics, step)
        self.latest_loss = metrics["train_loss"]
        self._open_window()

    def _lr(self) -> float:
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    # Checkpoints.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the run's clock and the description to a checkpoint."""
        checkpoint["seconds"] = self.seconds()
        checkpoint[DESCRIPTION_KEY] = self.description

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Set the clock to what it was."""
        self._seconds_before = float(checkpoint["seconds"])
