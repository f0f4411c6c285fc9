"""Print what each format of an exported model costs on a CPU: time to load, size on disk, time per image, and how much
weights in eight bits change the pictures. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from text2latent import export
from text2latent.benchmarks.export_runtimes import RUNTIMES, measure
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
from text2latent.exports.pt2_folder import compiler

MIB = 2**20
TEXT = "blonde woman with glasses"
BY_DEFAULT = ("formats", "int8")
LIMITS = {"text2latent": 0.0, "diffusers": 0.0, "onnxruntime, int8": 8 / 255}
"""Largest mean difference of a picture from our own, as a share of all levels; 1 / 255 for the others."""


@cache
def export_once(model: str) -> tempfile.TemporaryDirectory[str]:
    """A folder with the model in all formats, for all parts."""
    folder = tempfile.TemporaryDirectory()
    formats = [word for name in export.FORMATS for word in ("--format", name)]
    if export.main([model, f"{folder.name}/model", *formats, "--int8"]) != 0:
        raise InputError(f"--model {model}: cannot be exported")
    return folder


def exported(config: Namespace) -> Path:
    """The exported folder: the given one, or one made now."""
    return Path(config.folder) if config.folder else Path(export_once(config.model).name) / "model"


def format_figures(config: Namespace) -> list[Figure]:
    """Load, size and time per image of each tool, and how far its picture is from our own."""
    folder = exported(config)
    names = [name for name in RUNTIMES if name != "AOTInductor" or compiler() is not None]
    timings = {name: measure(name, folder, TEXT, config.repeats) for name in names}
    own, figures = timings[names[0]], []
    for name, timing in timings.items():
        difference = float(np.abs(timing.picture.astype(float) - own.picture).mean()) / 255
        figures += [
            Figure(f"{name}, load", timing.load_seconds, "s"),
            Figure(f"{name}, size", RUNTIMES[name].size(folder) / MIB, "MiB"),
            Figure(f"{name}, one image", 1000 * timing.image_seconds, "ms"),
            Figure(f"{name}, difference from text2latent", difference, target=LIMITS.get(name, 1 / 255), at_most=True),
        ]
    return figures


def int8_figures(config: Namespace) -> list[Figure]:
    """What the judge sees of held-out captions in pictures of full weights and of weights in eight bits."""
    import torch

    from text2latent.exports.runtime.infer_onnx import OnnxPipeline
    from text2latent.zoo.faces.evaluation import held_out_captions, score_pictures
    from text2latent.zoo.faces.judge import load_judge

    captions, judge = held_out_captions(config.num_captions, "en"), load_judge()
    texts, seeds = [caption.text for caption in captions], list(range(config.num_captions))
    figures = []
    for name, int8 in (("float32", False), ("int8", True)):
        pipeline = OnnxPipeline(exported(config), int8)
        levels = np.concatenate([pipeline([text], [seed]) for text, seed in zip(texts, seeds, strict=True)])
        images = torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 127.5 - 1
        fit = score_pictures(judge, images, captions)
        figures += [
            Figure(f"{name}, named attributes that are there", fit.named),
            Figure(f"{name}, pictures with all that is named", fit.complete),
        ]
    return figures


def compile_figures(config: Namespace) -> list[Figure]:
    """Time per image of torch.export's program before and after AOTInductor compiled it."""
    if compiler() is None:
        raise InputError("compile: expected a C++ compiler, found none")
    folder = exported(config)
    plain, compiled = (measure(name, folder, TEXT, config.repeats) for name in ("torch.export", "AOTInductor"))
    return [
        Figure("torch.export, one image", 1000 * plain.image_seconds, "ms"),
        Figure("AOTInductor, one image", 1000 * compiled.image_seconds, "ms"),
        Figure("AOTInductor, speed-up", plain.image_seconds / compiled.image_seconds, "x"),
    ]


PARTS: dict[str, Measure] = {"formats": format_figures, "int8": int8_figures, "compile": compile_figures}


def build_parser() -> CommandParser:
    """The flags of this script."""
    parser = script_parser("exports", __doc__)
    add_model_flag(parser)
    add = parser.add_argument
    add("--folder", default=None, metavar="PATH", help="A folder exported in all formats, to not export again.")
    add("--repeats", type=positive_int, default=20, metavar="N", help="Warm images, of which the median counts.")
    add("--num-captions", type=positive_int, default=400, metavar="N", help="Captions for int8, one picture each.")
    add_report_flags(parser, PARTS, default=", ".join(BY_DEFAULT))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    parser = build_parser()
    return run_command(parser, partial(measure_parts, PARTS, parser, default=BY_DEFAULT), argv)


if __name__ == "__main__":
    sys.exit(main())
