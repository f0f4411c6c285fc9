"""Print how guidance scale and number of steps change the prior's pictures, to choose the defaults by."""

from __future__ import annotations

import itertools
import json
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from text2latent.benchmarks.report import add_model_flag, script_parser
from text2latent.common.command import (
    CommandParser,
    check_output_file,
    non_negative_float,
    positive_int,
    run_command,
    seed,
)
from text2latent.common.files import replacing
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.zoo import evaluation
from text2latent.zoo.judge import Judge, load_judge
from text2latent.zoo.language.captions import LANGUAGES
from text2latent.zoo.world import load_world

FACES = load_world("faces")

COLUMNS = ("guidance", "steps", "language", "named", "complete", "sharpness", "variety", "ms/image")


def build_parser() -> CommandParser:
    parser = script_parser("priors/settings", __doc__)
    add_model_flag(parser)
    add = parser.add_argument
    add("--guidance-scales", type=non_negative_float, nargs="+", default=[1.0, 1.5, 2.0, 3.0], metavar="X",
        help="Guidance scales to try.")  # fmt: skip
    add("--steps", type=positive_int, nargs="+", default=[4, 8, 16], metavar="N", help="Numbers of steps to try.")
    add("--num-captions", type=positive_int, default=50, metavar="N", help="Held-out captions per language.")
    add("--num-images", type=positive_int, default=2, metavar="N", help="Images per caption.")
    add("--seed", type=seed, default=evaluation.SEED, metavar="N", help="Seed of captions and images.")
    add("--json", default=None, metavar="FILE", help="JSON file to write the table to; replaced if it is there.")
    return parser


def measure(
    pipeline: Text2LatentPipeline,
    judge: Judge,
    config: Namespace,
    guidance: float,
    steps: int,
    language: str,
    own: float,
) -> dict[str, float | int | str]:
    """A row of the table.

    Args:
        own: the judge's confidence on the generator's own images, which sharpness is relative to.
    """
    captions = evaluation.held_out_captions(FACES, config.num_captions, language, config.seed)
    settings = {"guidance_scale": guidance, "num_inference_steps": steps}
    started = time.perf_counter()
    fit = evaluation.prompt_faithfulness(FACES, pipeline, judge, captions, config.num_images, config.seed, **settings)
    milliseconds = 1000 * (time.perf_counter() - started) / (config.num_captions * config.num_images)
    values = (guidance, steps, language, fit.named, fit.complete, fit.confidence / own, fit.diversity, milliseconds)
    return dict(zip(COLUMNS, values, strict=True))


def run(config: Namespace) -> None:
    """Try all settings and print a row for each."""
    file = None if config.json is None else check_output_file(config.json, overwrite=True, flag="--json")
    pipeline, judge = Text2LatentPipeline.from_pretrained(config.model), load_judge(FACES)
    own = evaluation.confidence(judge, evaluation.own_images(FACES, pipeline.generator, 200, config.seed)[0])
    print("  ".join(f"{name:>9}" for name in COLUMNS))
    rows = []
    for guidance, steps, language in itertools.product(config.guidance_scales, config.steps, LANGUAGES):
        rows.append(measure(pipeline, judge, config, guidance, steps, language, own))
        cells = (f"{value:.3f}" if isinstance(value, float) else str(value) for value in rows[-1].values())
        print("  ".join(f"{cell:>9}" for cell in cells), flush=True)
    if file is not None:
        _write(file, rows)


def _write(file: Path, rows: list[dict[str, float | int | str]]) -> None:
    with replacing(file) as partial:
        partial.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
