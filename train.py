"""Fit the diffusion prior, CLIP embedding to latent, on pairs made by sample.py.

    python train.py --config faces --data.path pairs --output runs/faces

Run again after an interruption, it goes on; `text2latent infer --model runs/faces` draws with it, while it trains too.
Several processes train together with `--devices N`, under torchrun or under srun.
"""

from __future__ import annotations

import atexit
import copy
import dataclasses
import importlib
import logging
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text2latent.common.command import CommandParser, check_output_folder, run_command, select_device
from text2latent.common.errors import InputError
from text2latent.configs.schema import TrainConfig, idle_keys

if TYPE_CHECKING:
    import torch
    from lightning.pytorch import Callback, Trainer
    from PIL import Image

    from text2latent.common.launch import Launch
    from text2latent.data.datamodule import PairDataModule
    from text2latent.inference.pipeline import Text2LatentPipeline
    from text2latent.models.priors.folder import TrainedPrior
    from text2latent.models.priors.prior import Prior
    from text2latent.training.checkpoints import Resumed, RunCheckpoints
    from text2latent.training.module import Objective, PriorTraining
    from text2latent.training.run_folder import RunFolder

SIGNAL_EXIT = 128


def build_parser() -> CommandParser:
    """The parser of `text2latent train`."""
    about = "Fit the diffusion prior on pairs made by text2latent sample."
    return CommandParser("train", about, TrainConfig, idle_keys)


def with_packaged_configs(argv: Sequence[str]) -> list[str]:
    """`argv` with `--config NAME` turned into the file of that name in the package, where NAME is no file itself."""
    words = [part for word in argv for part in (word.split("=", 1) if word.startswith("--config=") else [word])]
    for position in range(1, len(words)):
        packaged = Path(__file__).parent / "configs" / f"{words[position]}.yaml"
        if words[position - 1] == "--config" and not Path(words[position]).exists() and packaged.is_file():
            words[position] = str(packaged)
    return words


def build_training(
    config: TrainConfig, prior: Prior, objective: Objective, sharded: bool = False, **further: Any
) -> PriorTraining:
    """The Lightning module that fits a prior, which is split over processes if `sharded`; `further` arguments go to it
    as they are.
    """
    from text2latent.training.module import PriorTraining
    from text2latent.training.sharding import ShardedPriorTraining

    return (ShardedPriorTraining if sharded else PriorTraining)(
        prior,
        objective,
        max_steps=config.max_steps,
        max_seconds=None if config.max_minutes is None else 60 * config.max_minutes,
        seed=config.seed,
        log_every_steps=config.log_every_steps,
        skip_non_finite=config.on_non_finite == "skip",
        announce=announce,
        **dataclasses.asdict(config.optimizer),
        **further,
    )


def build_module(config: TrainConfig, trained: TrainedPrior, data: PairDataModule, sharded: bool) -> PriorTraining:
    """The Lightning module of the run; where it is to be split, `trained` keeps a whole prior of its own."""
    from text2latent.training.assembly import build_objective

    # Not the method itself: Lightning copies the module for the averaged weights, and the pairs would go with it.
    def describe_batch(epoch: int, batch: int) -> str:
        return data.describe_batch(epoch, batch)

    prior = copy.deepcopy(trained.prior) if sharded else trained.prior
    further = {"description": trained.record, "describe_batch": describe_batch}
    return build_training(config, prior, build_objective(config, data), sharded, **further)


def load_pipeline(config: TrainConfig, trained: TrainedPrior, device: torch.device) -> Text2LatentPipeline | None:
    """The pipeline that draws the validation's prompts; None without prompts, which saves loading its networks."""
    if not config.validation.prompts:
        return None
    from text2latent.common.prompt_text import check_prompt
    from text2latent.inference.pipeline import Text2LatentPipeline
    from text2latent.training.assembly import load_the_clip, load_the_generator

    for prompt in config.validation.prompts:
        check_prompt(prompt)
    generator = load_the_generator(config, trained.generator)
    clip = load_the_clip(config, trained.clip)
    try:
        return Text2LatentPipeline(generator, clip, trained).to(device)
    except InputError as error:
        raise InputError(f"--model: the pairs in {config.data.path} were made with another: {error}") from error


def draw_grid(
    config: TrainConfig, pipeline: Text2LatentPipeline, measure_attributes: Callable[..., float] | None
) -> tuple[Image.Image, dict[str, float]]:
    """One row of images per prompt, always from the same seeds, and what is measured by drawing."""
    from text2latent.inference.images import make_grid

    wanted = config.validation
    drawn = pipeline(
        wanted.prompts,
        num_images_per_prompt=wanted.num_images,
        num_inference_steps=wanted.steps,
        guidance_scale=wanted.guidance_scale,
        seeds=range(wanted.num_images),
    )
    assert isinstance(drawn.images, list)
    assert drawn.clip_scores is not None
    measures = {"clip_score": float(drawn.clip_scores.mean())}
    if measure_attributes is not None and wanted.num_captions:
        measures["attribute_accuracy"] = measure_attributes(
            pipeline,
            wanted.num_captions,
            num_inference_steps=wanted.steps,
            guidance_scale=wanted.guidance_scale,
        )
    return make_grid(drawn.images, columns=wanted.num_images), measures


def build_watchers(
    config: TrainConfig, run: RunFolder, trained: TrainedPrior, pipeline: Text2LatentPipeline | None
) -> list[Callback]:
    """What is done with the averaged weights after each validation: the prior's folder, the grid of the prompts."""
    from text2latent.models.priors.folder import save_prior
    from text2latent.models.sources.zoo import find_attribute_measure
    from text2latent.training.callbacks import PriorFolder, ValidationGrids

    def save(metrics: Mapping[str, float]) -> None:
        save_prior(run.prior, dataclasses.replace(trained, record={**trained.record, "metrics": dict(metrics)}))

    watchers: list[Callback] = [PriorFolder(save)]
    if pipeline is not None:
        measure = find_attribute_measure(trained.generator)
        watchers.append(ValidationGrids(lambda: draw_grid(config, pipeline, measure), run.grids))
    return watchers


def build_callbacks(
    config: TrainConfig, run: RunFolder, checkpoints: RunCheckpoints, watchers: list[Callback], whole: Prior | None
) -> list[Callback]:
    """All callbacks of the run; `whole` takes the averaged weights of a prior that is split over processes."""
    from text2latent.training.callbacks import EmaWeights, training_callbacks
    from text2latent.training.logs import RunMetrics
    from text2latent.training.sharding import ShardedEmaWeights, WholePrior

    average = config.optimizer.ema_decay, config.optimizer.ema_every_steps
    ema = EmaWeights(*average) if whole is None else ShardedEmaWeights(*average)
    first = [] if whole is None else [WholePrior(whole)]
    return [*training_callbacks(ema, checkpoints, [*first, *watchers]), RunMetrics(run.metrics, checkpoints)]


def announce(line: str) -> None:
    """Tell a line on stderr."""
    print(f"\ntext2latent train: {line}", file=sys.stderr)


def is_sharded(config: TrainConfig, launch: Launch) -> bool:
    """Whether the prior is split over processes."""
    return config.strategy == "fsdp" and launch.processes > 1


def build_trainer(
    config: TrainConfig, run: RunFolder, device: torch.device, launch: Launch, callbacks: list[Callback]
) -> Trainer:
    """The Trainer; how long it trains is up to the callbacks."""
    from lightning.pytorch import Trainer

    from text2latent.training.checkpoints import AtomicCheckpointIO
    from text2latent.training.logs import build_loggers
    from text2latent.training.process_group import LaunchedProcesses, Meeting, MeetingStrategy
    from text2latent.training.sharding import ShardedStrategy

    meeting = Meeting(config.launch_timeout, announce)
    strategy = ShardedStrategy(launch.processes, meeting) if is_sharded(config, launch) else MeetingStrategy(meeting)
    environment = [] if launch.address is None else [LaunchedProcesses(launch)]
    return Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=[device.index or 0] if device.type == "cuda" and launch.processes == 1 else launch.devices,
        num_nodes=launch.num_nodes,
        strategy="auto" if launch.processes == 1 else strategy,
        precision=config.precision,
        max_epochs=-1,
        val_check_interval=config.validation.every_steps,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        callbacks=callbacks,
        logger=build_loggers(run.logs, config.csv, config.tensorboard, config.wandb, run.root.resolve().name),
        plugins=[AtomicCheckpointIO(), *environment],
        default_root_dir=run.root,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's hints and notes, which speak to who writes the training code."""
    importlib.import_module("lightning.pytorch")  # sets its level when it is first imported
    notes = logging.getLogger("lightning.pytorch")
    level = notes.level
    notes.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        try:
            yield
        finally:
            notes.setLevel(level)


def fit(
    trainer: Trainer, module: PriorTraining, data: PairDataModule, checkpoints: RunCheckpoints, start: Path | None
) -> int:
    """Train from the checkpoint `start`, or from scratch; returns the exit code, which tells of a signal.

    Raises:
        InputError: when the loss isn't finite any more, or other processes don't come.
    """
    from text2latent.training.interruption import TrainingInterrupted, requeue_job
    from text2latent.training.module import NonFiniteLoss

    try:
        with checkpoints.signals.caught():
            trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True)
    except TrainingInterrupted as stop:
        if trainer.is_global_zero:
            announce(f"interrupted by {stop}; run the same command again to go on")
            requeued = requeue_job() if stop.signum == getattr(signal, "SIGUSR1", None) else None
            if requeued:
                announce(requeued)
        return SIGNAL_EXIT + stop.signum
    except NonFiniteLoss as error:
        kept = f"{checkpoints.last} has the state before" if checkpoints.last.exists() else "nothing was saved before"
        raise InputError(f"{error}; {kept}; expected finite losses, try a smaller --optimizer.lr") from error
    finally:
        if not checkpoints.signals.working:
            atexit.register(end_started_processes, trainer)
    return 0


def end_started_processes(trainer: Trainer) -> None:
    """End the processes that this one has started, which would wait for it."""
    for process in getattr(trainer.strategy.launcher, "procs", ()):
        process.kill()


def find_start(config: TrainConfig, run: RunFolder, trained: TrainedPrior, is_first: bool) -> Resumed | None:
    """Where to go on, or None; the first process also notes in the folder what is trained there."""
    from text2latent.training.checkpoints import find_checkpoint
    from text2latent.training.run_folder import open_run

    if is_first:
        open_run(run, trained.record["training"], trained.record, config.resume == "auto")
    return find_checkpoint(run.checkpoints, announce if is_first else lambda line: None)


def load_data(config: TrainConfig, processes: int) -> PairDataModule:
    """The pairs, checked and, where they fit, in memory once for each of the machine's `processes`."""
    from text2latent.data.datamodule import PairDataModule

    data = PairDataModule(
        **dataclasses.asdict(config.data),
        seed=config.seed,
        processes=processes,
        skip_non_finite=config.on_non_finite == "skip",
        announce=announce,
    )
    data.setup("fit")
    return data


def run_training(config: TrainConfig, run: RunFolder, launch: Launch, device: torch.device) -> int:
    """Set up and train, or tell that all is trained; returns the exit code."""
    from lightning import seed_everything

    from text2latent.training.assembly import build_prior
    from text2latent.training.run_folder import occupied

    data = load_data(config, launch.devices)
    # The run's record tells how many pairs are held out, also where that was left to the dataset.
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, val_pairs=data.val_pairs))
    seed_everything(config.seed, verbose=False)
    trained = build_prior(config, data)
    with occupied(run) if launch.rank == 0 else nullcontext():
        return train_in_folder(config, run, launch, device, data, trained)


def train_in_folder(
    config: TrainConfig,
    run: RunFolder,
    launch: Launch,
    device: torch.device,
    data: PairDataModule,
    trained: TrainedPrior,
) -> int:
    """Train in a folder that nobody else trains in, or tell that all is trained there; returns the exit code."""
    from text2latent.training.checkpoints import RunCheckpoints
    from text2latent.training.logs import format_table, summarize

    tell = announce if launch.rank == 0 else lambda line: None
    sharded = is_sharded(config, launch)
    module = build_module(config, trained, data, sharded)
    pipeline = load_pipeline(config, trained, device) if launch.rank == 0 else None
    start = find_start(config, run, trained, launch.rank == 0)
    if start is not None and module.progress(start.step, start.seconds) >= 1:
        if launch.rank == 0:
            print(f"trained already: {start}; the prior is in {run.prior}")
        return 0
    if start is not None:
        tell(f"going on at step {start.step}, from {start.path}")
    checkpoints = RunCheckpoints(
        run.checkpoints, config.checkpoint_every_steps, tell, config.keep_checkpoints, config.launch_timeout
    )
    watchers = build_watchers(config, run, trained, pipeline)
    callbacks = build_callbacks(config, run, checkpoints, watchers, trained.prior if sharded else None)
    trainer = build_trainer(config, run, device, launch, callbacks)
    code = fit(trainer, module, data, checkpoints, start.path if start else None)
    if code == 0 and launch.rank == 0:
        figures = summarize(trainer, module, checkpoints)
        print(format_table(figures))
        print(f"{trainer.global_step} steps, validation loss {figures['val_loss']:.4f}; the prior is in {run.prior}")
    return code


def train(config: TrainConfig) -> int:
    """Train the prior of `config` in the folder `config.output`, or go on there; returns the exit code."""
    from text2latent.common.extras import require_extra
    from text2latent.common.launch import read_launch
    from text2latent.training.run_folder import RunFolder

    if config.wandb is not None:
        require_extra("--wandb", "logging", ["wandb"])
    run, launch = RunFolder(check_output_folder(config.output)), read_launch(config.devices, config.num_nodes)
    with quiet_lightning():
        return run_training(config, run, launch, select_device(config.device))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(build_parser(), train, with_packaged_configs(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
