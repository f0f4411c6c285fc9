"""Write a model as a folder that other tools load without text2latent: `text2latent export RUN OUT --format onnx`."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text2latent.apps.exports import FORMATS, WEB
from text2latent.common.command import (
    CommandParser,
    check_output_folder,
    non_negative_float,
    progress,
    run_command,
    warnings_in_one_line,
)
from text2latent.common.constraints import Range, whole_number
from text2latent.common.errors import InputError, UsageError
from text2latent.common.files import read_object
from text2latent.inference.flags import add_clip_args_flag, add_force_flag
from text2latent.inference.settings import DEFAULT_GUIDANCE_SCALE, DEFAULT_STEPS

if TYPE_CHECKING:
    from text2latent.apps.exports.networks import GraphSettings
    from text2latent.inference.pipeline import Text2LatentPipeline

    Write = Callable[[Text2LatentPipeline, Path], dict[str, Any]]
    """Writes a model into a folder; gives the folder's record."""

RESUME_HINT = "nothing was written"


def build_parser() -> CommandParser:
    parser = CommandParser("export", __doc__, idle=idle_flags)
    add = parser.add_argument
    add("model", metavar="RUN", help="A zoo name, a run, prior or exported folder, a checkpoint, or hf://ORG/NAME.")
    add("output", metavar="OUT", help="The folder to write.")
    add("--format", action="append", metavar="NAME",
        help=f"What to write, one of {', '.join(FORMATS)}; repeat it for several. Or {WEB}, alone: a page that draws "
        f"in the visitor's browser. Default: {FORMATS[0]}.")  # fmt: skip
    add("--overwrite", action="store_true", help="Replace an exported folder.")
    add("--generator", default=None, metavar="PATH", help="Where the model's generator is, if it has moved.")
    add("--clip", default=None, metavar="PATH", help="Where the model's CLIP is, if it has moved.")
    add_clip_args_flag(parser)
    add_force_flag(parser)
    _add_graph_flags(parser)
    add("--license", default="unknown", metavar="ID",
        help="Licence for the model card, as the Hugging Face hub writes it, such as apache-2.0.")  # fmt: skip
    add("--text", action="append", metavar="TEXT",
        help="A row of the model card's samples, or an example on the page; repeat it for several. Default: those of "
        "the training.")  # fmt: skip
    add("--metrics", default=None, metavar="FILE", help="JSON object of measured figures for card and record.")
    add("--json", action="store_true", help="Print the record as JSON.")
    return parser


def idle_flags(config: Namespace) -> dict[str, str]:
    """Flags that would be ignored, each with what was expected instead."""
    formats = config.format or FORMATS[:1]
    graphs = "" if {"onnx", "pt2", WEB} & set(formats) else "--format onnx, pt2 or web"
    needed = {
        "steps": graphs,
        "guidance_scale": graphs,
        "int8": "" if {"onnx", WEB} & set(formats) else "--format onnx or web",
        "onnxruntime_web": "" if WEB in formats else "--format web",
        "compile": "" if "pt2" in formats else "--format pt2",
        "force": "" if config.generator or config.clip or config.clip_args else "--generator or --clip",
    }
    return {name: f"expected {what} with it, which it is for" for name, what in needed.items() if what}


def _add_graph_flags(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--steps", type=whole_number(Range(at_least=1, at_most=1000)), default=DEFAULT_STEPS, metavar="N",
        help="Sampling steps of the graphs of onnx, pt2 and web, where they can't be chosen later.")  # fmt: skip
    add("--guidance-scale", type=non_negative_float, default=DEFAULT_GUIDANCE_SCALE, metavar="X",
        help="Guidance of the same graphs, on the page where its slider starts; 1 is no guidance.")  # fmt: skip
    add(
        "--int8",
        action="store_true",
        help="CLIP and generator with weights in eight bits, a quarter the size: of onnx besides the others, of web "
        "instead of them.",
    )
    add("--onnxruntime-web", default=None, metavar="PATH",
        help="web: folder or archive of the npm package. Default: a node_modules here, or the registry.")  # fmt: skip
    add("--compile", default="auto", choices=("auto", "yes", "no"),
        help="pt2: compile a package for machines like this one; auto does if there is a C++ compiler.")  # fmt: skip


def run(config: Namespace) -> None:
    """Check all that can be wrong before any work, load the model and write the folder."""
    formats = read_formats(config.format)
    metrics = {} if config.metrics is None else read_metrics(Path(config.metrics))
    output = check_output_folder(config.output, flag="OUT")

    from text2latent.apps.exports.exporting import check_output
    from text2latent.inference.pipeline import Text2LatentPipeline
    from text2latent.models.clip.arguments import named_clip

    check_output(output, config.overwrite)
    write = (prepare_web if formats == [WEB] else prepare_formats)(config, formats, metrics)
    with warnings_in_one_line("export"):
        clip = named_clip(config.clip, config.clip_args)
        pipeline = Text2LatentPipeline.from_pretrained(config.model, "cpu", config.generator, clip, config.force)
        record = write(pipeline, output)
    print(json.dumps(record, ensure_ascii=False, indent=2) if config.json else output)


def read_formats(given: Sequence[str] | None) -> list[str]:
    """The formats to write, each once.

    Raises:
        UsageError: for an unknown one, or others beside the page, which is a folder of its own.
    """
    formats = list(dict.fromkeys(given or FORMATS[:1]))
    unknown = [name for name in formats if name not in (*FORMATS, WEB)]
    if unknown:
        raise UsageError(f"--format: expected one of {', '.join((*FORMATS, WEB))}, got {unknown[0]!r}")
    if WEB in formats and len(formats) > 1:
        others = ", ".join(name for name in formats if name != WEB)
        raise UsageError(f"--format {WEB}: expected no other format, since it is a folder of its own; got {others}")
    return formats


def show_steps(steps: Sequence[str]) -> Iterable[str]:
    return progress(steps, len(steps), "steps")


def check_texts(texts: Sequence[str]) -> None:
    """Refuse texts that can't be prompts, with a UsageError."""
    from text2latent.inference.prompts import Prompt

    for text in texts:
        Prompt(text)


def read_graphs(config: Namespace) -> GraphSettings:
    from text2latent.apps.exports.networks import GraphSettings

    return GraphSettings(config.steps, config.guidance_scale, config.int8, config.compile)


def prepare_formats(config: Namespace, formats: Sequence[str], metrics: dict[str, float]) -> Write:
    """What writes the formats that the flags ask for; texts and packages are checked.

    Raises:
        UsageError: for an unusable text.
        InputError: when a format's packages are missing.
    """
    from text2latent.apps.exports.exporting import Export, export_model
    from text2latent.apps.exports.onnx_folder import require_packages

    check_texts(config.text or ())
    if "onnx" in formats:
        require_packages()
    wanted = Export(formats, read_graphs(config), config.license, config.text or (), metrics)
    return lambda pipeline, output: export_model(pipeline, output, wanted, show_steps)


def prepare_web(config: Namespace, formats: Sequence[str], metrics: dict[str, float]) -> Write:
    """What writes the page; errors as for `prepare_formats`, and where onnxruntime-web can't be had."""
    from text2latent.apps.exports.exporting import sample_texts
    from text2latent.apps.exports.onnx_folder import require_packages
    from text2latent.apps.exports.web.folder import WebExport, export_web
    from text2latent.apps.exports.web.runtime_files import find_runtime

    check_texts(config.text or ())
    require_packages(formats[0])
    runtime = find_runtime(config.onnxruntime_web, Path.cwd())

    def write(pipeline: Text2LatentPipeline, output: Path) -> dict[str, Any]:
        texts = sample_texts(pipeline, config.text or ())
        wanted = WebExport(runtime, texts, read_graphs(config), config.license, metrics)
        return export_web(pipeline, output, wanted, show_steps)

    return write


def read_metrics(path: Path) -> dict[str, float]:
    """Figures of a JSON file by name.

    Raises:
        InputError: when it holds anything but an object of numbers.
    """
    metrics = read_object(path, "the command line")
    wrong = [name for name, value in metrics.items() if isinstance(value, bool) or not isinstance(value, (int, float))]
    if wrong:
        raise InputError(f"--metrics {path}: {wrong[0]}: expected a number, got {metrics[wrong[0]]!r:.60}")
    return metrics


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), run, argv, RESUME_HINT)
