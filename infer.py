"""Draw images from texts: `text2latent infer --text "blonde woman with glasses"`."""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text2latent.common.command import (
    CommandParser,
    check_output_file,
    progress,
    quick_start,
    run_command,
    select_device,
    unit_interval,
    warnings_in_one_line,
)
from text2latent.common.constraints import Range, number, whole_number
from text2latent.common.errors import UsageError
from text2latent.inference.flags import add_drawing_flags, add_model_flags, read_acceleration, read_settings
from text2latent.inference.request import choose, idle_flags, make_request
from text2latent.inference.settings import DEFAULT_FRAMES, DEFAULT_IMAGE_WEIGHT, MAX_STRENGTH

if TYPE_CHECKING:
    from text2latent.inference.pipeline import Text2LatentPipeline
    from text2latent.inference.request import Request
    from text2latent.inference.settings import Settings

RESUME_HINT = "finished files are whole; run again with --skip-existing, --overwrite or another --output"


def build_parser() -> CommandParser:
    parser = CommandParser("infer", __doc__, idle=idle_flags)
    _add_subject_flags(parser)
    add_drawing_flags(parser)
    add_model_flags(parser)
    _add_output_flags(parser)
    return parser


def _add_subject_flags(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--text", action="append", metavar="TEXT",
        help="What to draw; repeat it for several texts. Parts may be weighted: 'woman:1 | glasses:0.5'.")  # fmt: skip
    add("--prompts", default=None, metavar="FILE",
        help="File of texts instead: one per line, or .jsonl with one object {\"text\": ...} per line.")  # fmt: skip
    add("--image", action="append", metavar="FILE", help="Image to vary, or to mix with each text; may be repeated.")
    add("--image-weight", type=unit_interval, default=DEFAULT_IMAGE_WEIGHT, metavar="X",
        help="Share of the image where it is mixed with a text.")  # fmt: skip
    add("--interpolate", nargs=2, default=None, metavar=("FROM", "TO"),
        help="Draw the way between two texts: a .gif (default), an .mp4, or a .png with all frames.")  # fmt: skip
    add("--frames", type=whole_number(Range(at_least=2, at_most=10_000)), default=DEFAULT_FRAMES, metavar="N",
        help="Frames of --interpolate.")  # fmt: skip
    add("--edit", nargs=2, default=None, metavar=("FROM", "TO"),
        help="Move images in the direction between two texts: those of --latents, --text or random ones.")  # fmt: skip
    add("--strength", type=number(Range(at_least=-MAX_STRENGTH, at_most=MAX_STRENGTH)), default=None,
        metavar="X", help="How far --edit goes: 1 (default) is the whole way, -1 the other way.")  # fmt: skip
    add("--latents", default=None, metavar="FILE",
        help="Draw the latents of a file: w [N, num_ws, w_dim] in an .npz, .npy or .pt.")  # fmt: skip


def _add_output_flags(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--output", default=None, metavar="PATH",
        help="A .png file (numbered for several images), a folder, or a pattern with {prompt}, {seed}, {index} or "
        "{image}, such as out/{prompt}/{seed:04d}.png; default: files named after text and seed, here.")  # fmt: skip
    add("--overwrite", action="store_true", help="Replace files that exist.")
    add("--skip-existing", action="store_true", help="Leave files that exist, and draw the others only.")
    add("--grid", action="store_true", help="One PNG with all images, a row per text, instead of a file each.")
    add("--save-latents", default=None, metavar="FILE", help="Also keep the latents, as --latents takes them.")
    add("--json", action="store_true", help="Print as JSON what was drawn: files, texts, seeds, CLIP scores, seconds.")


def run(config: Namespace) -> None:
    """Check all that can be wrong before any work, load the model, draw and write."""
    with quick_start():
        request = make_request(config)
        files = plan(config, request)
        settings = read_settings(config)
        pipeline, load_seconds = load(config)
    with warnings_in_one_line("infer"):
        started = time.perf_counter()
        report = draw(pipeline, config, request, settings, files)
    report["seconds"] = {"load": round(load_seconds, 3), "draw": round(time.perf_counter() - started, 3)}
    print(json.dumps(report, ensure_ascii=False, indent=2) if config.json else "\n".join(map(str, files)))


def load(config: Namespace) -> tuple[Text2LatentPipeline, float]:
    """The pipeline that the flags ask for, and the seconds that `from_pretrained` took."""
    device = select_device(config.device)
    acceleration = read_acceleration(config, device)

    from text2latent.inference.pipeline import Text2LatentPipeline
    from text2latent.models.clip.arguments import named_clip

    with warnings_in_one_line("infer"):
        started = time.perf_counter()
        clip = named_clip(config.clip, config.clip_args, config.clip_language)
        pipeline = Text2LatentPipeline.from_pretrained(config.model, device, config.generator, clip, config.force)
        pipeline.accelerate(acceleration)
    return pipeline, time.perf_counter() - started


def plan(config: Namespace, request: Request) -> list[Path]:
    """The files to write, all of which can be written: one, or one per image."""
    from text2latent.inference.latents_file import check_suffix

    if config.save_latents is not None:
        check_output_file(config.save_latents, config.overwrite, "--save-latents")
    replaced = config.overwrite or config.skip_existing
    files = [check_output_file(path, replaced) for path in request.plan(config.output)]
    if config.save_latents is not None and Path(config.save_latents).resolve() in {file.resolve() for file in files}:
        raise UsageError(f"--save-latents: expected another file than the image {config.save_latents}")
    if config.save_latents is not None:
        check_suffix(config.save_latents)
    return files


def draw(
    pipeline: Text2LatentPipeline, config: Namespace, request: Request, settings: Settings, files: list[Path]
) -> dict[str, Any]:
    """Draw and write all images, each file as soon as it can be; returns the report for `--json`."""
    from text2latent.inference.drawing import describe
    from text2latent.inference.latents_file import save_latents

    description = describe(pipeline, settings, **request.settings)
    wanted = [not file.exists() for file in files] if config.skip_existing else None
    total = len(request) if wanted is None else sum(wanted)
    images = request.draw(pipeline, settings, wanted)
    shown = progress(images, total, "images") if total > config.batch_size else images
    report: list[dict[str, Any]] = []
    latents: list[Any] = []
    for file, image in request.write(shown, choose(files, wanted), description, config.overwrite):
        report.append({"file": str(file), **image.record})
        if config.save_latents is not None:
            latents += image.latents
    if latents:
        save_latents(config.save_latents, latents, pipeline.generator.num_ws, config.overwrite)
    return {**description, "images": report}


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), run, argv, RESUME_HINT)


if __name__ == "__main__":
    sys.exit(main())
