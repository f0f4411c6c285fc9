"""Change one choice of the prior at a time, and measure what that does; each row is trained for as many minutes.

    python benchmarks/priors/ablate.py --pairs runs/faces/pairs --work runs/ablation

The first row is the prior of `configs/faces.yaml`, trained as briefly as all others. What is trained and measured stays
in the work folder: run again after an interruption, it goes on.
"""

from __future__ import annotations

import dataclasses
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from text2latent.benchmarks.priors import methods
from text2latent.benchmarks.priors.configs import read_config
from text2latent.benchmarks.priors.measuring import Bench, make_bench
from text2latent.benchmarks.priors.report import CPU_TIME, Results, Row, file_name, markdown, write_results
from text2latent.benchmarks.priors.training import (
    Pairs,
    Recipe,
    Trained,
    add_flags,
    short_digest,
    train_recipe,
)
from text2latent.benchmarks.report import command_line, script_parser
from text2latent.common.command import (
    CommandParser,
    check_output_folder,
    positive_float,
    run_command,
)
from text2latent.common.errors import UsageError
from text2latent.configs.schema import TrainConfig
from text2latent.inference.settings import DEFAULT_GUIDANCE_SCALE, DEFAULT_STEPS
from text2latent.models.priors.diffusion import Guidance
from text2latent.models.priors.schedulers import build_scheduler

QUICK = {"minutes": 0.01, "num_prompts": 4, "num_images": 2, "val_pairs": 20}
"""What `--quick` sets: too little to mean anything, enough to see that all works."""
PROMPTS = "faces.txt"


@dataclass(frozen=True)
class Variant:
    """A row: what is changed in the configuration, in the number of pairs, or in drawing.

    Attributes:
        group: of rows that change the same choice.
        name: of the row.
        changes: values of the configuration by dotted key.
        num_pairs: training pairs, None for all.
        guidance: of drawing.
        steps: of drawing.
    """

    group: str
    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    num_pairs: int | None = None
    guidance: Guidance = field(default_factory=lambda: Guidance(DEFAULT_GUIDANCE_SCALE))
    steps: int = DEFAULT_STEPS

    def changes_anything(self, config: TrainConfig) -> bool:
        return (
            self.apply(config) != config
            or self.num_pairs is not None
            or self.guidance != Guidance(DEFAULT_GUIDANCE_SCALE)
        )

    def apply(self, config: TrainConfig) -> TrainConfig:
        for key, value in self.changes.items():
            section, _, name = key.partition(".")
            changed = dataclasses.replace(getattr(config, section), **{name: value})
            config = dataclasses.replace(config, **{section: changed})
        return config


def objectives() -> Iterator[Variant]:
    """What is predicted, at which noise, and how errors are weighed."""
    for times in ("uniform", "log_normal"):
        yield Variant("objective", f"flow, {times} times", {"diffusion.time_sampling": times})
    for objective in ("epsilon", "sample", "v"):
        changes = {"diffusion.objective": objective, "diffusion.sampler": "dpm++"}
        yield Variant("objective", f"{objective}, cosine, DPM-Solver++", changes)
    edm = {"diffusion.objective": "sample", "diffusion.sampler": "dpm++", "diffusion.time_sampling": "log_normal"}
    yield Variant("objective", "sample, EDM's levels and weights", {**edm, "diffusion.loss_weighting": "edm"})
    yield Variant("objective", "flow, min-SNR weights", {"diffusion.loss_weighting": "min_snr"})
    for sampler in ("heun", "dpm++"):
        yield Variant("sampler", f"flow, {sampler}", {"diffusion.sampler": sampler})


def noises(fixed: Sequence[float], random: Sequence[float]) -> Iterator[Variant]:
    """The pseudo-text's noise: of some scales, and of random ones up to some."""
    for scale in fixed:
        changes = {"diffusion.noise_scale": scale, "diffusion.random_noise": False}
        yield Variant("noise", f"noise {scale:g}", changes)
    for most in random:
        changes = {"diffusion.noise_scale": most, "diffusion.random_noise": True}
        yield Variant("noise", f"random noise up to {most:g}", changes)


def gaps() -> Iterator[Variant]:
    """What is done about the gap between texts and images."""
    yield Variant("gap correction", "embeddings not centred", {"text.prompts": None})
    yield Variant("gap correction", "centred by prompts for faces", {"text.prompts": PROMPTS})


def guidances() -> Iterator[Variant]:
    """Guidance, everywhere, in an interval of times, and rescaled."""
    for scale in (1.0, 1.5, 2.0, 3.0):
        yield Variant("guidance", f"scale {scale}", guidance=Guidance(scale))
    yield Variant("guidance", "scale 2, times 0.3 to 0.8", guidance=Guidance(2.0, (0.3, 0.8)))
    yield Variant("guidance", "scale 2, rescale 0.7", guidance=Guidance(2.0, rescale=0.7))


def sizes() -> Iterator[Variant]:
    """Width, depth and kind of the network, and the layout of its latents."""
    for width, depth in ((128, 4), (512, 4), (256, 2), (256, 8)):
        yield Variant("size", f"{width} wide, {depth} deep", {"prior.width": width, "prior.depth": depth})
    transformer = {"prior.network": "transformer", "prior.width": 256, "prior.depth": 6}
    yield Variant("network", "causal transformer, 6 deep", transformer)
    for layout in ("w_k", "w_plus"):
        name = layout.replace("_k", " in 3 groups").replace("w_plus", "W+")
        yield Variant("latents", f"{name}, residual MLP", {"prior.latent_layout": layout})
        changes = {"prior.latent_layout": layout, "prior.network": "dit", "prior.width": 128}
        yield Variant("latents", f"{name}, diffusion transformer", changes)


def numbers_of_pairs(available: int) -> Iterator[Variant]:
    """Training pairs, from 1000 on, four times as many each time."""
    count = 1000
    while count < available:
        yield Variant("pairs", f"{count} pairs", num_pairs=count)
        count *= 4


def build_parser() -> CommandParser:
    parser = script_parser("priors/ablate", __doc__)
    add_flags(parser, "runs/ablation", num_images=2)
    add = parser.add_argument
    add("--minutes", type=positive_float, default=0.6, metavar="X", help="Minutes to train each row.")
    add("--only", action="append", metavar="GROUP", help="Rows of this group and the first one; repeat for several.")
    return parser


def choose_variants(base: TrainConfig, available: int, only: Sequence[str] | None) -> list[Variant]:
    """The row of the configuration as it is, and all that change it, or those of some groups.

    Args:
        base: the configuration.
        available: training pairs there are.
        only: the groups; None for all.

    Raises:
        UsageError: for an unknown group.
    """
    first = Variant("as configured", "configs/faces.yaml")
    noise = noises((0.0, 1.0, 2.0, 3.0), (1.0, 2.0, 3.0))
    parts = (objectives(), noise, gaps(), guidances(), sizes(), numbers_of_pairs(available))
    variants = [variant for part in parts for variant in part]
    groups = list(dict.fromkeys(variant.group for variant in variants))
    unknown = [name for name in only or () if name not in groups]
    if unknown:
        raise UsageError(f"--only: expected one of {', '.join(groups)}, got {unknown[0]!r}")
    changing = [variant for variant in variants if variant.changes_anything(base)]
    return [first, *(variant for variant in changing if not only or variant.group in only)]


def train_variant(variant: Variant, base: TrainConfig, pairs: Pairs, work: Path) -> Trained:
    """Train a row, or take the prior of another that differs in drawing only."""
    config = variant.apply(base)
    if config.diffusion.objective == "flow":
        config = dataclasses.replace(config, diffusion=dataclasses.replace(config.diffusion, sampler="euler"))
    recipe = Recipe("row", config, variant.num_pairs)
    return train_recipe(recipe, pairs, work)


def measure_variant(variant: Variant, base: TrainConfig, pairs: Pairs, bench: Bench, work: Path) -> Row:
    trained = train_variant(variant, base, pairs, work)
    config = variant.apply(base)
    scheduler = build_scheduler(config.diffusion.sampler, config.diffusion.objective)
    draw = methods.diffusion(bench, trained.prior, scheduler, variant.steps, variant.guidance)
    how = [Recipe("drawn", config).digest, trained.digest, dataclasses.asdict(variant.guidance), variant.steps]
    measured = bench.measure(f"{file_name(variant.group)}-{file_name(variant.name)}-{short_digest(how)}", draw)
    return Row(
        variant.name,
        variant.group,
        bench.summarize(measured),
        measured.num_prompts,
        trained.minutes,
        trained.num_parameters,
    )


def retrieval_rows(variants: Sequence[Variant], pairs: Pairs, bench: Bench) -> list[Row]:
    """What retrieval gives from as few pairs as some rows train on, and from all."""
    latents, embeddings = pairs.tensors
    fewer = [variant.num_pairs for variant in variants if variant.num_pairs]
    rows = []
    for count in [*fewer, len(latents)] if fewer else []:
        name = f"nearest of {count} pairs"
        draw = methods.retrieval(bench, latents[:count], embeddings[:count])
        measured = bench.measure(f"{file_name(name)}-{pairs.digest}", draw)
        rows.append(Row(name, "retrieval", bench.summarize(measured), measured.num_prompts))
    return rows


def ablate(config: Namespace) -> None:
    config = Namespace(**{**vars(config), **(QUICK if config.quick else {})})
    work, output = check_output_folder(config.work, flag="--work"), check_output_folder(config.output)
    work.mkdir(parents=True, exist_ok=True)
    base = read_config(config, config.minutes)
    pairs = Pairs(config.pairs, config.val_pairs)
    bench = make_bench(config, work)
    variants = choose_variants(base, len(pairs.tensors[0]), config.only)
    rows = [measure_variant(variant, base, pairs, bench, work) for variant in variants]
    rows += retrieval_rows(variants, pairs, bench)
    results = Results(command_line(build_parser(), config), rows, note=CPU_TIME)
    print(markdown(results))
    for file in write_results(results, output, "ablations"):
        print(f"wrote {file}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), ablate, argv)


if __name__ == "__main__":
    sys.exit(main())
