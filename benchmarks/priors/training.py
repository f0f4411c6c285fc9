"""Train priors for a comparison, each for given minutes, with the project's own training; a rerun goes on.

Minutes are of the process's CPU time, which what else the machine does leaves alone; so run on one thread.

What is trained is kept, and taken again by recipes that say the same, even when settings have been added since or
defaults have changed: a recipe is known by how it differs from clip2latent's plain one, in which all is named and off.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader

from text2latent.benchmarks.priors.configs import decisive, plain_settings
from text2latent.benchmarks.priors.report import RESULTS
from text2latent.common.command import CommandParser, positive_int, seed
from text2latent.common.files import replacing
from text2latent.configs.schema import TrainConfig
from text2latent.data.datamodule import PairDataModule, PairTensors, RowBatches
from text2latent.models.priors.prior import Prior
from text2latent.models.priors.schedulers import build_scheduler
from text2latent.training import assembly
from text2latent.training.callbacks import EmaWeights, RunProgress, StopAtLimits
from text2latent.training.module import Objective, PriorTraining
from text2latent.training.running import build_training, quiet_lightning
from text2latent.zoo.evaluation import SEED

UNLIMITED_STEPS = 10**9
SNAPSHOTS = tuple(2 ** (-k / 2) for k in range(10, 0, -1))
"""When weights are looked at, as shares of the time to train, beside its end."""


def add_flags(parser: CommandParser, work: str, num_images: int) -> None:
    """Add the flags that say what is trained on, what is measured on, and where things go."""
    add_place_flags(parser, work, num_images)
    add = parser.add_argument
    add("--num-prompts", type=positive_int, default=100, metavar="N", help="Prompts in each of the two languages.")
    add("--first-prompts", type=positive_int, metavar="N", help="Of these, measure on the first ones only.")
    add("--quick", action="store_true", help="Seconds instead of minutes for everything, to see that all works.")


def add_place_flags(parser: CommandParser, work: str, num_images: int, default_seed: int = SEED) -> None:
    """Add those of them that don't depend on what is measured."""
    add = parser.add_argument
    add("--pairs", required=True, metavar="FOLDER", help="Pairs that text2latent sample wrote.")
    add("--work", default=work, metavar="FOLDER", help="Folder for what is trained and measured.")
    add("--output", default=str(RESULTS), metavar="FOLDER", help="Folder for the results; those there are replaced.")
    add(
        "--model",
        default="faces",
        metavar="PATH",
        help="Generator, CLIP and, where none is trained here, prior: a zoo name or a folder.",
    )
    add("--num-images", type=positive_int, default=num_images, metavar="N", help="Images per prompt.")
    add("--val-pairs", type=positive_int, default=None, metavar="N",
        help="First pairs that nothing is trained on. Default: a tenth of them, at most 1000.")  # fmt: skip
    add("--seed", type=seed, default=default_seed, metavar="N", help="Seed of prompts and images.")


@dataclass(frozen=True)
class Recipe:
    """How a prior of a comparison is made.

    Attributes:
        name: file name of what is kept of it.
        config: as `text2latent train` takes it; `max_minutes` is the budget.
        num_pairs: training pairs, the first ones; None for all.
        new_prior: makes the untrained prior; None makes what the config says.
        new_objective: makes what gives the loss; None makes what the config says.
        start: name of the recipe whose weights the prior starts with, part of what keeps results apart.
    """

    name: str
    config: TrainConfig
    num_pairs: int | None = None
    new_prior: Callable[[TrainConfig, PairDataModule], Prior] | None = None
    new_objective: Callable[[TrainConfig, PairDataModule, Prior], Objective] | None = None
    start: str | None = None

    @property
    def digest(self) -> str:
        plain = plain_settings()
        changed = {key: value for key, value in decisive(self.config).items() if value != plain[key]}
        return short_digest([self.name, self.num_pairs, self.start, changed])

    @property
    def scheduler(self) -> Any:
        return build_scheduler(self.config.diffusion.sampler, self.config.diffusion.objective)


@dataclass(frozen=True)
class Fitted:
    """What a training gives to be kept: its minutes and steps, and seconds trained with the averaged weights then."""

    minutes: float
    steps: int
    snapshots: list[tuple[float, dict[str, Tensor]]]


@dataclass(frozen=True)
class Trained:
    """What comes out of a training.

    Attributes:
        prior: with averaged weights, in eval mode.
        minutes: trained, CPU time.
        steps: trained.
        digest: of the weights.
        snapshots: CPU seconds trained, and the averaged weights at that time, in order.
    """

    prior: Prior
    minutes: float
    steps: int
    digest: str
    snapshots: list[tuple[float, dict[str, Tensor]]]

    @property
    def num_parameters(self) -> int:
        """Trained numbers."""
        return sum(parameter.numel() for parameter in self.prior.parameters())

    def at(self, snapshot: int) -> Prior:
        """The prior with the weights of a snapshot; the same object for all, so use one at a time."""
        self.prior.load_state_dict(self.snapshots[snapshot][1])
        return self.prior


class Snapshots(Callback):
    """Keeps the averaged weights at given seconds of training.

    Args:
        averages: the callback that has them.
        seconds: when, ascending.
    """

    def __init__(self, averages: EmaWeights, seconds: Sequence[float]) -> None:
        self.averages, self.due = averages, list(seconds)
        self.kept: list[tuple[float, dict[str, Tensor]]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Copy the averaged weights when it is time."""
        assert isinstance(pl_module, PriorTraining)
        seconds = pl_module.seconds()
        if not self.due or seconds < self.due[0]:
            return
        self.due = [later for later in self.due if later > seconds]
        assert self.averages._average_model is not None
        averaged = cast(PriorTraining, self.averages._average_model.module).prior.state_dict()
        self.kept.append((seconds, {name: value.clone() for name, value in averaged.items()}))


class Pairs:
    """A dataset in memory, of which recipes take as many pairs as they want.

    Args:
        path: folder of shards.
        val_pairs: first pairs, which no recipe trains on; None: as many as `text2latent train` holds out.
    """

    def __init__(self, path: str | Path, val_pairs: int | None) -> None:
        self.module = PairDataModule(path, val_pairs=val_pairs, in_memory=True)
        self.module.setup("fit")

    @property
    def digest(self) -> str:
        """Digest of the dataset and of which pairs are trained on."""
        return short_digest([self.module.manifest.sha256, self.module.num_train_pairs])

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """Latents `[N, L, D]` and embeddings `[N, E]`, float16, of the training pairs."""
        return self.module.pairs(self.module.num_train_pairs)


def train_recipe(recipe: Recipe, pairs: Pairs, folder: Path) -> Trained:
    """Train a recipe, or take what a former run has kept of the same one.

    Args:
        recipe: what to train.
        pairs: on what.
        folder: where results are kept.
    """
    torch.manual_seed(recipe.config.seed)
    data = pairs.module.limited(recipe.num_pairs)
    prior = (recipe.new_prior or assembly.new_prior)(recipe.config, data)
    file = folder / f"{recipe.name}-{recipe.digest}-{pairs.digest}.safetensors"
    if not (file.is_file() and _says_the_same(file, recipe)):
        _keep(file, recipe, fit(recipe, prior, data))
    return _read(file, prior)


def short_digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def load_batches(data: PairDataModule, batch_size: int, seed: int) -> DataLoader[Any]:
    tensors = PairTensors(*data.pairs(data.num_train_pairs))
    rows = RowBatches(len(tensors), batch_size, shuffle=True, seed=seed)
    return DataLoader(tensors, batch_size=None, sampler=rows)


def fit(recipe: Recipe, prior: Prior, data: PairDataModule) -> Fitted:
    """Train a prior on a dataset as `text2latent train` does, without its files; for `max_steps` where no minutes are
    set.
    """
    config = recipe.config
    objective = (recipe.new_objective or assembly.build_objective)(config, data, prior)
    steps = config.max_steps if config.max_minutes is None else UNLIMITED_STEPS
    limited = dataclasses.replace(config, max_steps=steps)
    module = build_training(limited, prior, objective, clock=time.process_time)
    averages = EmaWeights(config.optimizer.ema_decay, config.optimizer.ema_every_steps)
    seconds = 60 * (config.max_minutes or 0)
    snapshots = Snapshots(averages, [share * seconds for share in SNAPSHOTS if seconds])
    trainer = pl.Trainer(
        accelerator="cpu",
        precision=config.precision,
        max_epochs=-1,
        callbacks=[StopAtLimits(), RunProgress(), averages, snapshots],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    with quiet_lightning():
        trainer.fit(module, load_batches(data, config.data.batch_size, config.seed))
    final = {name: value.clone() for name, value in prior.state_dict().items()}
    return Fitted(module.seconds() / 60, trainer.global_step, [*snapshots.kept, (module.seconds(), final)])


def _keep(file: Path, recipe: Recipe, trained: Fitted) -> None:
    tensors = {
        f"{index}.{name}": value for index, (_, state) in enumerate(trained.snapshots) for name, value in state.items()
    }
    times = [seconds for seconds, _ in trained.snapshots]
    figures = {"minutes": trained.minutes, "steps": trained.steps, "seconds": times}
    metadata = {"trained": json.dumps(figures), "settings": json.dumps(decisive(recipe.config))}
    with replacing(file) as partial:
        save_file(tensors, partial, metadata)


def _says_the_same(file: Path, recipe: Recipe) -> bool:
    """Whether a kept training was made with the recipe's settings, as far as there were such settings then.

    Its name says only how they differ from the plain recipe, which may have been another then.
    """
    kept, now = json.loads(_metadata(file)["settings"]), decisive(recipe.config)
    return all(now[key] == value for key, value in kept.items() if key in now)


def _metadata(file: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        found: dict[str, str] = opened.metadata()
    return found


def _read(file: Path, prior: Prior) -> Trained:
    kept = json.loads(_metadata(file)["trained"])
    states: list[dict[str, Tensor]] = [{} for _ in kept["seconds"]]
    for key, value in load_file(file).items():
        index, _, name = key.partition(".")
        states[int(index)][name] = value
    prior.load_state_dict(states[-1])
    prior.eval().requires_grad_(False)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    return Trained(prior, kept["minutes"], kept["steps"], digest, list(zip(kept["seconds"], states, strict=True)))
