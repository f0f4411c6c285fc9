"""Training of the diffusion prior as a Lightning module: loss, optimizer, schedule, self-describing checkpoints.

A step's noise, times and dropped conditions come from a generator seeded by (seed, step, rank), not from one long
stream: a resumed run draws what the uninterrupted one would have, and validation draws the same numbers every time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from text2latent.common.errors import InputError
from text2latent.models.priors.prior import Prior

TRAINING_STREAM, VALIDATION_STREAM = 0, 1
DESCRIPTION_KEY = "text2latent"
MOST_SKIPPED = 20  # batches in a row, after which training doesn't go on anyway


class NonFiniteLoss(InputError):
    """The loss or its gradient became NaN or infinite, and training isn't to go on."""


def ema_decay(updates: float, limit: float) -> float:
    """Decay of the moving average of the weights after some updates: ``(1 + n) / (10 + n)`` up to `limit`."""
    return min(limit, (1.0 + updates) / (10.0 + updates))


@dataclass(frozen=True)
class Step:
    """A training step, and what is left on the device until somebody looks: its loss and its gradient's norm."""

    number: int
    epoch: int
    batch: int
    pairs: int
    loss: Tensor
    grad_norm: Tensor


class Objective(Protocol):
    """What gives the loss, a scalar, of a prior on a batch; see `DenoisingObjective.loss`."""

    def loss(
        self, prior: Any, latents: Tensor, embeddings: Tensor, generator: torch.Generator | None = None
    ) -> Tensor: ...


class PriorTraining(pl.LightningModule):
    """Fits a prior on pairs of (latents ``[N, L, D]``, CLIP image embeddings ``[N, E]``).

    Args:
        prior: the network, with its statistics set.
        max_steps: optimizer steps of the whole run.
        max_seconds: seconds of the whole run, over all of its sessions, or None. The run's progress is the larger of
            the fractions of steps and seconds spent, so that a cosine anneals to its end whichever limit comes first.
        lr: learning rate at the end of warm-up.
        weight_decay: AdamW's decay (arXiv:1711.05101), for matrices only, not for biases and gains.
        betas: AdamW's momentum coefficients.
        eps: what AdamW adds to the root of the second moment.
        warmup_steps: steps over which the learning rate grows linearly from 0.
        schedule: ``cosine`` (to 0 at the end of the run) or ``constant``.
        gradient_clip: largest L2 norm of the gradient; 0 leaves it as it is.
        seed: of all that training and validation draw.
        log_every_steps: steps between two lines in the logs.
        description: plain data that goes into each checkpoint under ``text2latent`` (config, identities, versions).
        ema_decay, ema_every_steps: largest decay of the moving average of the weights per update, and the steps
            between two of them, for the logs.
        skip_non_finite: whether a step whose gradient is NaN or infinite is left out; else training ends there. In
            both cases it doesn't touch the weights.
        announce: gets a line for each step left out.
        clock: seconds from some time on, which `max_seconds` are counted by.
        describe_batch: puts a batch into words, from epoch and number.
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
        eps: float = 1e-8,
        warmup_steps: int = 500,
        schedule: str = "cosine",
        gradient_clip: float = 1.0,
        seed: int = 0,
        log_every_steps: int = 50,
        description: Mapping[str, Any] | None = None,
        ema_decay: float = 0.999,
        ema_every_steps: int = 1,
        skip_non_finite: bool = False,
        announce: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
        describe_batch: Callable[[int, int], str] = lambda epoch, batch: f"batch {batch} of epoch {epoch}",
    ) -> None:
        super().__init__()
        self.prior = prior
        self.objective = objective
        self.max_steps, self.max_seconds = max_steps, max_seconds
        self.lr, self.weight_decay, self.betas, self.eps = lr, weight_decay, betas, eps
        self.warmup_steps, self.schedule = warmup_steps, schedule
        self.gradient_clip = gradient_clip
        self.seed = seed
        self.log_every_steps = log_every_steps
        self.description = dict(description or {})
        self.ema_decay, self.ema_every_steps, self.skip_non_finite = ema_decay, ema_every_steps, skip_non_finite
        self.announce, self.describe_batch = announce, describe_batch
        self.clock = clock
        self.metrics: dict[str, float] = {}
        self.skipped_steps, self.pairs_seen = 0, 0
        self._seconds_before, self._agreed_seconds = 0.0, 0.0
        self._started: float | None = None
        self._at_hand: tuple[int, int, Tensor] | None = None
        self._unseen: list[Step] = []
        self._window_losses: list[Tensor] = []
        self._window_steps, self._window_pairs, self._window_started = 0, 0, 0.0
        self._skipped_in_a_row = 0
        self._validation_started = 0.0

    # The run's clock and the schedule on it.

    def seconds(self) -> float:
        """Seconds trained so far, over all sessions of the run (validation included)."""
        return self._seconds_before + (0.0 if self._started is None else self.clock() - self._started)

    def agree_on_clock(self, seconds: float) -> None:
        """Take the clock that all processes of the run go by: theirs differ, but their schedules mustn't."""
        self._agreed_seconds = seconds

    def progress(self, step: int, seconds: float | None = None) -> float:
        """Fraction in [0, 1] of the run that is over after `step` optimizer steps and `seconds` (None: until now)."""
        fraction = step / self.max_steps
        if self.max_seconds is not None:
            alone = self._trainer is None or self.trainer.world_size == 1
            now = self.seconds() if alone else self._agreed_seconds
            fraction = max(fraction, (now if seconds is None else seconds) / self.max_seconds)
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
        optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, eps=self.eps, fused=fused)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: self.lr_factor(self._optimizer_steps()))
        return cast(
            OptimizerLRScheduler, {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
        )

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        """Clip the gradient's norm, keep it for the logs, and keep an update that isn't finite from the weights.

        The norm is of the gradient that all processes share, so they all come to the same end.

        Raises:
            NonFiniteLoss: when it isn't finite and steps aren't to be left out, or too many were (looked at in each
                step on CPU, at each log line on an accelerator, where looking costs a synchronisation).
        """
        assert self._at_hand is not None
        batch, pairs, loss = self._at_hand
        norm = self.clip_gradient()
        self._refuse_non_finite(getattr(optimizer, "optimizer", optimizer), norm)
        number = self._optimizer_steps() + 1
        self._unseen.append(Step(number, self.trainer.current_epoch, batch, pairs, loss, norm))
        if self.device.type == "cpu" or number % self.log_every_steps == 0:
            self._look_at_steps()

    def clip_gradient(self) -> Tensor:
        """Clip the gradient; returns its norm before that, a scalar."""
        return torch.nn.utils.clip_grad_norm_(self.prior.parameters(), self.gradient_clip or math.inf)

    def _refuse_non_finite(self, optimizer: Any, norm: Tensor) -> None:
        refused = ~torch.isfinite(norm)
        if optimizer.defaults["fused"]:
            # The fused step reads these on the device, as after a GradScaler, and then changes nothing.
            optimizer.grad_scale, optimizer.found_inf = None, refused.float()
        elif refused:
            optimizer.zero_grad(set_to_none=True)

    # Steps.

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Mean loss, a scalar, of latents `[N, L, D]` and embeddings `[N, E]`."""
        loss = self._loss(batch, TRAINING_STREAM, self._optimizer_steps())
        self._at_hand = batch_idx, len(batch[0]), loss.detach()
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Make a step, and log when it is time to: before a callback can end the run."""
        super().optimizer_step(*args, **kwargs)
        step = self._optimizer_steps() + 1
        if step % self.log_every_steps == 0:
            self._write_log(step)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log ``val_loss``; noise and times depend on the seed, the batch's index and the rank only."""
        loss = self._loss(batch, VALIDATION_STREAM, batch_idx)
        size = len(batch[0])
        self.log("val_loss", loss, on_step=False, on_epoch=True, batch_size=size, sync_dist=True, logger=False)

    def _loss(self, batch: tuple[Tensor, Tensor], stream: int, index: int) -> Tensor:
        latents, embeddings = batch
        entropy = (self.seed, stream, index, self.global_rank)
        seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
        generator = torch.Generator(self.device).manual_seed(seed)
        if self.prior.training:
            torch.manual_seed(seed)  # dropout can draw from the global generator only
        conditions = self.prior.image_condition(embeddings.float())
        return self.objective.loss(self.prior, latents.float(), conditions, generator)

    def _optimizer_steps(self) -> int:
        return 0 if self._trainer is None else int(self.global_step)

    # Logs.

    def on_train_start(self) -> None:
        self._started, self._agreed_seconds = self.clock(), self._seconds_before
        self._open_window()

    def on_train_end(self) -> None:
        self._seconds_before, self._started = self.seconds(), None

    def on_validation_start(self) -> None:
        """Note the time, which isn't training's."""
        self._validation_started = time.monotonic()

    def on_validation_end(self) -> None:
        """Log the validation loss, and leave out of the rates the time that it took with all that callbacks did."""
        self.log_measures({"val_loss": float(self.trainer.callback_metrics["val_loss"])})
        self._window_started += time.monotonic() - self._validation_started

    def log_measures(self, measures: Mapping[str, float], step: int | None = None) -> None:
        """Write figures to all logs at a step, the present one by default, and keep them as the latest."""
        self.metrics.update(measures)
        for logger in self.loggers:
            logger.log_metrics(dict(measures), self._optimizer_steps() if step is None else step)

    def _open_window(self) -> None:
        self._window_losses, self._window_steps, self._window_pairs = [], 0, 0
        self._window_started = time.monotonic()

    def _look_at_steps(self) -> None:
        """Count the steps since the last look, and find those whose gradient wasn't finite; one synchronisation."""
        steps, self._unseen = self._unseen, []
        norms = torch.stack([step.grad_norm.float() for step in steps]).tolist()
        losses = torch.stack([step.loss.float() for step in steps]).tolist()
        for step, norm, loss in zip(steps, norms, losses, strict=True):
            self._window_steps += 1
            self._window_pairs += step.pairs * self.trainer.world_size
            if math.isfinite(norm):
                self._window_losses.append(loss)
                self._skipped_in_a_row = 0
                self.metrics["grad_norm"] = norm
            else:
                self._leave_out(step, loss)

    def _leave_out(self, step: Step, loss: float) -> None:
        where = self.describe_batch(step.epoch, step.batch)
        if self.trainer.world_size > 1 and math.isfinite(loss):
            where = "the batch of another process"
        found = (
            f"loss {loss:.4g} with a gradient that isn't finite at step {step.number}, learning rate {self._lr():.3g}"
        )
        self.skipped_steps += 1
        self._skipped_in_a_row += 1
        if not self.skip_non_finite:
            raise NonFiniteLoss(f"{found}: {where}")
        if self._skipped_in_a_row > MOST_SKIPPED:
            raise NonFiniteLoss(f"{found}, as in the {MOST_SKIPPED} steps before: {where}")
        self.announce(f"{found}: {where}; left out")

    def _write_log(self, step: int) -> None:
        if self._unseen:
            self._look_at_steps()
        seconds = max(time.monotonic() - self._window_started, 1e-9)
        self.pairs_seen += self._window_pairs
        measures: dict[str, Any] = {
            "train_loss": sum(self._window_losses) / len(self._window_losses) if self._window_losses else math.nan,
            "lr": self._lr(),
            "grad_norm": self.metrics.get("grad_norm", math.nan),
            "ema_decay": ema_decay(step // self.ema_every_steps, self.ema_decay),
            "pairs_per_second": self._window_pairs / seconds,
            "steps_per_second": self._window_steps / seconds,
            "skipped_steps": self.skipped_steps,
            "minutes": self.seconds() / 60,
        }
        self.log_measures(measures, step)
        self._open_window()

    def count_pairs(self) -> int:
        """Pairs seen so far by all processes, over all sessions of the run."""
        return self.pairs_seen + self._window_pairs

    def _lr(self) -> float:
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    # Checkpoints.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the run's clock, its counts and the description to a checkpoint."""
        checkpoint["seconds"] = self.seconds()
        checkpoint["pairs_seen"] = self.count_pairs()
        checkpoint["skipped_steps"] = self.skipped_steps
        checkpoint[DESCRIPTION_KEY] = self.description

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Set the clock and the counts to what they were."""
        self._seconds_before = float(checkpoint["seconds"])
        self.pairs_seen, self.skipped_steps = checkpoint.get("pairs_seen", 0), checkpoint.get("skipped_steps", 0)
