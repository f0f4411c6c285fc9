"""Training of a prior that is split over processes: each holds its share of weights, averages and Adam's moments.

This is PyTorch's fully sharded data parallelism (FSDP2, arXiv:2304.11277) through Lightning's strategy for it, which
also works on CPUs. Checkpoints are put together and are those of a prior that isn't split, so that a run may go on
with any number of processes, split or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from text2latent.models.priors.prior import Prior
from text2latent.training.callbacks import EmaWeights
from text2latent.training.module import PriorTraining
from text2latent.training.process_group import Meeting, MeetingProcesses

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class ShardedStrategy(MeetingProcesses, ModelParallelStrategy):
    """Lightning's strategy for a module that all processes split among them, with checkpoints of a whole module.

    Lightning's own have the optimizer's parameters in another order than those of an optimizer that isn't split.

    Args:
        meeting: how they come together.
    """

    def __init__(self, processes: int, meeting: Meeting | None = None) -> None:
        super().__init__(meeting or Meeting(), processes, tensor_parallel_size=1, save_distributed_checkpoint=False)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """State of a whole optimizer, on the first process; empty for the others."""
        assert self.model is not None
        state: dict[str, Any] = dict(get_optimizer_state_dict(self.model, optimizer, options=WHOLE))
        if not state:
            return {}
        numbers = {name: number for number, name in enumerate(chain(*(g["params"] for g in state["param_groups"])))}
        return _renamed(state, numbers)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint, and take each process's share of weights and optimizer state from it."""
        assert self.model is not None
        checkpoint = self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=weights_only)
        set_model_state_dict(self.model, checkpoint["state_dict"], options=WHOLE)
        names = {weight: name for name, weight in self.model.named_parameters()}
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            mine = dict(enumerate(names[weight] for group in optimizer.param_groups for weight in group["params"]))
            set_optimizer_state_dict(self.model, optimizer, _renamed(state, mine), options=WHOLE)
        return checkpoint


def _renamed(state: dict[str, Any], names: Mapping[Any, Any]) -> dict[str, Any]:
    """An optimizer's state with other names for its parameters."""
    groups = [{**group, "params": [names[name] for name in group["params"]]} for group in state["param_groups"]]
    return {"state": {names[name]: values for name, values in state["state"].items()}, "param_groups": groups}


def gather(module: nn.Module) -> dict[str, Any]:
    """Whole weights of a split module, on the first process and a CPU; all must call it, the others get nothing."""
    state: dict[str, Any] = get_model_state_dict(module, options=WHOLE)
    return {name: value.clone() for name, value in state.items()}  # a single process would hand out its own


class ShardedPriorTraining(PriorTraining):
    """As `PriorTraining`, for a prior that all processes split among them."""

    def configure_model(self) -> None:
        """Split the prior, block by block; called when the processes know each other."""
        if isinstance(self.prior, FSDPModule):
            return
        assert self.device_mesh is not None
        mesh = self.device_mesh["data_parallel"]
        for blocks in [part for part in self.prior.modules() if isinstance(part, nn.ModuleList)]:
            for block in blocks:
                fully_shard(block, mesh=mesh)
        # Else the rest would stay whole after a validation, where the averaged weights are put in the shards' place.
        fully_shard(self.prior, mesh=mesh, reshard_after_forward=True)

    def clip_gradient(self) -> Tensor:
        """Clip the gradient that all processes hold together; returns its norm, a scalar, on each of them."""
        norm = super().clip_gradient()
        return norm.full_tensor() if isinstance(norm, DTensor) else norm


class LocalShards(pl.LightningModule):
    """The parts of a split module's weights that lie on this process; they share the memory of the module's own."""

    def __init__(self, module: pl.LightningModule) -> None:
        super().__init__()
        self.to(module.device)
        self.shards = nn.ParameterList(
            nn.Parameter(weight.to_local() if isinstance(weight, DTensor) else weight.data, requires_grad=False)
            for weight in module.parameters()
        )


class ShardedEmaWeights(EmaWeights):
    """As `EmaWeights`, of each process's share of the weights."""

    @property
    def state_key(self) -> str:
        """That of `EmaWeights`, so that either goes on where the other was."""
        return EmaWeights.__qualname__

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Wait for `on_fit_start`: the weights aren't split yet."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().setup(trainer, LocalShards(pl_module), "fit")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, LocalShards(pl_module), outputs, batch, batch_idx)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the averaged weights in the module."""
        super().on_train_end(trainer, LocalShards(pl_module))

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the averaged weights in place."""
        super().on_validation_epoch_start(trainer, LocalShards(pl_module))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_end(trainer, LocalShards(pl_module))

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put averaged and trained weights into a checkpoint as `EmaWeights` does, both whole."""
        mine: dict[str, Any] = {"state_dict": {}}
        super().on_save_checkpoint(trainer, LocalShards(pl_module), mine)
        self.on_validation_epoch_start(trainer, pl_module)
        averaged = gather(pl_module)
        self.on_validation_end(trainer, pl_module)
        checkpoint["current_model_state"] = checkpoint["state_dict"]
        checkpoint["state_dict"], checkpoint["averaging_state"] = averaged, mine["averaging_state"]

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take both from a checkpoint, whose averaged weights Lightning has put in place before."""
        shards = LocalShards(pl_module)
        mine = {"state_dict": shards.state_dict(), "averaging_state": checkpoint["averaging_state"]}
        super().on_load_checkpoint(trainer, shards, {**mine, "current_model_state": mine["state_dict"]})
        set_model_state_dict(pl_module, checkpoint["current_model_state"], options=WHOLE)


class WholePrior(Callback):
    """Brings the whole of a split prior to the first process after each validation, for the watchers listed behind it.

    Args:
        prior: takes the averaged weights there.
    """

    def __init__(self, prior: Prior) -> None:
        self.prior = prior

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, PriorTraining)
        weights = gather(pl_module.prior)
        if trainer.is_global_zero:
            self.prior.load_state_dict(weights)
