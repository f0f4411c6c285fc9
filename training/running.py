"""A session of training: from the configuration to a Trainer that fits a prior in a run's folder or goes on there."""

from __future__ import annotations

import atexit
import copy
import dataclasses
import logging
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from PIL import Image

from text2latent.common.errors import InputError
from text2latent.common.launch import Launch
from text2latent.common.prompt_text import check_prompt
from text2latent.configs.schema import TrainConfig
from text2latent.data.datamodule import PairDataModule
from text2latent.inference.images import make_grid
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.priors.folder import TrainedPrior, save_prior
from text2latent.models.priors.prior import Prior
from text2latent.models.sources.zoo import find_attribute_measure
from text2latent.training.assembly import build_objective, build_prior, load_the_clip, load_the_generator
from text2latent.training.callbacks import EmaWeights, PriorFolder, ValidationGrids, training_callbacks
from text2latent.training.checkpoints import AtomicCheckpointIO, RunCheckpoints
from text2latent.training.continuation import Start, choose_state, keep_val_pairs, read_start
from text2latent.training.interruption import TrainingInterrupted, requeue_job
from text2latent.training.logs import RunMetrics, build_loggers, format_table, summarize
from text2latent.training.module import NonFiniteLoss, Objective, PriorTraining
from text2latent.training.process_group import LaunchedProcesses, Meeting, MeetingStrategy
from text2latent.training.run_folder import RunFolder, occupied, open_run
from text2latent.training.sharding import ShardedEmaWeights, ShardedPriorTraining, ShardedStrategy, WholePrior

SIGNAL_EXIT = 128


def announce(line: str) -> None:
    """Print a line about the training on stderr."""
    print(f"\ntext2latent train: {line}", file=sys.stderr)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's hints and notes, which speak to who writes the training code."""
    notes = logging.getLogger("lightning.pytorch")
    level = notes.level
    notes.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        try:
            yield
        finally:
            notes.setLevel(level)


def run_training(config: TrainConfig, run: RunFolder, launch: Launch, device: torch.device) -> int:
    """Train the prior of `config` in a run's folder, or report that all is trained there; returns the exit code.

    Args:
        run: where it goes on if it was begun there.
        launch: which of how many processes this one is.

    Raises:
        InputError: when pairs, networks, folder, disk or the other processes are not as they must be.
    """
    with quiet_lightning():
        start = read_start(config)
        config = keep_val_pairs(config, run, start)
        data = _load_data(config, launch.devices)
        # The run's record says how many pairs are held out, also where that was left to the dataset.
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, val_pairs=data.val_pairs))
        seed_everything(config.seed, verbose=False)
        trained = build_prior(config, data, announce if launch.rank == 0 else lambda line: None)
        pipeline = _load_pipeline(config, trained, device) if launch.rank == 0 else None
        with occupied(run) if launch.rank == 0 else nullcontext():
            return _train_in_folder(config, run, launch, device, data, trained, pipeline, start)


def _train_in_folder(
    config: TrainConfig,
    run: RunFolder,
    launch: Launch,
    device: torch.device,
    data: PairDataModule,
    trained: TrainedPrior,
    pipeline: Text2LatentPipeline | None,
    begin_with: Start | None,
) -> int:
    """Train in a folder that nobody else trains in, or report that all is trained there; returns the exit code."""
    is_first = launch.rank == 0
    report = announce if is_first else lambda line: None
    is_split = config.strategy == "fsdp" and launch.processes > 1
    start, record = choose_state(run, begin_with, trained.record, report)
    trained = dataclasses.replace(trained, record=record)
    module = _build_module(config, trained, data, is_split)
    if is_first:
        open_run(run, record["training"], record, config.resume != "never")
    if start is not None and module.progress(start.step, start.seconds) >= 1:
        if is_first:
            print(f"trained already: {start}; the prior is in {run.prior}")
        return 0
    if start is not None:
        report(f"going on at step {start.step}, from {start.path}")
    checkpoints = RunCheckpoints(
        run.checkpoints, config.checkpoint_every_steps, report, config.keep_checkpoints, config.launch_timeout
    )
    callbacks = _build_callbacks(config, run, checkpoints, trained, pipeline, is_split)
    trainer = _build_trainer(config, run, device, launch, callbacks, is_split)
    code = _fit(trainer, module, data, checkpoints, start.path if start else None)
    if code == 0 and is_first:
        figures = summarize(trainer, module, checkpoints)
        print(format_table(figures))
        print(f"{trainer.global_step} steps, validation loss {figures['val_loss']:.4f}; the prior is in {run.prior}")
    return code


def _load_data(config: TrainConfig, processes: int) -> PairDataModule:
    """The pairs, checked and, where they fit, in memory once for each of the machine's `processes`."""
    data = PairDataModule(
        **dataclasses.asdict(config.data),
        seed=config.seed,
        processes=processes,
        skip_non_finite=config.on_non_finite == "skip",
        announce=announce,
    )
    data.setup("fit")
    return data


def _build_module(config: TrainConfig, trained: TrainedPrior, data: PairDataModule, is_split: bool) -> PriorTraining:
    """The Lightning module of the run; where it is to be split, `trained` keeps a whole prior of its own."""

    # Not the method itself: Lightning copies the module for the averaged weights, and the pairs would go with it.
    def describe_batch(epoch: int, batch: int) -> str:
        return data.describe_batch(epoch, batch)

    prior = copy.deepcopy(trained.prior) if is_split else trained.prior
    further = {"description": trained.record, "describe_batch": describe_batch}
    return build_training(config, prior, build_objective(config, data, prior), is_split, **further)


def build_training(
    config: TrainConfig, prior: Prior, objective: Objective, is_split: bool = False, **further: Any
) -> PriorTraining:
    """The Lightning module that fits a prior, which is split over processes if `is_split`; `further` arguments go to it
    as they are.
    """
    return (ShardedPriorTraining if is_split else PriorTraining)(
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


def _load_pipeline(config: TrainConfig, trained: TrainedPrior, device: torch.device) -> Text2LatentPipeline | None:
    """The pipeline that draws the validation's prompts; None without prompts, which saves loading its networks."""
    if not config.validation.prompts:
        return None
    for prompt in config.validation.prompts:
        check_prompt(prompt)
    generator = load_the_generator(config, trained.generator)
    clip = load_the_clip(config, trained.clip)
    try:
        return Text2LatentPipeline(generator, clip, trained).to(device)
    except InputError as error:
        raise InputError(f"--model: the pairs in {config.data.path} were made with another: {error}") from error


def _build_callbacks(
    config: TrainConfig,
    run: RunFolder,
    checkpoints: RunCheckpoints,
    trained: TrainedPrior,
    pipeline: Text2LatentPipeline | None,
    is_split: bool,
) -> list[Callback]:
    """All callbacks of the run: what is done with the averaged weights after each validation, and the rest."""

    def save(metrics: Mapping[str, float]) -> None:
        save_prior(run.prior, dataclasses.replace(trained, record={**trained.record, "metrics": dict(metrics)}))

    watchers: list[Callback] = [PriorFolder(save)]
    if pipeline is not None:
        measure = find_attribute_measure(trained.generator)
        watchers.append(ValidationGrids(lambda: _draw_grid(config, pipeline, measure), run.grids))
    average = config.optimizer.ema_decay, config.optimizer.ema_every_steps
    ema = ShardedEmaWeights(*average) if is_split else EmaWeights(*average)
    # A prior that is split over processes is put together first.
    whole = [WholePrior(trained.prior)] if is_split else []
    return [*training_callbacks(ema, checkpoints, [*whole, *watchers]), RunMetrics(run.metrics, checkpoints)]


def _draw_grid(
    config: TrainConfig, pipeline: Text2LatentPipeline, measure_attributes: Callable[..., float] | None
) -> tuple[Image.Image, dict[str, float]]:
    """One row of images per prompt, always from the same seeds, and what is measured by drawing."""
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


def _build_trainer(
    config: TrainConfig,
    run: RunFolder,
    device: torch.device,
    launch: Launch,
    callbacks: list[Callback],
    is_split: bool,
) -> Trainer:
    meeting = Meeting(config.launch_timeout, announce)
    strategy = ShardedStrategy(launch.processes, meeting) if is_split else MeetingStrategy(meeting)
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


def _fit(
    trainer: Trainer, module: PriorTraining, data: PairDataModule, checkpoints: RunCheckpoints, start: Path | None
) -> int:
    """Train from the checkpoint `start`, or from scratch; returns the exit code, `SIGNAL_EXIT` more than a signal.

    Raises:
        InputError: when the loss isn't finite any more, or other processes don't come.
    """
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
            atexit.register(_end_started_processes, trainer)
    return 0


def _end_started_processes(trainer: Trainer) -> None:
    """End the processes that this one has started, which would wait for it."""
    for process in getattr(trainer.strategy.launcher, "procs", ()):
        process.kill()
