"""Print what each format of an exported model costs on a CPU: time to load, size on disk, time per image, and how much
weights in eight bits change the pictures. Run it on a machine that does nothing else.

    python benchmarks/exports.py --json benchmarks/exports.json
    python benchmarks/tables.py --only costs

The latter writes the tables into docs/export.md.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from text2latent.apps.exports import command as export
from text2latent.apps.exports.pt2_folder import compiler
from text2latent.benchmarks.export_runtimes import RUNTIMES, Timing, measure
from text2latent.benchmarks.report import (
    Figure,
    Measure,
    add_model_flag,
    add_report_flags,
    measure_parts,
    script_parser,
)
from text2latent.common.command import CommandParser, positive_int, run_command
from text2latent.common.errors import InputError
from text2latent.zoo.world import load_world

FACES = load_world("faces")

MIB = 2**20
TEXT = "blonde woman with glasses"
QUICK_REPEATS, QUICK_CAPTIONS = 2, 4
"""What `--quick` takes: too little to mean anything, enough to see that all works."""
COMPILED = "AOTInductor"
LIMITS = {"text2latent": 0.0, "diffusers": 1e-5, "onnxruntime, int8": 8 / 255}
"""Largest mean difference of a picture from our own, as a share of all levels; 1 / 255 for the others.

diffusers computes the same, but for the rounding of floats, which can move single values by one level."""


@cache
def export_once(model: str, compile_choice: str) -> tempfile.TemporaryDirectory[str]:
    """A folder with the model in all formats, for all parts."""
    folder = tempfile.TemporaryDirectory()
    flags = [word for name in export.FORMATS for word in ("--format", name)]
    if export.main([model, f"{folder.name}/model", *flags, "--int8", "--compile", compile_choice]) != 0:
        raise InputError(f"--model {model}: cannot be exported")
    return folder


def exported(config: Namespace) -> Path:
    if config.folder:
        return Path(config.folder)
    return Path(export_once(config.model, "no" if config.quick else "auto").name) / "model"


@cache
def timed(name: str, folder: Path, repeats: int) -> Timing:
    """What a tool takes, measured once for all parts."""
    return measure(name, folder, TEXT, repeats)


def timings(config: Namespace, names: Sequence[str]) -> dict[str, Timing]:
    """What tools take, by name, without those that the folder has no files for."""
    folder, repeats = exported(config), QUICK_REPEATS if config.quick else config.repeats
    return {name: timed(name, folder, repeats) for name in names if RUNTIMES[name].is_in(folder)}


def format_figures(config: Namespace) -> list[Figure]:
    """Load, size and time per image of each tool, and how far its picture is from our own."""
    found, figures = timings(config, list(RUNTIMES)), []
    own = found["text2latent"].picture.astype(float)
    for name, timing in found.items():
        difference = float(np.abs(timing.picture - own).mean()) / 255
        figures += [
            Figure(f"{name}, load", timing.load_seconds, "s"),
            Figure(f"{name}, size", RUNTIMES[name].size(exported(config)) / MIB, "MiB"),
            Figure(f"{name}, one image", 1000 * timing.image_seconds, "ms"),
            Figure(f"{name}, difference from text2latent", difference, target=LIMITS.get(name, 1 / 255), at_most=True),
        ]
    return figures


def int8_figures(config: Namespace) -> list[Figure]:
    """What the judge sees of held-out captions in pictures of full weights and of weights in eight bits."""
    import torch

    from text2latent.apps.exports.runtime.infer_onnx import OnnxPipeline
    from text2latent.zoo.evaluation import held_out_captions, score_pictures
    from text2latent.zoo.judge import load_judge

    count, judge = QUICK_CAPTIONS if config.quick else config.num_captions, load_judge(FACES)
    captions = held_out_captions(FACES, count, "en")
    texts, seeds = [caption.text for caption in captions], list(range(count))
    figures = []
    for name, int8 in (("float32", False), ("int8", True)):
        pipeline = OnnxPipeline(exported(config), int8)
        levels = np.concatenate([pipeline([text], [seed]) for text, seed in zip(texts, seeds, strict=True)])
        images = torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 127.5 - 1
        fit = score_pictures(FACES, judge, images, captions)
        figures += [
            Figure(f"{name}, named attributes that are there", fit.named),
            Figure(f"{name}, pictures with all that is named", fit.complete),
        ]
    return figures


def compile_figures(config: Namespace) -> list[Figure]:
    """How much faster torch.export's program is where AOTInductor has compiled it."""
    found = timings(config, ("torch.export", COMPILED))
    if COMPILED not in found:
        raise InputError("compile: expected a compiled package, which an export with a C++ compiler, not quick, has")
    speed_up = found["torch.export"].image_seconds / found[COMPILED].image_seconds
    return [Figure(f"{COMPILED}, speed-up over torch.export", speed_up, "x")]


PARTS: dict[str, Measure] = {"formats": format_figures, "int8": int8_figures, "compile": compile_figures}


def build_parser() -> CommandParser:
    parser = script_parser("exports", __doc__)
    add_model_flag(parser)
    add = parser.add_argument
    add("--folder", default=None, metavar="PATH", help="A folder exported in all formats, to not export again.")
    add("--repeats", type=positive_int, default=20, metavar="N", help="Warm images, of which the median counts.")
    add("--num-captions", type=positive_int, default=400, metavar="N", help="Captions for int8, one picture each.")
    add("--quick", action="store_true", help="Few of both and nothing compiled, to see that all works.")
    add_report_flags(parser, PARTS, default="all; compile where there is a C++ compiler")
    return parser


def default_parts(config: Namespace) -> list[str]:
    if config.folder:
        compiled = RUNTIMES[COMPILED].is_in(Path(config.folder))
    else:
        compiled = compiler() is not None and not config.quick
    return [part for part in PARTS if part != "compile" or compiled]


def run(config: Namespace) -> None:
    measure_parts(PARTS, build_parser(), config, default=default_parts(config))


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
