"""Compare six optimisers, and the ways to draw a text, with the amortised prior: CLIP similarity, judge's view, time.

The study is `text2latent optimize --compare` with the learning rates of the Big Sleep article; what the images show is
classified by the world's judge, which has never seen CLIP. An interrupted study goes on in the same folder.
"""

from __future__ import annotations

import csv
import json
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from text2latent.apps.evaluation.judging import find_judge, find_wanted
from text2latent.apps.optimize import command as optimize
from text2latent.apps.optimize.job import PERCENT, PRIOR
from text2latent.apps.optimize.run import CURVE, IMAGE
from text2latent.apps.optimize.study import RESULTS
from text2latent.benchmarks.report import (
    Figure,
    Measure,
    add_device_flag,
    add_model_flag,
    add_report_flags,
    run_parts,
    script_parser,
)
from text2latent.common.command import INTERRUPTED, CommandParser, positive_int, select_device
from text2latent.common.errors import InputError
from text2latent.common.progress import progress
from text2latent.inference.images import from_pil, read_picture
from text2latent.inference.optimization.optimizers import STUDY_RATES
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.prompts import PromptLine, read_prompt_file

PROMPTS = Path(__file__).resolve().parent / "data" / "optimizers.jsonl"


SIMILARITY, SECONDS, SHOWN = "CLIP similarity x 100", "one image", "wanted attributes that are there"
"""What is measured of each method, as its figures are named."""


@dataclass(frozen=True)
class Way:
    """Mean CLIP similarity x 100 and seconds of an image, and the share of wanted attributes; None without a judge."""

    similarity: float
    seconds: float
    shown: float | None


def study_figures(config: Namespace) -> list[Figure]:
    """Mean CLIP similarity, share of wanted attributes, and seconds, of each method; and how far ahead the prior is."""
    lines, folder = read_prompt_file(config.prompts), Path(config.output)
    run_study(config, folder, STUDY_RATES, config.iterations)
    results = read_results(folder)
    rows = {row["method"]: row for row in results["rows"]}
    shown = {method: shown_by_optimizer(folder, results, method, lines, config.world) for method in STUDY_RATES}
    if PRIOR in rows:
        pipeline = Text2LatentPipeline.from_pretrained(config.model, select_device(config.device))
        shown[PRIOR] = draw_with_prior(pipeline, lines, config).shown
    figures = [
        figure
        for method, row in rows.items()
        for figure in figures_of(method, Way(row["mean"], row["seconds"], shown[method]))
    ]
    optimised = [method for method in rows if method != PRIOR]
    figures.append(Figure("rank of adam among the optimizers", 1.0 + optimised.index("adam")))
    return figures + (_advantage(folder, results, rows, optimised[0]) if PRIOR in rows else [])


def way_figures(config: Namespace) -> list[Figure]:
    """The same of the ways to draw: by the prior, refined, optimised from its answer and from a random latent."""
    lines, folder = read_prompt_file(config.prompts), Path(config.output)
    pipeline = Text2LatentPipeline.from_pretrained(config.model, select_device(config.device))
    ways = {
        "infer": draw_with_prior(pipeline, lines, config),
        f"infer --refine {config.refine}": draw_with_prior(pipeline, lines, config, config.refine),
    }
    for init, name, iterations in (
        ("prior", f"optimize --init prior --iterations {config.prior_iterations}", config.prior_iterations),
        ("random", f"optimize --iterations {config.iterations}", config.iterations),
    ):
        place = folder / f"from-{init}"
        run_study(config, place, ["adam"], iterations, "--init", init)
        results = read_results(place)
        row = next(row for row in results["rows"] if row["method"] == "adam")
        shown = shown_by_optimizer(place, results, "adam", lines, config.world)
        ways[name] = Way(row["mean"], row["seconds"], shown)
    figures = [figure for name, way in ways.items() for figure in figures_of(name, way)]
    fastest, slowest = ways["infer"].seconds, ways[f"optimize --iterations {config.iterations}"].seconds
    return [*figures, Figure("optimize over infer, time for an image", slowest / fastest, "times")]


def figures_of(name: str, way: Way) -> list[Figure]:
    """The figures of a method or way; that of the judge only where there is one."""
    figures = [
        Figure(f"{name}: {SIMILARITY}", way.similarity, detail=True),
        Figure(f"{name}: {SECONDS}", way.seconds, "s", detail=True),
    ]
    return figures if way.shown is None else [*figures, Figure(f"{name}: {SHOWN}", way.shown, detail=True)]


def run_study(config: Namespace, folder: Path, optimizers: Iterable[str], iterations: int, *extra: str) -> None:
    """Run `text2latent optimize --compare`, or what is left of it.

    Raises:
        InputError: when it fails.
        KeyboardInterrupt: after Ctrl-C.
    """
    arguments = ["--compare", ",".join(optimizers), "--prompts", config.prompts, "--output", str(folder), *extra]
    numbers = ["--num-seeds", config.num_seeds, "--iterations", iterations, "--cutouts.count", config.cutouts]
    code = optimize.main([*arguments, *map(str, numbers), "--model", config.model, "--device", config.device])
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise InputError(f"text2latent optimize --compare ended with exit code {code}")


def read_results(folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    return results


def draw_with_prior(
    pipeline: Text2LatentPipeline, lines: Sequence[PromptLine], config: Namespace, refine: int = 0
) -> Way:
    """Draw each prompt and seed for itself, as a user does who asks for one image."""
    pipeline(lines[0].text, seeds=[0], refine=min(refine, 1))  # the first draw of a process takes longer than others
    pairs = [(line, seed) for line in lines for seed in range(config.num_seeds)]
    images, scores, started = [], [], time.perf_counter()
    for line, seed in progress(pairs, len(pairs), "images", description=f"refine {refine}" if refine else "infer"):
        drawn = pipeline(line.text, seeds=[seed], refine=refine, output_type="pt")
        assert isinstance(drawn.images, torch.Tensor)
        assert drawn.clip_scores is not None
        images.append(drawn.images[0])
        scores.append(float(drawn.clip_scores[0]))
    seconds = (time.perf_counter() - started) / len(pairs)
    shown = _share([line for line, _ in pairs], torch.stack(images), config.world)
    return Way(PERCENT * sum(scores) / len(scores), seconds, shown)


def shown_by_optimizer(
    folder: Path, results: dict[str, Any], method: str, lines: Sequence[PromptLine], world: str
) -> float | None:
    """Share of wanted attributes that the judge sees in a method's last images; None without a judge."""
    by_text = {line.text: line for line in lines}
    drawn = [image for image in results["images"] if image["method"] == method]
    images = [from_pil(read_picture(folder / image["folder"] / IMAGE)) for image in drawn]
    return _share([by_text[image["prompt"]] for image in drawn], torch.stack(images), world)


def _share(lines: Sequence[PromptLine], images: torch.Tensor, world: str) -> float | None:
    """Share of wanted attributes that the world's judge sees, all counted alike."""
    judge = find_judge(world)
    if judge is None:
        return None
    seen = judge.see(images.cpu())
    found = [there for line, one in zip(lines, seen, strict=True) for there in find_wanted(line.want, one).values()]
    return sum(found) / len(found)


def _advantage(folder: Path, results: dict[str, Any], rows: dict[str, Any], best: str) -> list[Figure]:
    """How much longer than the prior the best optimiser takes to the prior's mean CLIP score, or in all."""
    runs = [folder / image["folder"] for image in results["images"] if image["method"] == best]
    curves = [_read_curve(run / CURVE) for run in runs]
    steps = [[sum(values) / len(values) for values in zip(*step, strict=True)] for step in zip(*curves, strict=False)]
    wanted = rows[PRIOR]["mean"] / PERCENT
    reached = next((number for number, (_, score) in enumerate(steps) if score >= wanted), None)
    seconds = steps[-1 if reached is None else reached][0]
    name = f"{best}: time to the prior's CLIP score" if reached is not None else f"{best}: time without reaching it"
    figures = [Figure(f"{name}, in the prior's", seconds / rows[PRIOR]["seconds"], "times")]
    return figures if reached is None else [*figures, Figure(f"{best}: iterations to it", float(reached), "iterations")]


def _read_curve(file: Path) -> list[tuple[float, float]]:
    """Seconds and CLIP score of each iteration."""
    with open(file, encoding="utf-8") as text:
        return [(float(row["seconds"]), float(row["clip_score"])) for row in csv.DictReader(text)]


PARTS: dict[str, Measure] = {"optimizers": study_figures, "ways": way_figures}


def build_parser() -> CommandParser:
    parser = script_parser("optimizers", __doc__)
    add_model_flag(parser)
    add = parser.add_argument
    add("--world", default="faces", metavar="NAME", help="Zoo world whose judge to ask; any other name asks none.")
    add("--prompts", default=str(PROMPTS), metavar="FILE", help="Prompts and what they want, .jsonl.")
    add("--output", default="runs/optimizers", metavar="DIR", help="Folder of the study.")
    add("--num-seeds", type=positive_int, default=1, metavar="N", help="Images per prompt and optimizer.")
    add("--iterations", type=positive_int, default=100, metavar="N", help="Steps from a random latent.")
    add("--prior-iterations", type=positive_int, default=50, metavar="N", help="Steps from the prior's answer.")
    add("--refine", type=positive_int, default=20, metavar="K", help="Steps of infer --refine.")
    add("--cutouts", type=positive_int, default=4, metavar="N", help="Cutouts in each step.")
    add_device_flag(parser)
    add_report_flags(parser, PARTS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run_parts(PARTS, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
