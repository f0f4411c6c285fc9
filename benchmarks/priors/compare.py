"""Compare the prior with its rivals: same generator, same CLIP, same pairs, same prompts, one run.

    python benchmarks/priors/compare.py --pairs runs/faces/pairs --work runs/comparison

Every rival is trained here, for the minutes of CPU time that its flag says; with OMP_NUM_THREADS=1 these are what an
idle machine takes, whatever else it does. What is trained and measured stays in the work folder: run again, after an
interruption or when the settings of some methods have changed, only what is missing is made. The prompts are held-out
captions of faces in English and Japanese; what the images show is classified by the judge.
"""

from __future__ import annotations

import copy
import dataclasses
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from text2latent.benchmarks.priors import methods
from text2latent.benchmarks.priors.claims import (
    COMPARED_STEPS,
    OPTIMISATION,
    OURS,
    PAPER,
    PAPER_SLOW,
    RANDOM,
    REFINE,
    RERANK,
    SIMPLE,
    TIME_OF_REFINING,
    WITHOUT_DIFFUSION,
    claims,
    count_steps,
)
from text2latent.benchmarks.priors.configs import our_config, paper_config
from text2latent.benchmarks.priors.measuring import Bench, Draw, captions_in_turns, make_bench
from text2latent.benchmarks.priors.report import CPU_TIME, Results, Row, file_name, markdown, write_results
from text2latent.benchmarks.priors.rivals import (
    RegressionObjective,
    RegressionPrior,
    VariationalObjective,
    VariationalPrior,
)
from text2latent.benchmarks.priors.training import Pairs, Recipe, Trained, add_flags, train_recipe
from text2latent.benchmarks.report import Figure, command_line, script_parser
from text2latent.common.command import (
    CommandParser,
    check_output_folder,
    non_negative_float,
    non_negative_int,
    positive_float,
    positive_int,
    run_command,
)
from text2latent.common.errors import InputError
from text2latent.configs.schema import DiffusionConfig, TrainConfig
from text2latent.data.datamodule import PairDataModule
from text2latent.inference.optimization.refine import LatentDistribution
from text2latent.inference.pipeline import Settings
from text2latent.inference.settings import DEFAULT_GUIDANCE_SCALE, DEFAULT_STEPS
from text2latent.models.priors.prior import Prior
from text2latent.training.assembly import build_pseudo_text, find_text_mean, set_statistics
from text2latent.training.distillation import Reflow
from text2latent.training.module import Objective
from text2latent.training.pseudo_text import PseudoText
from text2latent.zoo.evaluation import SEED

PAPER_STEPS = (4, 10, 100, 1000)
OUR_STEPS = (1, 2, 4, 8, 32)
OPTIMIZATION_STEPS = (200, 1000)
CANDIDATES = 4
OPTIMISED_ON = ("model", "num_prompts", "seed", "optimized_prompts", "optimization_scale")
"""Flags that rows of optimisation depend on."""
DEVELOPMENT_SEED = SEED + 1_000_000
"""Captions of the training curves; the comparison's prompts are others."""
CURVE_SHARE = 5
"""The curves are drawn of as many captions as the prompts divided by this."""
PSEUDO_TEXTS: dict[str, Callable[[DiffusionConfig], PseudoText]] = {
    "": lambda _: PseudoText(noise_scale=0.0),
    ", our pseudo-text": build_pseudo_text,
}
"""What a rival without diffusion is trained on, by what its name says of it."""
QUICK = {
    "minutes_ours": 0.01, "minutes_distill": 0.01, "minutes_paper": 0.01, "minutes_rival": 0.01, "paper_depth": 2,
    "paper_width": 64, "paper_heads": 1, "num_prompts": 4, "num_images": 2, "optimized_prompts": 2,
    "optimization_scale": 0.01, "val_pairs": 20,
}  # fmt: skip
"""What `--quick` sets: too little to mean anything, enough to see that all works."""


def build_parser() -> CommandParser:
    parser = script_parser("priors/compare", __doc__)
    add_flags(parser, "runs/comparison", num_images=4)
    add = parser.add_argument
    add("--minutes-ours", type=positive_float, default=3.0, metavar="X", help="Minutes to train our prior.")
    add("--minutes-distill", type=positive_float, default=2.0, metavar="X", help="Minutes to distil it.")
    add("--minutes-paper", type=positive_float, default=6.0, metavar="X", help="Minutes to train the paper's recipe.")
    add("--minutes-rival", type=positive_float, default=1.5, metavar="X", help="Minutes to train each other rival.")
    add("--paper-width", type=positive_int, default=256, metavar="N", help="Channels of the paper's transformer.")
    add("--paper-depth", type=positive_int, default=12, metavar="N", help="Blocks of the paper's transformer.")
    add("--paper-heads", type=positive_int, default=6, metavar="N", help="Attention heads of the paper's transformer.")
    add("--guidance-scale", type=non_negative_float, default=DEFAULT_GUIDANCE_SCALE, metavar="X",
        help="Guidance of our prior.")  # fmt: skip
    add("--paper-guidance-scale", type=non_negative_float, default=1.0, metavar="X", help="Guidance of the paper's.")
    add("--slow-prompts", type=positive_int, default=100, metavar="N",
        help="Prompts for our prior with refining and for the paper's recipe in its most steps.")  # fmt: skip
    add("--optimized-prompts", type=non_negative_int, default=4, metavar="N",
        help="Prompts for CLIP-guided optimisation, minutes for an image; one image of each. 0 omits it.")  # fmt: skip
    add("--optimization-scale", type=positive_float, default=1.0, metavar="X",
        help="What the 200 and 1000 steps of optimisation are multiplied with.")  # fmt: skip
    add("--keep-optimization", metavar="FILE",
        help="Results whose rows of optimisation, with claims of time, are taken instead of measured.")  # fmt: skip
    add("--precision", choices=["32-true", "bf16-mixed"], default=None,
        help="Of all trainings; what the configurations say if not given.")  # fmt: skip
    return parser


@dataclass(frozen=True)
class Contest:
    """What all rivals share.

    Attributes:
        config: the script's flags.
        ours: settings of our prior.
        pairs: to train on.
        bench: to measure with.
        work: folder of what is trained.
    """

    config: Namespace
    ours: TrainConfig
    pairs: Pairs
    bench: Bench
    work: Path

    def train(self, name: str, config: TrainConfig, **further: Any) -> Trained:
        return train_recipe(Recipe(name, config, **further), self.pairs, self.work)

    def row(
        self,
        name: str,
        group: str,
        draw: Draw,
        trained: Trained | None = None,
        key: str = "",
        num_prompts: int | None = None,
    ) -> Row:
        """Measure a method; `key` says how it draws, where that isn't all in its name and its weights."""
        weights = trained.digest if trained else self.pairs.digest
        measured = self.bench.measure(f"{file_name(name)}-{weights}{key}", draw, num_prompts)
        count = self.config.optimized_prompts
        subset = self.bench.summarize(measured, count) if count else {}
        row = Row(name, group, self.bench.summarize(measured), measured.num_prompts, subset=subset)
        if trained is None:
            return row
        return dataclasses.replace(row, minutes=trained.minutes, parameters=trained.num_parameters)


def simple_rows(contest: Contest) -> list[Row]:
    """Random latents and retrieval, which need no training."""
    bench = contest.bench
    return [
        contest.row(RANDOM, SIMPLE, methods.random_latents(bench)),
        contest.row("nearest training pair", SIMPLE, methods.retrieval(bench, *contest.pairs.tensors)),
    ]


def regression_rows(contest: Contest) -> list[Row]:
    """The regressor and the variational autoencoder, on conditions of images as they are and on our pseudo-text."""
    config = dataclasses.replace(contest.ours, max_minutes=contest.config.minutes_rival)
    rows = []
    for kind, objective, name in (
        (RegressionPrior, RegressionObjective, "MSE regressor"),
        (VariationalPrior, VariationalObjective, "conditional VAE"),
    ):
        for suffix, make_pseudo_text in PSEUDO_TEXTS.items():
            label = name + suffix
            recipe = Recipe(
                file_name(label),
                config,
                new_prior=partial(new_rival, kind),
                new_objective=partial(_call, objective, make_pseudo_text),
            )
            trained = train_recipe(recipe, contest.pairs, contest.work)
            draw = methods.regression(cast(RegressionPrior, trained.prior))
            rows.append(contest.row(label, WITHOUT_DIFFUSION, draw, trained))
    return rows


def new_rival(kind: type[RegressionPrior], config: TrainConfig, data: PairDataModule) -> RegressionPrior:
    """An untrained regressor or autoencoder of our prior's width and depth, which sees texts as our prior does."""
    manifest = data.manifest
    rival = kind(manifest.latent_shape, manifest.embedding_dim, width=config.prior.width, depth=config.prior.depth)
    set_statistics(rival, data.statistics, find_text_mean(config, data))
    return rival


def _call(
    make: Callable[[PseudoText], Objective],
    make_pseudo_text: Callable[[DiffusionConfig], PseudoText],
    config: TrainConfig,
    data: PairDataModule,
    prior: Prior,
) -> Objective:
    return make(make_pseudo_text(config.diffusion))


def optimization_rows(contest: Contest) -> list[Row]:
    """CLIP-guided optimisation on the first prompts, one image of each."""
    config, statistics = contest.config, contest.pairs.module.statistics
    if not config.optimized_prompts:
        return []
    mean, std = (torch.from_numpy(part).float() for part in (statistics.latent_mean, statistics.latent_std))
    steps = [max(1, round(config.optimization_scale * count)) for count in OPTIMIZATION_STEPS]
    bench = Bench(config.model, contest.bench.captions, [config.seed], contest.bench.folder)
    trials = methods.OptimizationTrials(bench, LatentDistribution(mean, std), steps, CANDIDATES)
    rows = []
    for count in steps:
        for best_of in (1, CANDIDATES):
            name = f"CLIP gradient, {count} steps, best of {best_of}"
            measured = bench.measure(file_name(name), trials.method(count, best_of), config.optimized_prompts)
            figures = bench.summarize(measured)
            rows.append(Row(name, OPTIMISATION, figures, measured.num_prompts, subset=figures))
    return rows


def paper_rows(contest: Contest, trained: Trained, recipe: Recipe) -> list[Row]:
    """clip2latent's recipe in several numbers of steps."""
    scale = contest.config.paper_guidance_scale
    rows = []
    for steps in PAPER_STEPS:
        draw = methods.diffusion(contest.bench, trained.prior, recipe.scheduler, steps, scale)
        key = f"-{recipe.config.diffusion.sampler}-{scale:g}"
        count = contest.config.slow_prompts if steps == PAPER_STEPS[-1] else None
        rows.append(contest.row(f"paper's recipe, {steps} steps", PAPER, draw, trained, key, count))
    return rows


def our_rows(contest: Contest, name: str, trained: Trained, recipe: Recipe) -> list[Row]:
    scale = contest.config.guidance_scale
    key = f"-{recipe.config.diffusion.sampler}-{scale:g}"
    rows = []
    for steps in OUR_STEPS:
        draw = methods.diffusion(contest.bench, trained.prior, recipe.scheduler, steps, scale)
        rows.append(contest.row(f"{name}, {count_steps(steps)}", name, draw, trained, key))
    return rows


def controlled_rows(contest: Contest, name: str, trained: Trained, recipe: Recipe) -> list[Row]:
    """Our prior at the default steps with reranking and with refining."""
    scale = contest.config.guidance_scale
    rows = []
    for what, settings in (
        (f"best of {RERANK}", Settings(DEFAULT_STEPS, scale, rerank=RERANK, return_scores=False)),
        (f"refine {REFINE}", Settings(DEFAULT_STEPS, scale, refine=REFINE, return_scores=False)),
    ):
        draw = methods.controlled(contest.bench, trained.prior, recipe.scheduler, settings)
        label = f"{name}, {count_steps(DEFAULT_STEPS)}, {what}"
        count = contest.config.slow_prompts if settings.refine else None
        key = f"-{recipe.config.diffusion.sampler}-{scale:g}"
        rows.append(contest.row(label, name, draw, trained, key, count))
    return rows


def training_curve(
    contest: Contest, recipe: Recipe, trained: Trained, steps: int, scale: float
) -> list[dict[str, float]]:
    """Share of named attributes that are there by seconds trained, on captions that the comparison doesn't use."""
    config = contest.config
    captions = captions_in_turns(-(-config.num_prompts // CURVE_SHARE), DEVELOPMENT_SEED)
    captions = captions[: -(-len(contest.bench.captions) // CURVE_SHARE)]
    bench = Bench(config.model, captions, [DEVELOPMENT_SEED], contest.bench.folder)
    curve = []
    for index, (seconds, _) in enumerate(trained.snapshots):
        draw = methods.diffusion(bench, trained.at(index), recipe.scheduler, steps, scale)
        key = f"{trained.digest}-{recipe.config.diffusion.sampler}-{steps}-{scale:g}-{index}"
        measured = bench.measure(f"curve-{key}", draw)
        curve.append({"seconds": seconds, **dataclasses.asdict(bench.summarize(measured)["named"])})
    return curve


def seconds_alone(contest: Contest, trained: Trained, recipe: Recipe, steps: int, scale: float) -> float:
    """How long an image takes that is drawn alone."""
    return contest.bench.single_image_seconds(
        methods.diffusion(contest.bench, trained.prior, recipe.scheduler, steps, scale)
    )


def compare(config: Namespace) -> None:
    config = Namespace(**{**vars(config), **(QUICK if config.quick else {})})
    work, output = check_output_folder(config.work, flag="--work"), check_output_folder(config.output)
    work.mkdir(parents=True, exist_ok=True)
    ours, kept = our_config(config), kept_optimization(config)
    bench = make_bench(config, work)
    contest = Contest(config, ours, Pairs(config.pairs, config.val_pairs), bench, work)
    our_recipe, paper_recipe = Recipe("ours", ours), Recipe("paper", paper_config(config))
    trained, paper = (train_recipe(recipe, contest.pairs, work) for recipe in (our_recipe, paper_recipe))
    short = distilled_recipe(contest, trained, our_recipe)
    distilled = train_recipe(short, contest.pairs, work)
    rows = [
        *simple_rows(contest),
        *regression_rows(contest),
        *(kept.rows if kept else optimization_rows(contest)),
        *paper_rows(contest, paper, paper_recipe),
        *our_rows(contest, "ours", trained, our_recipe),
        *controlled_rows(contest, "ours", trained, our_recipe),
        *our_rows(contest, "distilled", distilled, short),
    ]
    curves = {
        "ours": training_curve(contest, our_recipe, trained, DEFAULT_STEPS, config.guidance_scale),
        "paper's recipe": training_curve(contest, paper_recipe, paper, COMPARED_STEPS, config.paper_guidance_scale),
    }
    alone = {
        OURS: seconds_alone(contest, trained, our_recipe, DEFAULT_STEPS, config.guidance_scale),
        PAPER_SLOW: seconds_alone(contest, paper, paper_recipe, COMPARED_STEPS, config.paper_guidance_scale),
    }
    found = with_kept_times(claims(rows, curves, alone), kept)
    results = Results(command_line(build_parser(), config), rows, curves, found, note=told_of(kept))
    print(markdown(results))
    for file in write_results(results, output, "priors"):
        print(f"wrote {file}", file=sys.stderr)


def kept_optimization(config: Namespace) -> Results | None:
    """The rows of optimisation of former results, if the flags name a file of them, and what they claim of time.

    Raises:
        InputError: if there are none in the file, or they are of other prompts or seeds.
    """
    if config.keep_optimization is None:
        return None
    former = Results.load(Path(config.keep_optimization))
    rows = [row for row in former.rows if row.group == OPTIMISATION]
    if not rows:
        raise InputError(f"--keep-optimization: {config.keep_optimization}: expected rows of optimisation, got none")
    there = vars(build_parser().parse(shlex.split(former.command)[2:]))
    there |= QUICK if there["quick"] else {}
    for name in OPTIMISED_ON:
        if there[name] != getattr(config, name):
            found = f"rows of --{name.replace('_', '-')} {there[name]}, asked for {getattr(config, name)}"
            raise InputError(f"--keep-optimization: {config.keep_optimization}: {found}")
    times = [claim for claim in former.claims if claim.name.startswith(TIME_OF_REFINING)]
    return dataclasses.replace(former, rows=rows, claims=times)


def with_kept_times(found: Sequence[Figure], kept: Results | None) -> list[Figure]:
    """Claims in which those of time that compare this run with another are replaced by the other run's own."""
    former = {claim.name: claim for claim in kept.claims} if kept else {}
    return [former.get(claim.name, claim) for claim in found]


def told_of(kept: Results | None) -> str:
    """What a reader must know of rows that were measured elsewhere."""
    if kept is None:
        return CPU_TIME
    clock = "CPU time" if CPU_TIME in kept.note else "wall-clock time"
    where = (
        f"The rows of optimisation, and claims of time that name it, are of {kept.date}, on {kept.machine}, in {clock}"
    )
    return f"{CPU_TIME} {where}: compare times within a run only."


def distilled_recipe(contest: Contest, trained: Trained, recipe: Recipe) -> Recipe:
    """Our prior distilled into few steps, which its own minutes come on top of."""
    how = contest.ours.diffusion
    pseudo_text = build_pseudo_text(how)
    optimizer = dataclasses.replace(contest.ours.optimizer, lr=contest.ours.optimizer.lr / 4)
    config = dataclasses.replace(contest.ours, max_minutes=contest.config.minutes_distill, optimizer=optimizer)
    return Recipe(
        "distilled",
        config,
        new_prior=lambda *_: copy.deepcopy(trained.prior).requires_grad_(True).train(),
        new_objective=lambda *_: Reflow(trained.prior, pseudo_text, how.condition_dropout),
        start=recipe.digest,
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), compare, argv)


if __name__ == "__main__":
    sys.exit(main())
