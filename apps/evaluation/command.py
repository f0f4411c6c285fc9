"""Measure how well a model draws prompts: `text2latent evaluate --prompts prompts.jsonl --output results`."""

from __future__ import annotations

import json
import shutil
import warnings
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text2latent.common.command import (
    CommandParser,
    check_output_folder,
    run_command,
    select_device,
    warnings_in_one_line,
)
from text2latent.common.constraints import Range, whole_number
from text2latent.common.errors import InputError, UsageError
from text2latent.inference.flags import add_drawing_flags, add_model_flags, read_acceleration, read_settings
from text2latent.inference.prompts import Prompt, PromptLine, read_prompt_file

if TYPE_CHECKING:
    import torch

    from text2latent.apps.evaluation.judging import Judge
    from text2latent.apps.evaluation.measuring import Workplace
    from text2latent.apps.evaluation.segmentation import Segmenter
    from text2latent.inference.pipeline import Text2LatentPipeline

SEGMENTATION = "segmentation.json"
RESULTS = ("metrics.json", "metrics.md", "plots.png")
DRAWING = (
    *("num_images", "seed", "negative_text", "guidance_scale", "steps", "truncation", "rerank", "refine", "batch_size"),
    *("model", "generator", "clip", "clip_args", "clip_language", "force", "world", "num_own"),
)
"""Flags of what is drawn to be measured."""


def build_parser() -> CommandParser:
    parser = CommandParser("evaluate", __doc__, idle=idle_flags)
    add = parser.add_argument
    add("--prompts", metavar="FILE", default=None,
        help="File of prompts: a text per line, or .jsonl with {\"text\": ..., \"want\": {attribute: value}} per line; "
        "wanted attributes are found by the judge of a zoo world.")  # fmt: skip
    add("--output", metavar="DIR", default=None, help="Folder for metrics.json, metrics.md, plots.png and grids.")
    add("--overwrite", action="store_true", help="Replace the results that are there.")
    add("--num-own", type=whole_number(Range(at_least=10, at_most=1_000_000)), default=2000, metavar="N",
        help="Images of the generator's own, of random z, to compare with.")  # fmt: skip
    add("--world", default=None, metavar="NAME", help="Zoo world whose judge to ask; default: the generator's.")
    add("--segmentation", default=None, metavar="NETWORK",
        help="Also report what a network such as torchvision's deeplabv3_resnet50 finds in each image.")  # fmt: skip
    add("--weights", default=None, metavar="FILE", help="Weights of --segmentation.")
    add("--images", nargs="+", default=None, metavar="FILE",
        help="Segment these files, and evaluate no prompts.")  # fmt: skip
    add("--json", action="store_true", help="Print what metrics.json holds, but for its list of images.")
    add_drawing_flags(parser, num_images=4)
    add_model_flags(parser)
    return parser


def idle_flags(config: Namespace) -> dict[str, str]:
    """Flags that would be ignored, each with what was expected instead."""
    idle = {"force": "expected --generator or --clip with it, which it is for"}
    if config.generator or config.clip or config.clip_args:
        idle = {}
    if config.images:
        idle |= dict.fromkeys(DRAWING, "expected no such flag with --images, which draws nothing")
    return idle


def run(config: Namespace) -> None:
    """Check, draw, measure, and write the results."""
    from text2latent.apps.evaluation.report import require_plots

    if config.images:
        segment_files(config)
        return
    lines, folder = check(config)
    require_plots()
    device = select_device(config.device)
    acceleration = read_acceleration(config, device)
    segmenter = load_segmenter(config, device)

    from text2latent.inference.pipeline import Text2LatentPipeline
    from text2latent.models.clip.arguments import named_clip

    clip = named_clip(config.clip, config.clip_args, config.clip_language)
    pipeline = Text2LatentPipeline.from_pretrained(config.model, device, config.generator, clip, config.force)
    pipeline.accelerate(acceleration)
    with warnings_in_one_line("evaluate"):
        judge = choose_judge(pipeline, config, lines)
        metrics = evaluate(pipeline, config, lines, judge, folder)
        if segmenter is not None:
            metrics["segmentation"] = segment_grids(segmenter, config, lines, folder, pipeline.generator.image_shape)
    kept = {name: value for name, value in metrics.items() if name != "images"}
    print(json.dumps(kept, ensure_ascii=False, indent=2) if config.json else (folder / "metrics.md").read_text("utf-8"))


def check(config: Namespace) -> tuple[list[PromptLine], Path]:
    """Prompts and output folder, both usable."""
    for flag in ("prompts", "output"):
        if getattr(config, flag) is None:
            raise UsageError(f"--{flag}: expected a {'file of prompts' if flag == 'prompts' else 'folder'}, got none")
    lines = read_prompt_file(config.prompts)
    if config.negative_text is not None:
        Prompt(config.negative_text)
    read_settings(config)
    folder = check_output_folder(config.output)
    written = RESULTS if config.segmentation is None else (*RESULTS, SEGMENTATION)
    there = [name for name in written if (folder / name).exists()]
    if there and not config.overwrite:
        raise InputError(f"--output: {folder / there[0]} exists already; expected another folder, or --overwrite")
    return lines, folder


def load_segmenter(config: Namespace, device: torch.device) -> Segmenter | None:
    """The network of `--segmentation` and `--weights`; None without them."""
    from text2latent.apps.evaluation.segmentation import Segmenter

    if config.segmentation is None:
        if config.weights or config.images:
            raise UsageError("--weights, --images: expected --segmentation NETWORK with them")
        return None
    return Segmenter.from_file(config.segmentation, config.weights, device)


def segment_files(config: Namespace) -> None:
    from text2latent.apps.evaluation.segmenting import read_pictures, segment_pictures, to_text

    if config.output is None or config.prompts:
        raise UsageError("--images: expected --output FOLDER and no --prompts with it")
    folder, files = check_output_folder(config.output), [Path(file) for file in config.images]
    list(read_pictures(files))  # files that are no images are refused before any work
    if (folder / SEGMENTATION).exists() and not config.overwrite:
        raise InputError(f"--output: {folder / SEGMENTATION} exists already; expected another folder, or --overwrite")
    segmenter = load_segmenter(config, select_device(config.device))
    assert segmenter is not None
    folder.mkdir(parents=True, exist_ok=True)
    found = segment_pictures(segmenter, read_pictures(files), len(files), folder)
    print(json.dumps(found, ensure_ascii=False, indent=2) if config.json else to_text(found))


def segment_grids(
    segmenter: Segmenter, config: Namespace, lines: Sequence[PromptLine], folder: Path, size: tuple[int, int]
) -> list[dict[str, Any]]:
    """Segment the images of the grids that were drawn; returns what is found in each."""
    from text2latent.apps.evaluation.segmenting import cut_grids, segment_pictures

    texts, seeds = [line.text for line in lines], range(config.seed, config.seed + config.num_images)
    pictures = cut_grids(sorted(folder.glob("grid-*.png")), size, texts, seeds)
    return segment_pictures(segmenter, pictures, len(texts) * len(seeds), folder)


def choose_judge(pipeline: Text2LatentPipeline, config: Namespace, lines: Sequence[PromptLine]) -> Judge | None:
    """The judge of the flag's world or the generator's; warns when something is wanted and there is none."""
    from text2latent.apps.evaluation.judging import check_wants, find_judge

    identity = pipeline.generator.identity
    judge = find_judge(config.world or (identity.source if identity else ""))
    if config.world and judge is None:
        raise UsageError(f"--world: expected a zoo world that has a judge, got {config.world!r}")
    if judge is not None:
        check_wants(lines, judge)
    elif any(line.want for line in lines):
        warnings.warn("no judge is known of this generator; wanted attributes stay untold (--world)", stacklevel=2)
    return judge


def evaluate(
    pipeline: Text2LatentPipeline, config: Namespace, lines: Sequence[PromptLine], judge: Judge | None, folder: Path
) -> dict[str, Any]:
    """Draw and measure, and write all results into the folder; returns what metrics.json holds."""
    from text2latent.apps.evaluation.measuring import Workplace, measure_own, measure_prompts, require_enough
    from text2latent.apps.evaluation.metrics import NEIGHBOURS
    from text2latent.apps.evaluation.summary import summarize
    from text2latent.inference.drawing import describe

    settings, seeds = read_settings(config), range(config.seed, config.seed + config.num_images)
    require_enough(len(lines), len(seeds), config.num_own, NEIGHBOURS)
    # Texts that can't be embedded are refused before anything is written.
    texts = [line.text for line in lines]
    embedded = pipeline.encode_prompts(texts).cpu().numpy()
    if config.negative_text is not None:
        pipeline.encode_prompts([config.negative_text])
    description = describe(pipeline, settings, negative_text=config.negative_text)
    wants = [[line.text, dict(line.want)] for line in lines]
    workplace = Workplace(folder, [description, wants, config.seed, config.num_images, judge and judge.world])
    measured = measure_prompts(pipeline, lines, config.negative_text, seeds, settings, judge, workplace)
    own = measure_own(pipeline, config.num_own, config.batch_size, workplace)
    outside = pipeline.domain_scores(texts)
    summary = summarize(
        lines, seeds, measured, embedded, own, None if outside is None else [score.is_outside for score in outside]
    )
    head = {"num_prompts": len(lines), "num_images_per_prompt": len(seeds), "num_own": len(own)}
    metrics = {**description, **head, "judge": judge and judge.world, **summary}
    write(metrics, measured.embeddings, own, workplace)
    return metrics


def write(metrics: dict[str, Any], drawn: Any, own: Any, workplace: Workplace) -> None:
    """Write the results; the parts that they were made from go."""
    from text2latent.apps.evaluation.report import save_plots, to_markdown
    from text2latent.common.files import write_text

    folder = workplace.folder
    save_plots(metrics, drawn, own, folder / "plots.png")
    write_text(folder / "metrics.md", to_markdown(metrics))
    write_text(folder / "metrics.json", json.dumps(metrics, ensure_ascii=False, indent=1) + "\n")
    shutil.rmtree(workplace.parts.parent)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)
