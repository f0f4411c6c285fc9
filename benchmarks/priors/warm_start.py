"""How much sooner a prior has learned a generator that was tuned further, when it begins with the old one's weights.

    python benchmarks/priors/warm_start.py --json benchmarks/results/warm_start.json

The generator of the faces is fitted to draw in another style, pairs of it are sampled, and two priors are trained on
them as `text2latent train` does: from scratch, and with `--init-from` the prior of the faces. The judge tells which
named attributes their images show, over the minutes of CPU time. What is made stays in the work folder.
"""

from __future__ import annotations

import copy
import shutil
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from text2latent import sample
from text2latent.benchmarks.priors import methods
from text2latent.benchmarks.priors.configs import our_config
from text2latent.benchmarks.priors.measuring import Bench, captions_in_turns
from text2latent.benchmarks.priors.training import SNAPSHOTS, Pairs, Recipe, Trained, train_recipe
from text2latent.benchmarks.report import Figure, Measure, add_report_flags, run_parts, script_parser
from text2latent.common.command import CommandParser, check_output_folder, positive_float, positive_int, seed
from text2latent.common.errors import InputError
from text2latent.common.files import replacing
from text2latent.configs.schema import TrainConfig
from text2latent.data.datamodule import PairDataModule
from text2latent.inference.settings import DEFAULT_GUIDANCE_SCALE, DEFAULT_STEPS
from text2latent.models.generators import load_generator
from text2latent.models.generators.stylegan2 import StyleGAN2Generator, SynthesisNetwork
from text2latent.models.priors.folder import load_prior
from text2latent.models.priors.prior import Prior
from text2latent.training.assembly import new_prior
from text2latent.training.initialization import take_weights
from text2latent.zoo.evaluation import SEED
from text2latent.zoo.fit.fitting import FitPlan, fit
from text2latent.zoo.judge import load_judge
from text2latent.zoo.world import load_world

FACES = load_world("faces")

WORLD = Path(__file__).parents[2] / "zoo" / "faces" / "weights"
SCRATCH, WARM = "from scratch", "from the prior of the faces"
SEPIA = (1.05, 0.85, 0.6)
STYLE_SHARE = 0.6
TUNE_BATCH = 8
TUNE_LR = 2e-3
JUDGED_Z = 128


def build_parser() -> CommandParser:
    parser = script_parser("priors/warm_start", __doc__)
    add = parser.add_argument
    add("--work", default="runs/warm-start", metavar="FOLDER", help="Folder for what is made.")
    add("--tune-steps", type=positive_int, default=300, metavar="N", help="Steps to tune the generator.")
    add("--num-pairs", type=positive_int, default=8000, metavar="N", help="Pairs of the tuned generator.")
    add("--minutes", type=positive_float, default=1.0, metavar="X", help="Minutes to train each prior.")
    add("--num-prompts", type=positive_int, default=75, metavar="N", help="Prompts in each of the two languages.")
    add("--seed", type=seed, default=SEED, metavar="N", help="Seed of prompts and images.")
    add_report_flags(parser, PARTS)
    return parser


def in_another_style(images: Tensor) -> Tensor:
    """Images `[N, 3, H, W]` in [-1, 1] as old prints: mostly brown, and darker towards the edges."""
    light = (images + 1) / 2
    brown = light.mean(dim=1, keepdim=True) * light.new_tensor(SEPIA)[:, None, None]
    y, x = (torch.linspace(-1, 1, size) for size in images.shape[2:])
    edge = 1 - 0.35 * (x[None, :] ** 2 + y[:, None] ** 2) / 2
    return 2 * (edge * ((1 - STYLE_SHARE) * light + STYLE_SHARE * brown)).clamp(0, 1) - 1


def tune_generator(config: Namespace, work: Path) -> Path:
    """A world whose generator draws what that of the faces does, in another style; made where it isn't there."""
    world = work / f"world-{config.tune_steps}"
    if not world.is_dir():
        original = load_generator(str(WORLD)).eval().requires_grad_(False)
        assert isinstance(original, StyleGAN2Generator)
        tuned = copy.deepcopy(original)
        network = tuned.synthesis.requires_grad_(True)

        def loss(network: SynthesisNetwork, step: int) -> tuple[Tensor, dict[str, float]]:
            z = original.sample_latents(TUNE_BATCH, step * TUNE_BATCH)
            w = original.map(z)
            drawn = network(w[:, :1].expand(-1, network.num_ws, -1), noise_mode="none")
            found = mse_loss(drawn, in_another_style(original.synthesize(w)))
            return found, {"loss": found.item()}

        plan = FitPlan(config.tune_steps, lr=TUNE_LR, warmup_steps=min(50, config.tune_steps))
        tuned.synthesis = fit(network, loss, plan, work / f"tuning-{config.tune_steps}")
        with replacing(world) as partial:
            shutil.copytree(WORLD / "clip", partial / "clip")
            tuned.save_pretrained(partial / "generator")
    return world


def sample_pairs(config: Namespace, work: Path, world: Path) -> Path:
    """Pairs of a world; drawn where they aren't there."""
    pairs = work / f"pairs-{config.tune_steps}"
    words = ["--model", str(world), "--output", str(pairs), "--num-pairs", str(config.num_pairs), "--device", "cpu"]
    if sample.main(words) != 0:
        raise InputError(f"--work {work}: its pairs can't be drawn")
    return pairs


def warm_prior(config: TrainConfig, data: PairDataModule) -> Prior:
    """As `text2latent train --init-from faces` begins."""
    prior = new_prior(config, data)
    take_weights(prior, load_prior("faces").prior)
    return prior


def measure(config: Namespace) -> list[Figure]:
    """The curves of both, a figure each point, and what the tuned generator still shows of what the old one does."""
    work = check_output_folder(config.work, flag="--work")
    work.mkdir(parents=True, exist_ok=True)
    world = tune_generator(config, work)
    path = sample_pairs(config, work, world)
    flags = {"pairs": str(path), "model": str(world), "val_pairs": None, "precision": None}
    ours = our_config(Namespace(**vars(config), **flags, minutes_ours=config.minutes))
    bench = Bench(str(world), captions_in_turns(config.num_prompts, config.seed), [config.seed], work)
    figures = []
    pairs = Pairs(path, None)
    for name, recipe in (
        (SCRATCH, Recipe("scratch", ours)),
        (WARM, Recipe("warm", ours, new_prior=warm_prior, start="faces")),
    ):
        trained = train_recipe(recipe, pairs, work)
        figures += [Figure(f"{name}, {label}", value) for label, value in curve(bench, recipe, trained)]
    return [*figures, Figure("attributes that the tuned generator shows as the old one", agreement(world))]


def curve(bench: Bench, recipe: Recipe, trained: Trained) -> list[tuple[str, float]]:
    """Share of named attributes that are there, by seconds trained in words, of those that were planned."""
    planned = [60 * (recipe.config.max_minutes or 0) * share for share in (*SNAPSHOTS, 1)]
    points = []
    for index, (seconds, _) in enumerate(trained.snapshots):
        prior = trained.at(index)
        draw = methods.diffusion(bench, prior, recipe.scheduler, DEFAULT_STEPS, DEFAULT_GUIDANCE_SCALE)
        measured = bench.measure(f"curve-{trained.digest}-{index}", draw)
        nearest = min(planned, key=lambda moment: abs(moment - seconds))
        points.append((f"{nearest:.0f} s", bench.summarize(measured)["named"].value))
    return points


@torch.no_grad()
def agreement(world: Path) -> float:
    """Share of attributes that the judge reads alike in images of the same z."""
    judge = load_judge(FACES)
    read = []
    for source in (WORLD, world):
        generator = load_generator(str(source)).eval()
        z = generator.sample_latents(JUDGED_Z, SEED)
        images = [generator.synthesize(generator.map(batch)) for batch in z.split(TUNE_BATCH)]
        read.append(judge.classify(torch.cat(images)))
    return float((read[0] == read[1]).mean())


PARTS: dict[str, Measure] = {"warm_start": measure}


def main(argv: Sequence[str] | None = None) -> int:
    return run_parts(PARTS, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
