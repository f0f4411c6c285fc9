"""How fast pairs of real sizes are sampled, and priors trained on them, on any device."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from text2latent.benchmarks.gpu_networks import (
    OURS,
    PAPER,
    SIZES,
    build_encoder,
    build_generator,
    build_prior,
    recipe,
)
from text2latent.benchmarks.gpu_timing import Clock, announce, measurable, median, timed, wait
from text2latent.benchmarks.report import Figure
from text2latent.common.command import select_device
from text2latent.configs.schema import TrainConfig
from text2latent.data.datamodule import PairTensors, RowBatches
from text2latent.data.sampling import draw_latents, draw_shard
from text2latent.data.shards import encode_shard
from text2latent.models.acceleration import Acceleration
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.generators.base import Generator
from text2latent.training.assembly import build_denoising
from text2latent.training.callbacks import EmaWeights
from text2latent.training.running import build_training, quiet_lightning

MILLION, HOUR = 1_000_000, 3600
PAIRS_PER_SECOND = 100
"""What is to be reached on an H100 or H200 by the fastest way."""
WARM_STEPS, EPOCH_BATCHES = 10, 8
WAYS = {
    "float32": ("32", Acceleration()),
    "bf16": ("bf16", Acceleration()),
    "bf16, CUDA graphs": ("bf16", Acceleration(cuda_graph=True)),
    "bf16, compiled": ("bf16", Acceleration(compile=True)),
}
"""Precision of sampling, and what makes it faster; what can't be undone is last."""


def sampling_figures(config: Namespace, clock: Clock) -> Iterator[Figure]:
    """Pairs per second of FFHQ's StyleGAN2 and ViT-B/32 in each way, hours for a million, and what the time goes to."""
    sizes, device = SIZES[config.size], select_device(config.device)
    generator, clip = build_generator(sizes, "StyleGAN2", device), build_encoder(sizes, "ViT-B/32", device)
    aims = config.size == "real" and device.type == "cuda"
    for name in measurable({name: how for name, (_, how) in WAYS.items()}, device):
        precision, how = WAYS[name]
        if not clock.left:
            announce(f"cut short: sampling, {name}")
            continue
        how.apply(generator, clip)
        shard = partial(_draw_shard, generator, clip, sizes.sampled, precision)
        seconds, _ = timed(shard, device, max(1, config.repeats // 4), clock)
        rate = sizes.sampled / median(seconds)
        yield Figure(f"{name}: pairs per second", rate, "pairs/s", PAIRS_PER_SECOND if aims else None)
        yield Figure(f"{name}: a million pairs", MILLION / rate / HOUR, "h")
        yield from limit_figures(generator, clip, sizes.sampled, precision, name, config)


def _draw_shard(generator: Generator, clip: ClipEncoder, count: int, precision: str) -> bytes:
    return draw_shard(generator, clip, range(count), batch_size=count, precision=precision)


def limit_figures(
    generator: Generator, clip: ClipEncoder, count: int, precision: str, name: str, config: Namespace
) -> Iterator[Figure]:
    """Shares of a batch's parts, each waited for alone: the largest is what limits sampling."""
    device = generator.device
    spent = {
        part: median(timed(work, device, max(1, config.repeats // 4))[0])
        for part, work in sampling_parts(generator, clip, count, precision).items()
    }
    for part, seconds in spent.items():
        yield Figure(f"{name}: share of {part}", seconds / sum(spent.values()))


def sampling_parts(
    generator: Generator, clip: ClipEncoder, count: int, precision: str
) -> dict[str, Callable[[], object]]:
    """What a batch of pairs consists of, each part of what the one before gave."""

    def inside(work: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            rough = torch.autocast(generator.device.type, torch.bfloat16, enabled=precision == "bf16")
            with torch.inference_mode(), rough:
                return work()

        return run

    options = generator.rough_options
    draw = inside(lambda: draw_latents(generator, 0, range(count), 1.0))
    latents = draw()
    synthesize = inside(lambda: generator.synthesize(latents.float(), **options))
    images = synthesize()
    embed = inside(lambda: clip.encode_image(images).half())
    arrays = latents.cpu().numpy(), embed().cpu().numpy()
    write = partial(encode_shard, 0, *arrays)
    return {"latents": draw, "generator": synthesize, "CLIP": embed, "shard": write}


class Stopwatch(pl.Callback):
    """Ends a training after some steps or seconds; tells steps per second but for the first ones.

    Attributes:
        rate: steps per second, once the training has ended.
    """

    rate = 0.0

    def __init__(self, steps: int, seconds: float) -> None:
        self.steps, self.seconds = steps, seconds
        self._started = self._begun = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begun = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Start to count steps, or end the training."""
        steps = trainer.global_step - WARM_STEPS
        late = time.perf_counter() - self._begun > self.seconds
        if steps == 0:
            wait(pl_module.device)
            self._started = time.perf_counter()
        elif steps >= self.steps or (late and steps > 0):
            wait(pl_module.device)
            self.rate = steps / (time.perf_counter() - self._started)
            trainer.should_stop = True


def training_figures(config: Namespace, clock: Clock) -> Iterator[Figure]:
    """Steps and pairs per second of priors of our size and the paper's by batch, in bf16; hours for a million steps."""
    sizes, device = SIZES[config.size], select_device(config.device)
    recipes = {"ours": recipe(sizes, OURS), "the paper's size": recipe(sizes, PAPER)}
    pairs = random_pairs(EPOCH_BATCHES * sizes.trained[-1], recipes["ours"].prior.width)
    runs = [(name, batch) for batch in sizes.trained for name in recipes]
    for place, (name, batch) in enumerate(runs):
        if not clock.left:
            announce(f"cut short: training {name}, batch of {batch}")
            continue
        seconds = clock.left / (len(runs) - place)
        rate = training_rate(recipes[name], pairs, batch, device, seconds, 10 * config.repeats)
        what = f"{name}, batch of {batch}"
        yield Figure(f"{what}: steps per second", rate, "steps/s")
        yield Figure(f"{what}: pairs per second", rate * batch, "pairs/s")
        if batch == sizes.trained[min(1, len(sizes.trained) - 1)]:
            yield Figure(f"{what}: a million steps", MILLION / rate / HOUR, "h")


def random_pairs(count: int, channels: int) -> PairTensors:
    """Pairs of latents and embeddings of so many channels that have nothing to do with each other."""
    rng = torch.Generator().manual_seed(0)
    latents, embeddings = (torch.randn(count, *shape, generator=rng) for shape in ((1, channels), (channels,)))
    return PairTensors(latents.half(), torch.nn.functional.normalize(embeddings, dim=1).half())


def training_rate(
    config: TrainConfig, pairs: PairTensors, batch: int, device: torch.device, seconds: float, steps: int
) -> float:
    """Steps per second of a prior that trains in bf16 on pairs, with averaged weights, as `train` does."""
    channels = config.prior.width
    prior = build_prior(config, channels, channels, device).train().requires_grad_(True)
    limited = replace(config, max_steps=WARM_STEPS + steps + 1, log_every_steps=10 * (WARM_STEPS + steps))
    module = build_training(limited, prior, build_denoising(config.diffusion))
    watch = Stopwatch(steps, seconds)
    averages = EmaWeights(config.optimizer.ema_decay, config.optimizer.ema_every_steps)
    batches = DataLoader(
        pairs, batch_size=None, sampler=RowBatches(len(pairs), batch, shuffle=True), pin_memory=device.type == "cuda"
    )
    with quiet_lightning():
        trainer = pl.Trainer(
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=[device.index or 0] if device.type == "cuda" else 1,
            precision="bf16-mixed",
            max_steps=limited.max_steps,
            callbacks=[watch, averages],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            use_distributed_sampler=False,
        )
        trainer.fit(module, batches)
    return watch.rate
