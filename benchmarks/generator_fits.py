"""Compare generators of the faces world: do they draw what their latents stand for, and as plainly as renders?

The judge classifies what a picture shows. Renders that no generator was fitted to are measured beside them, as if a
generator had drawn them: no generator can be expected to do better.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from text2latent.apps.evaluation.metrics import frechet_distance
from text2latent.benchmarks.report import (
    Figure,
    add_device_flag,
    command_line,
    keep_part,
    read_parts,
    scores,
    script_parser,
    table,
)
from text2latent.common.command import (
    CommandParser,
    check_output_file,
    run_command,
    seed,
    select_device,
)
from text2latent.common.constraints import Range, whole_number
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.generators.mapping import MappedGenerator
from text2latent.zoo import evaluation
from text2latent.zoo.drawing.renders import render
from text2latent.zoo.fit.batches import to_tensor
from text2latent.zoo.fit.generator import psnr
from text2latent.zoo.fit.sharpening import load_generator_of, to_device
from text2latent.zoo.judge import Judge, load_judge
from text2latent.zoo.world import load_world

FACES = load_world("faces")

RENDERS = "renders"
"""Name of the part with the figures of renders."""


@dataclass(frozen=True)
class Yardstick:
    """Renders, who looks at them, and what they see.

    Attributes:
        images: renders `[N, 3, 128, 128]` in [-1, 1].
        w: the latents that mean the same, `[N, W_DIM]`.
        judge: which classifies attributes.
        clip: whose space the Frechet distance is measured in.
    """

    images: Tensor
    w: Tensor
    judge: Judge
    clip: ClipEncoder


def make_yardstick(num_images: int, random_seed: int, clip: str, device: torch.device) -> Yardstick:
    """Draw renders of a seed and load judge and CLIP, all on `device`."""
    rng = np.random.default_rng([random_seed, 5])
    codes, nuisance = FACES.draw_codes(rng, num_images), FACES.draw_nuisance(rng, num_images)
    images, w = to_tensor(render(FACES, codes, nuisance)).to(device), FACES.latents(codes, nuisance).to(device)
    return Yardstick(images, w, load_judge(FACES).to(device), ClipEncoder.from_pretrained(clip).to(device))


def sharpness(images: Tensor) -> float:
    """Mean absolute Laplacian of images `[N, C, H, W]`, of five points: high with much detail."""
    middle = images[..., 1:-1, 1:-1]
    across = images[..., 1:-1, :-2] + images[..., 1:-1, 2:]
    return float((4 * middle - across - images[..., :-2, 1:-1] - images[..., 2:, 1:-1]).abs().mean())


@torch.no_grad()
def image_figures(images: Tensor, codes: np.ndarray, yardstick: Yardstick) -> list[Figure]:
    """Measure images `[M, 3, 128, 128]` that are to show values `codes` `[M, len(NAMES)]`."""
    judge, renders = yardstick.judge, yardstick.images
    agreement = evaluation.judge_accuracy(FACES, judge, images, codes)
    confidence = evaluation.confidence(judge, images) / evaluation.confidence(judge, renders)
    distance = frechet_distance(*(yardstick.clip.encode_image(side).cpu().numpy() for side in (images, renders)))
    detail = sharpness(images) / sharpness(renders)
    return [
        *scores("agreement with the attributes meant", agreement, mean=0.96, each=0.88),
        Figure("judge's confidence over that on renders", confidence, target=0.95),
        Figure("Frechet distance to renders in CLIP space", distance),
        Figure("mean absolute Laplacian over that of renders", detail),
    ]


@torch.no_grad()
def generator_figures(generator: MappedGenerator, yardstick: Yardstick, random_seed: int) -> list[Figure]:
    """Measure a generator on as many images of random z as there are renders, and on the renders' own w."""
    images, codes = evaluation.own_images(FACES, generator, len(yardstick.images), random_seed)
    batches = zip(yardstick.w.split(evaluation.BATCH), yardstick.images.split(evaluation.BATCH), strict=True)
    ratios = [psnr(generator.synthesize(w[:, None]), targets) for w, targets in batches]
    fidelity = Figure("PSNR of w of known meaning against their renders", float(torch.stack(ratios).mean()), "dB")
    return [*image_figures(images, codes, yardstick), fidelity]


def compare(parser: CommandParser, config: Namespace) -> None:
    """Measure and print renders and each generator in turn, and keep the figures if there is a file for them."""
    device = select_device(config.device)
    file = None if config.json is None else check_output_file(config.json, overwrite=True, flag="--json")
    if file is not None:
        read_parts(file)
    generators = {source: load_generator_of(FACES, source) for source in config.generators}
    yardstick = make_yardstick(config.num_images, config.seed, config.clip, device)
    renders, codes = evaluation.held_out_renders(FACES, config.num_images, config.seed)
    measured = {RENDERS: partial(image_figures, renders.to(device), codes, yardstick)}
    for source, generator in generators.items():
        measured[source] = partial(generator_figures, to_device(generator, device), yardstick, config.seed)
    command = command_line(parser, config, *config.generators, without=("generators", "json"))
    for part, measure in measured.items():
        figures = measure()
        print(table(part, figures), flush=True)
        if file is not None:
            keep_part(file, part, command, figures)


def build_parser() -> CommandParser:
    parser = script_parser("generator_fits", __doc__)
    add = parser.add_argument
    add("generators", nargs="+", metavar="GENERATOR", help="Faces generators: zoo names or folders.")
    add("--clip", default="faces", metavar="SOURCE", help="CLIP in whose space distributions are compared.")
    add("--num-images", type=whole_number(Range(at_least=2)), default=2000, metavar="N", help="Images per generator.")
    add("--seed", type=seed, default=evaluation.SEED, metavar="N", help="Seed of renders and z.")
    add_device_flag(parser)
    add("--json", default=None, metavar="FILE", help="JSON file to keep the figures in; its other parts stay.")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    return run_command(parser, partial(compare, parser), argv)


if __name__ == "__main__":
    sys.exit(main())
