"""Print what a page that draws in the visitor's browser weighs, how long it takes in Chromium with one thread, and how
far its pictures are from those of `infer`. Run it on a machine that does nothing else.

    python benchmarks/web_page.py --json benchmarks/web_page.json
    python benchmarks/tables.py --only web

The latter writes the tables into docs/export.md, whose pictures of the page are of those that `--shots FOLDER` takes.
FFHQ's sizes are measured with random weights: what counts is their number.
"""

from __future__ import annotations

import io
import re
import statistics
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from text2latent.apps.exports.networks import GraphSettings
from text2latent.apps.exports.web.folder import WebExport, export_web
from text2latent.apps.exports.web.runtime_files import find_runtime
from text2latent.benchmarks.browsing import browsing
from text2latent.benchmarks.gpu_networks import OURS, SIZES, build_encoder, build_generator, build_pipeline
from text2latent.benchmarks.pictures import QUALITY
from text2latent.benchmarks.report import (
    Figure,
    Measure,
    add_model_flag,
    add_report_flags,
    measure_parts,
    script_parser,
)
from text2latent.benchmarks.web_visits import WebVisitor, file_server
from text2latent.common.command import CommandParser, check_output_folder, positive_int, run_command
from text2latent.inference.pipeline import Text2LatentPipeline

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MB = 1e6
TEXTS = ("blonde woman with glasses", "an old man with a white beard and a hat", "眼鏡をかけた金髪の女性")
TYPED = "a smiling child with curly red hair in a forest"
CPU = torch.device("cpu")
LANDSCAPES = "landscapes"
LARGE_REPEATS = 3
MAX_FOLDER_MB, MAX_MILLISECONDS, MAX_SHARE = 35, 150, 1e-3
WIDTHS = {390: 844, 800: 1100, 1280: 860, 1920: 1080}
"""Height of the window by its width, in pixels."""
KINDS = {
    "networks": r"\.onnx\.gz$",
    "vocabulary": r"tokenizer\.json\.gz$",
    "onnxruntime-web": r"ort-wasm-simd-threaded\.wasm\.gz$|runtime/(?!.*(webgpu|asyncify))",
    "onnxruntime-web for WebGPU": r"asyncify|webgpu",
    "page": "",
}
"""What the files of a folder are, by the first pattern that their path has."""


def export_to(folder: Path, pipeline: Text2LatentPipeline, package: str | None, int8: bool) -> Path:
    export_web(pipeline, folder, WebExport(find_runtime(package, Path.cwd()), TEXTS, GraphSettings(int8=int8)))
    return folder


@cache
def export_once(model: str, package: str | None, int8: bool) -> tempfile.TemporaryDirectory[str]:
    """A folder with the web folder `site` of a model, for all parts."""
    scratch = tempfile.TemporaryDirectory()
    export_to(Path(scratch.name) / "site", Text2LatentPipeline.from_pretrained(model, "cpu"), package, int8)
    return scratch


def exported(config: Namespace) -> dict[str, Path]:
    """The web folders of the model, with weights as they are and in eight bits, by name."""
    names = {config.model: False, f"{config.model}, int8": True}
    scratches = {name: export_once(config.model, config.onnxruntime_web, int8) for name, int8 in names.items()}
    return {name: Path(scratch.name) / "site" for name, scratch in scratches.items()}


def sizes_of(folder: Path) -> dict[str, int]:
    sizes = dict.fromkeys(KINDS, 0)
    for path in folder.rglob("*"):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            sizes[next(kind for kind, pattern in KINDS.items() if re.search(pattern, name))] += path.stat().st_size
    return sizes


def typed_milliseconds(visitor: WebVisitor, repeats: int) -> list[float]:
    """What each picture takes while a text becomes longer, letter by letter."""
    taken = []
    for length in range(len(TYPED) - repeats, len(TYPED)):
        visitor.write("text", TYPED[:length])
        taken.append(visitor.milliseconds())
    return taken


def difference_from(pipeline: Text2LatentPipeline, visitor: WebVisitor, texts: Sequence[str]) -> np.ndarray:
    found = []
    for seed, text in enumerate(texts):
        visitor.write("seed", str(seed))
        visitor.write("text", text)
        own = pipeline(text, seeds=[seed], return_scores=False).images[0]
        found.append(np.abs(visitor.save()[1].astype(int) - np.asarray(own)))
    return np.stack(found)


def measure_site(
    name: str, pipeline: Text2LatentPipeline, browser: Browser, folder: Path, repeats: int
) -> Iterator[tuple[str, float, str]]:
    sizes = sizes_of(folder)
    yield f"{name}, folder", sum(sizes.values()) / MB, "MB"
    yield f"{name}, fetched", (sum(sizes.values()) - sizes["onnxruntime-web for WebGPU"]) / MB, "MB"
    with file_server(folder) as address, WebVisitor(browser, address, query="?device=wasm") as visitor:
        yield f"{name}, first picture", visitor.first_seconds, "s"
        yield f"{name}, one picture", statistics.median(typed_milliseconds(visitor, repeats)), "ms"
        differences = difference_from(pipeline, visitor, TEXTS if repeats > LARGE_REPEATS else TEXTS[:1])
    yield f"{name}, mean difference", float(differences.mean()) / 255, ""
    yield f"{name}, values that differ", float((differences > 0).mean()), ""


def limit_of(figure: str, is_exact: bool) -> float | None:
    limits = {"folder": MAX_FOLDER_MB, "one picture": MAX_MILLISECONDS}
    return {**limits, "values that differ": MAX_SHARE if is_exact else None}.get(figure.rpartition(", ")[2])


def face_figures(config: Namespace) -> list[Figure]:
    """The faces world, with weights as they are and in eight bits."""
    pipeline = Text2LatentPipeline.from_pretrained(config.model, "cpu")
    return [figure for site in exported(config).items() for figure in shipped_figures(config, pipeline, *site)]


def landscape_figures(config: Namespace) -> list[Figure]:
    """The landscapes world, whose generator is a StyleGAN3, with weights as they are."""
    site = Path(export_once(LANDSCAPES, config.onnxruntime_web, False).name) / "site"
    return shipped_figures(config, Text2LatentPipeline.from_pretrained(LANDSCAPES, "cpu"), LANDSCAPES, site)


def shipped_figures(config: Namespace, pipeline: Text2LatentPipeline, name: str, folder: Path) -> list[Figure]:
    """What a page of a small model is to be, and is."""
    with browsing(config.browser) as browser:
        measured = list(measure_site(name, pipeline, browser, folder, config.repeats))
    is_exact = not name.endswith("int8")
    return [Figure(figure, value, unit, limit_of(figure, is_exact), at_most=True) for figure, value, unit in measured]


def size_figures(config: Namespace) -> list[Figure]:
    return [
        Figure(f"{kind}, {name.replace(',', ' in')}", size / MB, "MB")
        for name, folder in exported(config).items()
        for kind, size in sizes_of(folder).items()
    ]


def ffhq_figures(config: Namespace) -> list[Figure]:
    """StyleGAN2 of 1024 pixels, ViT-B/32's text encoder and our recipe's prior, with random weights.

    Weights of CLIP are rounded to half precision, as OpenAI's are.
    """
    sizes, figures = SIZES["tiny" if config.quick else "real"], []
    clip = build_encoder(sizes, "ViT-B/32", CPU)
    clip.half().float()
    pipeline = build_pipeline(sizes, OURS, build_generator(sizes, "StyleGAN2", CPU), clip)
    for name, int8 in (("FFHQ-1024, int8", True), ("FFHQ-1024", False)):
        with tempfile.TemporaryDirectory() as scratch, browsing(config.browser) as browser:
            folder = export_to(Path(scratch) / "site", pipeline, config.onnxruntime_web, int8)
            measured = measure_site(name, pipeline, browser, folder, LARGE_REPEATS)
            figures += [Figure(figure, value, unit) for figure, value, unit in measured]
    return figures


def take_shots(config: Namespace, folder: Path) -> None:
    """Pictures of the page, narrow and wide, light and dark, in both languages, of one picture and of four."""
    site = exported(config)[config.model]
    with file_server(site) as address, browsing(config.browser) as browser:
        for (width, height), scheme, language in product(WIDTHS.items(), ("light", "dark"), ("en", "ja")):
            with WebVisitor(browser, address, width, height, scheme, language) as visitor:
                name = f"web-{width}-{scheme}-{language}"
                save_shot(visitor, folder / f"{name}.webp")
                visitor.choose_count(4)
                for group in ("mix", "edit", "settings"):
                    visitor.open(group)
                visitor.write("mix-text", TEXTS[1])
                save_shot(visitor, folder / f"{name}-all.webp")


def save_shot(visitor: WebVisitor, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    seen = Image.open(io.BytesIO(visitor.page.screenshot())).convert("RGB")
    seen.save(file, "WEBP", quality=QUALITY, method=6)


PARTS: dict[str, Measure] = {
    "sizes": size_figures,
    "faces": face_figures,
    "landscapes": landscape_figures,
    "ffhq": ffhq_figures,
}


def build_parser() -> CommandParser:
    parser = script_parser("web_page", __doc__)
    add_model_flag(parser)
    add = parser.add_argument
    add(
        "--repeats", type=positive_int, default=20, metavar="N", help="Typed letters; the median of their times counts."
    )
    add("--browser", default=None, metavar="FILE", help="Chromium's program. Default: what is installed.")
    add("--onnxruntime-web", default=None, metavar="PATH", help="As text2latent export has it.")
    add("--quick", action="store_true", help="Small networks for ffhq, to see that all works.")
    add("--shots", default=None, metavar="FOLDER", help="Take pictures of the page instead, into this folder.")
    add_report_flags(parser, PARTS)
    return parser


def run(config: Namespace) -> None:
    """Measure and print the chosen parts, or take pictures."""
    if config.shots is None:
        measure_parts(PARTS, build_parser(), config)
    else:
        take_shots(config, check_output_folder(config.shots))


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
