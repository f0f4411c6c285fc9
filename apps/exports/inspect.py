"""Show what a model, a dataset, an exported file or a picture was made with: `text2latent inspect ANY`.

With `--texts FILE`, show how a CLIP and a set of pairs stand instead: how its texts lie to its images, where the texts
of the file land among those of the pairs, whether CLIP separates them there, and what to change.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from text2latent.common.command import CommandParser, check_output_file, run_command
from text2latent.common.errors import UsageError
from text2latent.inference.flags import add_clip_args_flag


def build_parser() -> CommandParser:
    parser = CommandParser("inspect", __doc__)
    add = parser.add_argument
    add("source", metavar="ANY",
        help="A zoo name, a run, prior, exported, generator, CLIP or dataset folder, a checkpoint, an exported .onnx "
        "or .pt2 file, a picture drawn by text2latent, or an https:// or hf:// address of one.")  # fmt: skip
    add("--json", action="store_true", help="Print everything as JSON.")
    add("--texts", default=None, metavar="FILE",
        help="Texts, a line each, to look at among the images of a dataset, or of a prior's dataset.")  # fmt: skip
    add("--output", default=None, metavar="FILE", help="Picture of that, a PNG file.")
    add("--overwrite", action="store_true", help="Replace that file.")
    add("--pairs", default=None, metavar="FOLDER", help="Where a prior's dataset is now.")
    add("--clip", default=None, metavar="SOURCE", help="Where the dataset's CLIP is now.")
    add_clip_args_flag(parser)
    return parser


def run(config: Namespace) -> None:
    """Read what the source records about itself and print it, or diagnose it."""
    if config.texts is not None:
        return diagnose(config)
    stray = [
        f"--{name.replace('_', '-')}"
        for name in ("output", "overwrite", "pairs", "clip", "clip_args")
        if getattr(config, name)
    ]
    if stray:
        raise UsageError(f"{stray[0]}: expected --texts with it")
    from text2latent.apps.exports.inspection import inspect_source, summary

    found = inspect_source(config.source)
    print(json.dumps(found, ensure_ascii=False, indent=2) if config.json else summary(found))


def diagnose(config: Namespace) -> None:
    """Print a page, and draw a picture if one is asked for, of how the texts land among the images."""
    from text2latent.apps.evaluation.report import require_plots
    from text2latent.inference.prompts import read_prompt_file

    if config.output is not None:
        check_output_file(config.output, config.overwrite)
        require_plots("inspect --output")
    prompts = [line.text for line in read_prompt_file(config.texts, "--texts")]
    from text2latent.apps.evaluation import diagnosis, diagnosis_page, diagnosis_picture
    from text2latent.apps.evaluation.diagnosis_subject import Sources, gather
    from text2latent.models.clip.arguments import named_clip

    subject, show = gather(Sources(config.source, config.pairs, named_clip(config.clip, config.clip_args)), prompts)
    found = diagnosis.diagnose(subject)
    report = diagnosis.to_dict(subject, found)
    print(json.dumps(report, ensure_ascii=False, indent=2) if config.json else diagnosis_page.page(subject, found))
    if config.output is not None:
        diagnosis_picture.save_picture(subject, found, show, Path(config.output))


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), run, argv, "nothing was written")
