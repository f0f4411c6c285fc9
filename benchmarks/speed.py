"""Print how fast the project is, each figure beside its target. Run it on a machine that does nothing else."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from text2latent.benchmarks.report import (
    Figure,
    Measure,
    add_device_flag,
    add_model_flag,
    add_report_flags,
    run_parts,
    script_parser,
)
from text2latent.benchmarks.timing import Finished, import_seconds, run_measured
from text2latent.common.command import CommandParser, positive_int, select_device
from text2latent.zoo.world import load_world

FACES = load_world("faces")

ROOT = Path(__file__).resolve().parents[1]
TEXT = "blonde woman with glasses"
BY_DEFAULT = ("renderer", "sample", "infer", "process", "imports")
START_RATIO = "infer.py, processor time of a new process, over that of import torch"
FEW_PAIRS, WARM_UP, HEAVIEST = 32, 3, 5
GIB = 2**30


def renderer_figures(config: Namespace) -> list[Figure]:
    """Images that the renderer draws in a second of processor time, however many cores are busy with other things."""
    from text2latent.zoo.drawing.renders import render

    rng = np.random.default_rng(0)
    codes, nuisance = FACES.draw_codes(rng, config.num_renders), FACES.draw_nuisance(rng, config.num_renders)
    render(FACES, codes[:1], nuisance[:1])
    started = time.process_time()
    render(FACES, codes, nuisance)
    rate = config.num_renders / (time.process_time() - started)
    return [Figure("renderer, one core", rate, "images/s", target=300)]


def sample_figures(config: Namespace) -> list[Figure]:
    """Pairs that sample.py makes in a second; a run of few pairs measures its start."""
    few, many = min(FEW_PAIRS, config.num_pairs - 1), config.num_pairs
    short, long, bf16 = _sample(config, few), _sample(config, many), _sample(config, many, "--precision", "bf16")
    start = short.seconds - few * (long.seconds - short.seconds) / (many - few)
    return [
        Figure("sample.py, start not counted", many / (long.seconds - start), "pairs/s", target=150),
        Figure("sample.py --precision bf16, start not counted", many / (bf16.seconds - start), "pairs/s"),
        Figure(f"sample.py, {many} pairs with its start", many / long.seconds, "pairs/s"),
        Figure("sample.py, memory", long.peak_bytes / GIB, "GiB"),
    ]


def _sample(config: Namespace, num_pairs: int, *further: str) -> Finished:
    with tempfile.TemporaryDirectory() as folder:
        flags = ("--model", config.world, "--num-pairs", str(num_pairs), "--output", folder, "--device", config.device)
        return run_measured([sys.executable, ROOT / "sample.py", *flags, *further])


def infer_figures(config: Namespace) -> list[Figure]:
    """Time from a prompt to a picture in a process that has drawn before, at default settings, CLIP score included."""
    from text2latent.inference.pipeline import Text2LatentPipeline

    pipeline = Text2LatentPipeline.from_pretrained(config.model, select_device(config.device))
    seconds = []
    for seed in range(WARM_UP + config.repeats):
        started = time.perf_counter()
        pipeline(TEXT, seeds=[seed])
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds[WARM_UP:])
    return [Figure("one image, warm", 1000 * median, "ms", target=100, at_most=True)]


def process_figures(config: Namespace) -> list[Figure]:
    """Time from the start of infer.py to its end, with one PNG written; each run beside one that only imports torch."""
    pairs = [(_infer(config), run_measured([sys.executable, "-c", "import torch"])) for _ in range(config.processes)]
    runs = [run for run, _ in pairs]
    ours, torchs = (statistics.median(run.processor_seconds for run in part) for part in zip(*pairs, strict=True))
    return [
        Figure("infer.py, new process", statistics.median(run.seconds for run in runs), "s", target=5, at_most=True),
        Figure(START_RATIO, ours / torchs, "times", target=2.2, at_most=True),
        Figure("infer.py, memory", max(run.peak_bytes for run in runs) / GIB, "GiB"),
    ]


def import_figures(config: Namespace) -> list[Figure]:
    """What infer.py imports while it draws an image, by package, by `python -X importtime`."""
    seconds = import_seconds(_infer(config, "-X", "importtime").stderr)
    heaviest = [Figure(f"imports: {name}", value, "s", detail=True) for name, value in list(seconds.items())[:HEAVIEST]]
    return [Figure("infer.py, all imports", sum(seconds.values()), "s"), *heaviest]


def _infer(config: Namespace, *python_flags: str) -> Finished:
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "face.png")
        flags = ("--text", TEXT, "--model", config.model, "--output", output, "--device", config.device)
        return run_measured([sys.executable, *python_flags, ROOT / "infer.py", *flags])


def demo_figures(config: Namespace) -> list[Figure]:
    """`make demo` in a folder of its own; the packages count as downloaded, so run it once before."""
    with tempfile.TemporaryDirectory() as folder:
        ran = run_measured(["make", "demo", f"DEMO={folder}/demo"], ROOT)
    return [
        Figure("make demo", ran.seconds / 60, "min", target=10, at_most=True),
        Figure("make demo, memory", ran.peak_bytes / GIB, "GiB", target=4, at_most=True),
    ]


def suite_figures(config: Namespace) -> list[Figure]:
    """`make test`; the packages count as downloaded, so run it once before."""
    return [Figure("make test", run_measured(["make", "test"], ROOT).seconds / 60, "min", target=12, at_most=True)]


PARTS: dict[str, Measure] = {
    "renderer": renderer_figures,
    "sample": sample_figures,
    "infer": infer_figures,
    "process": process_figures,
    "imports": import_figures,
    "demo": demo_figures,
    "test": suite_figures,
}


def build_parser() -> CommandParser:
    parser = script_parser("speed", __doc__)
    add_model_flag(parser)
    add = parser.add_argument
    add("--world", default="faces", metavar="PATH", help="Generator and CLIP for sample.py: a zoo name or a folder.")
    add_device_flag(parser)
    add("--num-renders", type=positive_int, default=1000, metavar="N", help="Renders to time.")
    add("--num-pairs", type=positive_int, default=5000, metavar="N", help="Pairs to time, at least 2.")
    add("--repeats", type=positive_int, default=20, metavar="N", help="Warm images, of which the median counts.")
    add("--processes", type=positive_int, default=5, metavar="N", help="New processes, of which the median counts.")
    add_report_flags(parser, PARTS, default=f"{', '.join(BY_DEFAULT)}, which take a minute or two")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run_parts(PARTS, build_parser(), argv, BY_DEFAULT)


if __name__ == "__main__":
    sys.exit(main())
