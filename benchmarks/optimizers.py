"""Compare six optimisers with each other and with the amortised prior: CLIP similarity, the judge's view, and time.

The study is `text2latent optimize --compare` with the learning rates of the Big Sleep article; what the images show is
told by the world's judge, which has never seen CLIP. An interrupted study goes on in the same folder.
"""

from __future__ import annotations

import csv
import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from text2latent import optimize
from text2latent.benchmarks.report import (
    Figure,
    Measure,
    add_model_flag,
    add_report_flags,
    measure_parts,
    script_parser,
)
from text2latent.configs.command import CommandParser, positive_int, run_command
from text2latent.configs.errors import InputError
from text2latent.evaluation.judging import Judge, find_judge, find_wanted
from text2latent.evaluation.study import RESULTS
from text2latent.models.images import from_pil, read_picture
from text2latent.models.optimization.job import PRIOR
from text2latent.models.optimization.optimizers import STUDY_RATES
from text2latent.models.optimization.run import CURVE, IMAGE
from text2latent.models.outputs import slugify
from text2latent.models.pipeline import Text2LatentPipeline
from text2latent.models.prompts import PromptLine, read_prompt_file

PROMPTS = Path(__file__).resolve().parent / "data" / "optimizers.jsonl"


def study_figures(config: Namespace) -> list[Figure]:
    """Mean CLIP similarity, share of wanted attributes, and seconds, of each method; and how far ahead the prior is."""
    lines, folder = read_prompt_file(config.prompts), Path(config.output)
    _run_study(config, folder)
    rows = {row["method"]: row for row in json.loads((folder / RESULTS).read_text(encoding="utf-8"))["rows"]}
    figures = []
    for method, row in rows.items():
        figures.append(Figure(f"{method}: CLIP similarity x 100", row["mean"]))
        figures.append(Figure(f"{method}: one image", row["seconds"], "s"))
    judge = find_judge(config.world)
    if judge is not None:
        shown = _shown_by_prior(config, lines, judge)
        figures.append(Figure(f"{PRIOR}: wanted attributes that are there", shown))
        for method in STUDY_RATES:
            shown = _shown_by_optimizer(folder, method, lines, config, judge)
            figures.append(Figure(f"{method}: wanted attributes that are there", shown))
    optimised = [method for method in rows if method != PRIOR]
    figures.append(Figure("rank of adam among the optimizers", 1.0 + optimised.index("adam")))
    return figures + _advantage(folder, rows, optimised[0], lines, config)


def _run_study(config: Namespace, folder: Path) -> None:
    arguments = ["--compare", ",".join(STUDY_RATES), "--prompts", config.prompts, "--output", str(folder)]
    numbers = ["--num-seeds", config.num_seeds, "--iterations", config.iterations, "--cutouts.count", config.cutouts]
    code = optimize.main([*arguments, *map(str, numbers), "--model", config.model, "--device", config.device])
    if code:
        raise InputError(f"text2latent optimize --compare ended with exit code {code}")


def _shown_by_prior(config: Namespace, lines: Sequence[PromptLine], judge: Judge) -> float:
    pipeline = Text2LatentPipeline.from_pretrained(config.model)
    seeds = range(config.num_seeds)
    images = pipeline([line.text for line in lines], len(seeds), seeds=list(seeds), output_type="pt").images
    assert isinstance(images, torch.Tensor)
    return _share([line for line in lines for _ in seeds], images, judge)


def _shown_by_optimizer(
    folder: Path, method: str, lines: Sequence[PromptLine], config: Namespace, judge: Judge
) -> float:
    files = [run / IMAGE for run in _runs(folder, method, lines, config)]
    images = torch.stack([from_pil(read_picture(file)) for file in files])
    return _share([line for line in lines for _ in range(config.num_seeds)], images, judge)


def _runs(folder: Path, method: str, lines: Sequence[PromptLine], config: Namespace) -> list[Path]:
    pairs = [(line, seed) for line in lines for seed in range(config.num_seeds)]
    return [folder / "runs" / method / f"{slugify(line.text)}-{seed}" for line, seed in pairs]


def _share(lines: Sequence[PromptLine], images: torch.Tensor, judge: Judge) -> float:
    """Share of wanted attributes that the judge sees, all counted alike."""
    seen = judge.see(images)
    found = [there for line, one in zip(lines, seen, strict=True) for there in find_wanted(line.want, one).values()]
    return sum(found) / len(found)


def _advantage(
    folder: Path, rows: dict[str, Any], best: str, lines: Sequence[PromptLine], config: Namespace
) -> list[Figure]:
    """How much longer than the prior the best optimiser takes to the prior's mean CLIP score, or in all."""
    curves = [_read_curve(run / CURVE) for run in _runs(folder, best, lines, config)]
    steps = [[sum(values) / len(values) for values in zip(*step, strict=True)] for step in zip(*curves, strict=True)]
    wanted = rows[PRIOR]["mean"] / 100
    reached = next((number for number, (_, score) in enumerate(steps) if score >= wanted), None)
    seconds = steps[-1 if reached is None else reached][0]
    name = f"{best}: time to the prior's CLIP score" if reached is not None else f"{best}: time without reaching it"
    figures = [Figure(f"{name}, in the prior's", seconds / rows[PRIOR]["seconds"], "times")]
    return figures if reached is None else [*figures, Figure(f"{best}: iterations to it", float(reached), "iterations")]


def _read_curve(file: Path) -> list[tuple[float, float]]:
    """Seconds and CLIP score of each iteration."""
    with open(file, encoding="utf-8") as text:
        return [(float(row["seconds"]), float(row["clip_score"])) for row in csv.DictReader(text)]


PARTS: dict[str, Measure] = {"optimizers": study_figures}


def build_parser() -> CommandParser:
    """The flags of this script."""
    parser = script_parser("optimizers", __doc__)
    add_model_flag(parser)
    add = parser.add_argument
    add("--world", default="faces", metavar="NAME", help="Zoo world whose judge to ask; any other name asks none.")
    add("--prompts", default=str(PROMPTS), metavar="FILE", help="Prompts and what they want, .jsonl.")
    add("--output", default="runs/optimizers", metavar="DIR", help="Folder of the study.")
    add("--num-seeds", type=positive_int, default=2, metavar="N", help="Images per prompt and optimizer.")
    add("--iterations", type=positive_int, default=200, metavar="N", help="Steps of each.")
    add("--cutouts", type=positive_int, default=8, metavar="N", help="Cutouts in each step.")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")
    add_report_flags(parser, PARTS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    parser = build_parser()
    return run_command(parser, partial(measure_parts, PARTS, parser), argv)


if __name__ == "__main__":
    sys.exit(main())
