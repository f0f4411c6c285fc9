"""Train the synthesis network of a world's fitted generator adversarially; what z stands for stays as it is.

A discriminator that knows the attributes judges renders and what is drawn of the same w. By default the losses of the
fit by regression go on beside it; the mapping network is kept. The same command goes on where it was.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jsonargparse import Namespace
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from text2latent.common.command import (
    CommandParser,
    check_output_folder,
    non_negative_float,
    non_negative_int,
    positive_float,
    positive_int,
    run_command,
    seed,
    select_device,
    unit_interval,
)
from text2latent.common.errors import InputError
from text2latent.common.extras import require_extra
from text2latent.models.clip.building import read_model
from text2latent.models.clip.files import locate
from text2latent.models.generators import load_generator
from text2latent.models.generators.layers import cudnn_setting
from text2latent.models.generators.mapping import MappedGenerator
from text2latent.zoo.drawing.pen import SIZE
from text2latent.zoo.drawing.renders import render
from text2latent.zoo.fit.adversarial import AdversarialPlan, AdversarialTraining, Batch
from text2latent.zoo.fit.batches import scale_pixels
from text2latent.zoo.fit.discriminator import Discriminator
from text2latent.zoo.fit.fitting import FitPlan, Logged, run_steps
from text2latent.zoo.fit.generator import draw, image_loss, make_generator, save_grid
from text2latent.zoo.fit.perception import PerceptualLoss
from text2latent.zoo.world import Z_DIM, World, load_world, world_names

Network = TypeVar("Network", bound=nn.Module)
SEED = 404
VAGUENESS = 0.15
SPARE_CORES = 2
SESSION_FLAGS = ("output", "device", "num_workers", "num_steps", "minutes", "save_every", "log_every")
"""Flags that a run may go on with other values of."""


class Renders(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Batches of renders by number of the step: images uint8 `[N, 128, 128, 3]`, w and a vague w `[N, w_dim]`."""

    def __init__(self, world: World, seed: int, size: int) -> None:
        self.world, self.seed, self.size = world, seed, size

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw the batch of a step; it depends on world, seed, step and size only."""
        rng = np.random.default_rng([self.seed, 4, step])
        codes, nuisance = self.world.draw_codes(rng, self.size), self.world.draw_nuisance(rng, self.size)
        w = self.world.latents(codes, nuisance)
        return torch.from_numpy(render(self.world, codes, nuisance)), w, self.world.blur_values(w, rng, VAGUENESS)


def load_batches(renders: Renders, steps: range, num_workers: int, device: torch.device) -> Iterator[Batch]:
    """Yield the batches of `steps` on `device`; worker processes draw them ahead of time."""
    loader = DataLoader(
        renders,
        batch_size=None,
        sampler=steps,
        num_workers=num_workers,
        prefetch_factor=2 if num_workers else None,
        pin_memory=device.type == "cuda",
    )
    for images, w, vague_w in loader:
        pixels, w, vague_w = (part.to(device, non_blocking=True) for part in (images, w, vague_w))
        yield Batch(scale_pixels(pixels), w, vague_w)


def load_generator_of(world: World, source: str) -> MappedGenerator:
    """Load a generator of a world.

    Raises:
        InputError: for a generator of other latents or images.
    """
    generator = load_generator(source)
    shape = (generator.z_dim, generator.w_dim, generator.image_size)
    if not isinstance(generator, MappedGenerator) or shape != (Z_DIM, world.w_dim, SIZE):
        wanted = f"z of {Z_DIM}, w of {world.w_dim} dimensions and images of {SIZE} pixels"
        raise InputError(f"--generator: expected a StyleGAN of the {world.name} world, with {wanted}, got {source}")
    return generator


def distances(images: Tensor, targets: Tensor, world: World, perceptual: nn.Module) -> dict[str, Tensor]:
    """Return the terms of the regression: weighted L1 and perceptual distance."""
    with torch.autocast(images.device.type, torch.bfloat16):
        seen = perceptual(images, targets)
    return {"image": image_loss(world, images, targets), "perceptual": seen}


def make_training(config: Namespace, device: torch.device) -> tuple[MappedGenerator, AdversarialTraining[nn.Module]]:
    """Return the generator to start from and the training of its synthesis network, on `device`."""
    world = load_world(config.world)
    generator = load_generator_of(world, config.generator or world.name)
    perceptual = to_device(PerceptualLoss(read_model(locate(config.clip or world.name)).visual), device)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        discriminator = Discriminator(world.w_dim, SIZE)
        if config.from_scratch:
            generator.synthesis = make_generator(world).synthesis
    synthesis = to_device(generator, device).synthesis.requires_grad_(True).train()
    regression = partial(distances, world=world, perceptual=perceptual)
    return generator, AdversarialTraining(
        synthesis, to_device(discriminator, device), draw, regression, make_plan(config)
    )


def to_device(network: Network, device: torch.device) -> Network:
    """Move a network to a device, with its kernels channels last, which is the faster order for convolutions."""
    nn.Module.to(network, device)
    return network.to(memory_format=torch.channels_last)


def make_plan(config: Namespace) -> AdversarialPlan:
    """Return the plan that the flags ask for."""
    fit = FitPlan(
        num_steps=config.num_steps,
        lr=config.lr,
        betas=(0.0, 0.99),
        anneal=False,
        ema_decay=config.ema_decay,
        log_every=config.log_every,
        save_every=config.save_every,
        max_minutes=config.minutes,
    )
    return AdversarialPlan(
        fit, config.discriminator_lr, config.regression_weight, config.adversarial_weight, config.r1_gamma
    )


def claim_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Make the run folder, or check that what is in it was made with the same settings.

    Raises:
        InputError: if it was not.
    """
    file = folder / "settings.json"
    if file.exists():
        kept = json.loads(file.read_text(encoding="utf-8"))
        for name in settings:
            if kept.get(name) != settings[name]:
                found = f"{folder} holds a run with {kept.get(name)}, got {settings[name]}"
                raise InputError(f"--{name.replace('_', '-')}: {found}; expected the same, or a new --output")
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(dict(settings), indent=1) + "\n", encoding="utf-8")


def train(config: Namespace) -> MappedGenerator:
    """Train as the flags say, resumably in the run folder; return the generator with averaged weights."""
    device, folder = select_device(config.device), check_output_folder(config.output)
    num_workers = default_workers() if config.num_workers is None else config.num_workers
    generator, training = make_training(config, device)
    claim_folder(folder, {name: value for name, value in vars(config).items() if name not in SESSION_FLAGS})
    world = load_world(config.world)
    renders = Renders(world, config.seed, config.batch_size)

    def steps(first: int) -> Iterator[Logged]:
        todo = range(first, config.num_steps)
        for step, batch in zip(todo, load_batches(renders, todo, num_workers, device), strict=True):
            yield training.step(step, batch)

    def draw_samples(step: int) -> None:
        generator.synthesis = training.mean_network
        save_grid(world, generator, folder / f"grid-{step:06d}.png")

    # cuDNN tries out which of its algorithms is the fastest for each shape.
    with cudnn_setting("benchmark", True):
        run_steps(steps, training.parts, training.plan.fit, folder, draw_samples)
    generator.synthesis = training.mean_network
    return to_device(generator.eval(), torch.device("cpu"))


def default_workers() -> int:
    """Return how many processes render: all cores but those that feed the networks."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores - SPARE_CORES, 0)


def run(config: Namespace) -> None:
    """Train and write the generator, float16, into the run folder."""
    require_extra("sharpening", "zoo", ["skia"])
    generator = train(config)
    generator.half().save_pretrained(Path(config.output) / "generator")


def build_parser() -> CommandParser:
    parser = CommandParser("sharpening", __doc__)
    parser.prog = "python -m text2latent.zoo.fit.sharpening"
    add = parser.add_argument
    add("world", choices=world_names(), help="World of the generator.")
    add("--output", required=True, metavar="DIR", help="Run folder: checkpoint, log, grids and generator/.")
    add("--generator", metavar="SOURCE", help="Generator to start from; by default the world's.")
    add("--clip", metavar="SOURCE", help="CLIP of the perceptual loss, a ResNet; by default the world's.")
    add("--from-scratch", action="store_true", help="Start from a synthesis network with random weights.")
    add("--regression-weight", type=non_negative_float, default=1.0, metavar="X", help="0: the discriminator alone.")
    add("--adversarial-weight", type=non_negative_float, default=0.1, metavar="X", help="Of the generator's loss.")
    add("--r1-gamma", type=non_negative_float, default=0.2, metavar="X", help="Weight of R1.")
    add("--lr", type=positive_float, default=2e-3, metavar="X", help="Learning rate of the generator.")
    add("--discriminator-lr", type=positive_float, default=2e-3, metavar="X", help="That of the discriminator.")
    add("--ema-decay", type=unit_interval, default=0.998, metavar="X", help="Of the generator's moving average.")
    add("--batch-size", type=positive_int, default=32, metavar="N", help="Images per step.")
    add("--num-steps", type=positive_int, default=100_000, metavar="N", help="Steps in all.")
    add("--minutes", type=positive_float, default=None, metavar="X", help="Stop this session after so many minutes.")
    add("--save-every", type=positive_int, default=1000, metavar="N", help="Steps between checkpoints with a grid.")
    add("--log-every", type=positive_int, default=100, metavar="N", help="Steps between lines of the log.")
    add("--num-workers", type=non_negative_int, default=None, metavar="N",
        help="Processes that render ahead; by default all cores but two.")  # fmt: skip
    add("--seed", type=seed, default=SEED, metavar="N", help="Seed of renders and random weights.")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
