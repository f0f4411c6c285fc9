"""Draw images from texts: `text2latent infer --text "blonde woman with glasses"`."""

from __future__ import annotations

import json
import sys
import time
import warnings
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text2latent.configs.command import (
    CommandParser,
    check_output_file,
    non_negative_float,
    progress,
    run_command,
    seed,
    select_device,
)
from text2latent.configs.constraints import Range, number, whole_number
from text2latent.configs.errors import UsageError
from text2latent.models.outputs import plan_files, plan_grid

if TYPE_CHECKING:
    from text2latent.models.drawing import DrawnImage
    from text2latent.models.pipeline import Text2LatentPipeline

RESUME_HINT = "finished files are whole; run again with --overwrite or another --output"


def build_parser() -> CommandParser:
    """The flags of `text2latent infer`."""
    parser = CommandParser("infer", __doc__)
    add = parser.add_argument
    add("--text", action="append", metavar="TEXT", help="What to draw; repeat it for several texts.")
    add("--num-images", type=whole_number(Range(at_least=1, at_most=100_000)), default=1, metavar="N",
        help="Images per text.")  # fmt: skip
    add("--seed", type=seed, default=0, metavar="N", help="Seed of each text's first image; the next ones count up.")
    add("--guidance-scale", type=non_negative_float, default=1.0, metavar="X",
        help="How closely to follow the text; 1 is no guidance, 0 ignores the text.")  # fmt: skip
    add("--steps", type=whole_number(Range(at_least=1, at_most=1000)), default=8, metavar="N", help="Sampling steps.")
    add("--truncation", type=number(Range(at_least=0, at_most=2)), default=1.0, metavar="PSI",
        help="Below 1 moves images towards the generator's average one (0); 1 leaves them as they are.")  # fmt: skip
    add("--rerank", type=whole_number(Range(at_least=1, at_most=1000)), default=1, metavar="K",
        help="Candidates per image, of which the one that CLIP finds closest to the text is kept.")  # fmt: skip
    add("--output", default=None, metavar="PATH",
        help="A .png file (numbered for several images), a folder, or a pattern with {prompt}, {seed}, {index} or "
        "{image}, such as out/{prompt}/{seed:04d}.png; default: files named after text and seed, here.")  # fmt: skip
    add("--overwrite", action="store_true", help="Replace files that exist.")
    add("--model", default="faces", metavar="MODEL", help="A zoo name, a run or prior folder, or a checkpoint.")
    add("--generator", default=None, metavar="PATH", help="Where the model's generator is, if it has moved.")
    add("--clip", default=None, metavar="PATH", help="Where the model's CLIP is, if it has moved.")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")
    add("--batch-size", type=whole_number(Range(at_least=1, at_most=4096)), default=16, metavar="N",
        help="Images drawn at once; changes speed and memory, not the images.")  # fmt: skip
    add("--grid", action="store_true", help="One PNG with all images, a row per text, instead of a file each.")
    add("--json", action="store_true", help="Print as JSON what was drawn: files, texts, seeds, CLIP scores, seconds.")
    return parser


def run(config: Namespace) -> None:
    """Check all that can be wrong before any work, load the model, draw and write."""
    if not config.text:
        raise UsageError("--text: expected at least one text, got none")

    from text2latent.models.clip import check_prompt

    prompts = [check_prompt(text) for text in config.text]
    seeds = range(config.seed, config.seed + config.num_images)
    files = plan(config, prompts, seeds)
    device = select_device(config.device)

    from text2latent.models.pipeline import Text2LatentPipeline

    started = time.perf_counter()
    pipeline = Text2LatentPipeline.from_pretrained(config.model, device, config.generator, config.clip)
    loaded = time.perf_counter()
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        report = draw(pipeline, config, prompts, seeds, files)
    report["seconds"] = {"load": round(loaded - started, 3), "draw": round(time.perf_counter() - loaded, 3)}
    print(json.dumps(report, ensure_ascii=False, indent=2) if config.json else "\n".join(map(str, files)))


def plan(config: Namespace, prompts: Sequence[str], seeds: Sequence[int]) -> list[Path]:
    """The files to write, all of which can be written: one, or one per image."""
    files = [plan_grid(config.output, prompts, seeds)] if config.grid else plan_files(config.output, prompts, seeds)
    return [check_output_file(path, config.overwrite) for path in files]


def draw(
    pipeline: Text2LatentPipeline, config: Namespace, prompts: Sequence[str], seeds: Sequence[int], files: list[Path]
) -> dict[str, Any]:
    """Draw and write all images, each file as soon as it can be; returns the report for `--json`."""
    from text2latent.models.drawing import describe, draw_images, png_metadata
    from text2latent.models.images import make_grid, save_png
    from text2latent.models.pipeline import Settings

    settings = Settings(config.steps, config.guidance_scale, config.truncation, config.rerank, config.batch_size)
    description = describe(pipeline, settings)
    images, total = draw_images(pipeline, prompts, seeds, settings), len(prompts) * len(seeds)
    report: list[dict[str, Any]] = []
    sheet: list[DrawnImage] = []
    for image in progress(images, total, "images") if total > config.batch_size else images:
        file = files[0 if config.grid else len(report)]
        report.append({"file": str(file), **image.to_dict()})
        if config.grid:
            sheet.append(image)
        else:
            save_png(image.picture, file, png_metadata(description, [image]), config.overwrite)
    if config.grid:
        picture = make_grid([image.picture for image in sheet], columns=len(seeds))
        save_png(picture, files[0], png_metadata(description, sheet), config.overwrite)
    return {**description, "images": report}


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning in one line on stderr."""
    print(f"text2latent infer: warning: {message}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `text2latent infer`; returns the exit code."""
    return run_command(build_parser(), run, argv, RESUME_HINT)


if __name__ == "__main__":
    sys.exit(main())
