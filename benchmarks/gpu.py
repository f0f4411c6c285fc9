"""Measure on a GPU, in one run of minutes, how fast pictures are drawn, pairs sampled and priors trained.

    python benchmarks/gpu.py --json gpu.json

Networks have real sizes and random weights, so that no file is needed; `--seconds` bounds the run: each part has a
share of what is left, and is cut short where that is over. Every figure is printed and kept as it comes.
`--size tiny --device cpu` tries the same on small networks. `benchmarks/gpu_wheels.txt` lists what is needed beside
torch, as wheels that can be carried to where there is no network.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from text2latent.benchmarks.gpu_networks import (
    OURS,
    PAPER,
    SIZES,
    Sizes,
    build_encoder,
    build_generator,
    build_pipeline,
)
from text2latent.benchmarks.gpu_timing import (
    GIB,
    Clock,
    announce,
    measurable,
    median,
    peak_bytes,
    percentile,
    reset_peak,
    timed,
)
from text2latent.benchmarks.gpu_training import sampling_figures, training_figures
from text2latent.benchmarks.report import (
    Figure,
    add_device_flag,
    add_report_flags,
    command_line,
    keep_part,
    read_parts,
    script_parser,
    table,
)
from text2latent.common.command import (
    CommandParser,
    check_output_file,
    describe_failure,
    positive_float,
    positive_int,
    run_command,
    select_device,
)
from text2latent.common.errors import InputError, UsageError, one_line
from text2latent.inference.images import to_pil
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.query import Query
from text2latent.inference.settings import DEFAULT_STEPS, Settings
from text2latent.models.acceleration import Acceleration
from text2latent.models.priors.diffusion import initial_noise

ROOT = Path(__file__).resolve().parents[1]
TEXT = "a photo of an old man with a white beard and glasses"
WHOSE = {OURS: "ours", PAPER: "the paper's transformer"}
PICTURE_MS, TOGETHER_PER_SECOND, PRIOR_SHARE = 15, 150, 0.1
"""What is to be reached on an H100 or H200 by the fastest way."""


PLAIN = Acceleration()


@dataclass(frozen=True)
class Mode:
    """A way to draw.

    Attributes:
        name: in figures.
        options: of `synthesize`.
        rough: whether under autocast to bfloat16.
        how: what makes it faster.
    """

    name: str
    options: Mapping[str, Any]
    rough: bool = False
    how: Acceleration = PLAIN

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        return torch.autocast(device.type, torch.bfloat16) if self.rough else nullcontext()


EXACT, ROUGH = {"force_fp32": True}, {"exact": False}
MODES = (
    Mode("float32", EXACT),
    Mode("bf16", ROUGH, True),
    Mode("float16 in the last layers", {}),
    Mode("float32, CUDA graphs", EXACT, how=Acceleration(cuda_graph=True)),
    Mode("bf16, CUDA graphs", ROUGH, True, Acceleration(cuda_graph=True)),
    Mode("float16 in the last layers, CUDA graphs", {}, how=Acceleration(cuda_graph=True)),
    Mode("float32, compiled", EXACT, how=Acceleration(compile=True)),
    Mode("bf16, compiled, CUDA graphs", ROUGH, True, Acceleration(compile=True, cuda_graph=True)),
)
"""The plain ones first, and those last whose start takes longest and can't be undone."""


def modes_here(device: torch.device) -> list[Mode]:
    """The modes that a device can do; says which are omitted."""
    found = measurable({mode.name: mode.how for mode in MODES}, device)
    return [mode for mode in MODES if mode.name in found]


class Drawing:
    def __init__(self, pipeline: Text2LatentPipeline, mode: Mode, steps: int = DEFAULT_STEPS) -> None:
        self.pipeline, self.mode, self.steps = pipeline.accelerate(mode.how), mode, steps
        generator = pipeline.generator
        vars(generator)["synthesize"] = partial(type(generator).synthesize, generator, **mode.options)

    def __call__(self, count: int, scored: bool = False) -> object:
        """Draw pictures of a text, with their CLIP scores or without."""
        with self.mode.autocast(self.pipeline.device):
            return self.pipeline(
                TEXT,
                num_images_per_prompt=count,
                num_inference_steps=self.steps,
                seeds=range(count),
                batch_size=count,
                return_scores=scored,
            )

    def parts(self, count: int) -> dict[str, Callable[[], object]]:
        """What a batch consists of, each part of what the one before gave."""
        pipeline, settings = self.pipeline, Settings(self.steps, batch_size=count)

        def inside(work: Callable[[], Any]) -> Callable[[], Any]:
            def run() -> Any:
                with torch.no_grad(), self.mode.autocast(pipeline.device):
                    return work()

            return run

        noise = initial_noise(range(count), pipeline.prior.latent_shape)
        encode = inside(lambda: pipeline.encode([Query(TEXT)] * count))
        conditions = encode()
        draw = inside(lambda: pipeline.draw_latents(conditions, noise, settings))
        latents = draw()
        synthesize = inside(lambda: pipeline.generator.synthesize(latents))
        images = synthesize()
        return {
            "text": encode,
            "prior": draw,
            "generator": synthesize,
            "to the CPU": lambda: to_pil(images),
            "CLIP score": inside(lambda: pipeline.score(images, conditions.target)),
        }


def picture_figures(generator: str, clip: str, config: Namespace, clock: Clock) -> Iterator[Figure]:
    """Milliseconds from text to pictures on the CPU, alone and together, in each mode; shares; memory."""
    sizes, device = SIZES[config.size], select_device(config.device)
    modes = modes_here(device)
    pipeline = build_pipeline(
        sizes, OURS, build_generator(sizes, generator, device), build_encoder(sizes, clip, device)
    )
    aims = (generator, clip) == ("StyleGAN2", "ViT-B/32") and config.size == "real" and device.type == "cuda"
    cells = cells_of(sizes, modes)
    for place, (mode, count) in enumerate(cells):
        if not clock.has_time_for(mode.name, count):
            announce(f"cut short: {mode.name}, {count} at once")
            continue
        drawing, limit = Drawing(pipeline, mode), Clock(clock.left / (len(cells) - place))
        seconds, start = yield from batch_figures(drawing, count, config, limit, aims and count in (1, sizes.together))
        clock.note(mode.name, start, seconds / count)
        if count == 1:
            yield from share_figures(drawing, mode.name, config, aims)


def cells_of(sizes: Sizes, modes: Sequence[Mode]) -> list[tuple[Mode, int]]:
    """Modes and images at once: what counts most first, and compiled ones, which can't be undone, last."""
    counts = dict.fromkeys((1, sizes.together, *sizes.batches))
    return [
        (mode, count)
        for is_compiled in (False, True)
        for count in counts
        for mode in modes
        if mode.how.compile == is_compiled
    ]


def batch_figures(
    drawing: Drawing, count: int, config: Namespace, clock: Clock, aims: bool
) -> Generator[Figure, None, tuple[float, float]]:
    """Figures of a batch; gives its median seconds, and those of the first time."""
    device, what = drawing.pipeline.device, f"{drawing.mode.name}, {count} at once"
    reset_peak(device)
    seconds, start = timed(partial(drawing, count), device, config.repeats, clock)
    alone, together = (PICTURE_MS, None) if count == 1 else (None, TOGETHER_PER_SECOND)
    yield Figure(f"{what}: p50", 1000 * median(seconds), "ms", alone if aims else None, at_most=True)
    yield Figure(f"{what}: p95", 1000 * percentile(seconds, 95), "ms")
    yield Figure(f"{what}: rate", count / median(seconds), "images/s", together if aims else None)
    yield Figure(f"{what}: the first time", start, "s", detail=True)
    yield Figure(f"{what}: memory", peak_bytes(device) / GIB, "GiB", detail=count != 1)
    return median(seconds), start


def share_figures(drawing: Drawing, name: str, config: Namespace, aims: bool) -> Iterator[Figure]:
    """Milliseconds of each part of one image, waited for alone, and the prior's share of all but the score."""
    device = drawing.pipeline.device
    spent = {part: median(timed(work, device, config.repeats)[0]) for part, work in drawing.parts(count=1).items()}
    for part, seconds in spent.items():
        yield Figure(f"{name}, 1 at once: {part}", 1000 * seconds, "ms", detail=True)
    share = spent["prior"] / (sum(spent.values()) - spent["CLIP score"])
    yield Figure(f"{name}, 1 at once: share of the prior", share, "", PRIOR_SHARE if aims else None, at_most=True)


def baseline_figures(config: Namespace, clock: Clock) -> Iterator[Figure]:
    """Our prior, and the paper's transformer in its hundred steps and in four, before the same generator."""
    sizes, device = SIZES[config.size], select_device(config.device)
    generator, clip = build_generator(sizes, "StyleGAN2", device), build_encoder(sizes, "ViT-B/32", device)
    modes = [mode for mode in modes_here(device) if mode.options == EXACT and not mode.how.compile]
    runs = [(OURS, DEFAULT_STEPS), *((PAPER, steps) for steps in sizes.paper_steps)]
    for mode in modes:
        whole: dict[str, float] = {}
        for name, steps in runs:
            drawing = Drawing(build_pipeline(sizes, name, generator, clip), mode, steps)
            what = f"{WHOSE[name]}, {steps} steps"
            whole[what] = median(timed(partial(drawing, 1), device, config.repeats, clock)[0])
            latents = median(timed(drawing.parts(1)["prior"], device, config.repeats, clock)[0])
            yield Figure(f"{what}, {mode.name}: p50", 1000 * whole[what], "ms")
            yield Figure(f"{what}, {mode.name}: the latent", 1000 * latents, "ms")
        ours = next(iter(whole.values()))
        for what, seconds in list(whole.items())[1:]:
            yield Figure(f"{what}, {mode.name}: time of a picture over ours", seconds / ours, "times")


def correctness_figures(config: Namespace, clock: Clock) -> Iterator[Figure]:
    """What `tests/test_cuda.py` finds on this device: pictures, pairs and losses are the CPU's within its bounds."""
    if select_device(config.device).type != "cuda":
        announce("omitted: correctness: tests/test_cuda.py needs a CUDA device")
        return
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT.parent), os.environ.get("PYTHONPATH", "")])}
    try:
        ran = subprocess.run(
            [*command, "-rfE", "tests/test_cuda.py"],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=clock.left,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        written = late.stdout or b""
        yield from figures_of_tests(written.decode() if isinstance(written, bytes) else written)
        announce("cut short: tests/test_cuda.py")
        return
    lines = ran.stdout.strip().splitlines()
    announce(*(line for line in lines if line.startswith(("FAILED", "ERROR"))), *lines[-1:])
    yield from figures_of_tests(ran.stdout)
    yield Figure("tests/test_cuda.py: exit code", ran.returncode, "", 0, at_most=True)


def figures_of_tests(output: str) -> list[Figure]:
    """Numbers of tests by what became of them, of what `pytest -q` wrote, whole or up to some time."""
    lines = [line.partition(" [")[0].strip() for line in output.splitlines()]
    rows = "".join(line for line in lines if set(line) <= set(".FEsx"))
    bad = sum(rows.count(mark) for mark in "FE")
    return [
        Figure("tests/test_cuda.py: passed", rows.count("."), "tests"),
        Figure("tests/test_cuda.py: failed", bad, "tests", 0, at_most=True),
    ]


Part = Callable[[Namespace, Clock], Iterator[Figure]]
PARTS: dict[str, tuple[Part, float]] = {
    "stylegan2": (partial(picture_figures, "StyleGAN2", "ViT-B/32"), 4),
    "correctness": (correctness_figures, 3),
    "baseline": (baseline_figures, 1.5),
    "sampling": (sampling_figures, 3),
    "training": (training_figures, 4),
    "vit-l": (partial(picture_figures, "StyleGAN2", "ViT-L/14"), 2),
    "stylegan3-t": (partial(picture_figures, "StyleGAN3-T", "ViT-B/32"), 2.5),
    "stylegan3-r": (partial(picture_figures, "StyleGAN3-R", "ViT-B/32"), 3),
}
"""What measures each part, and its share of the time where others aren't done sooner; what matters most comes first."""


def measure(parser: CommandParser, config: Namespace) -> None:
    """Measure the chosen parts, print and keep each figure as it comes; a part that fails says so in a line.

    Raises:
        UsageError: for an unknown part or size.
    """
    chosen = config.only or list(PARTS)
    unknown = [part for part in chosen if part not in PARTS]
    if unknown:
        raise UsageError(f"--only: expected one of {', '.join(PARTS)}, got {unknown[0]!r}")
    if config.size not in SIZES:
        raise UsageError(f"--size: expected one of {', '.join(SIZES)}, got {config.size!r}")
    select_device(config.device)
    file = None if config.json is None else check_output_file(config.json, overwrite=True, flag="--json")
    if file is not None:
        read_parts(file)
    ends = time.monotonic() + config.seconds
    for place, name in enumerate(chosen):
        part, share = PARTS[name]
        shares = sum(PARTS[later][1] for later in chosen[place:])
        print(name, flush=True)
        command = command_line(parser, config, "--only", name, without=("only", "json"))
        run_part(partial(part, config), Clock((ends - time.monotonic()) * share / shares), name, command, file)


def run_part(
    part: Callable[[Clock], Iterator[Figure]], clock: Clock, name: str, command: str, file: Path | None
) -> None:
    figures: list[Figure] = []
    try:
        for figure in part(clock):
            figures.append(figure)
            announce(*table("", [figure]).strip().splitlines())
            if file is not None:
                keep_part(file, name, command, figures)
    except (RuntimeError, InputError) as error:
        # A kernel or a compiler that fails mustn't take what the other parts would tell.
        announce(f"failed: {describe_failure(error) or one_line(error)}")


def build_parser() -> CommandParser:
    parser = script_parser("gpu", __doc__)
    add = parser.add_argument
    add_device_flag(parser)
    add("--size", default="real", metavar="SIZE", help="Of the networks: real, or tiny to try the command.")
    add("--seconds", type=positive_float, default=440.0, metavar="X",
        help="Time of the whole run but its start; parts that take longer than their share are cut short.")  # fmt: skip
    add("--repeats", type=positive_int, default=20, metavar="N", help="Times that each figure is measured, at most.")
    add_report_flags(parser, PARTS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    return run_command(parser, partial(measure, parser), argv)


if __name__ == "__main__":
    sys.exit(main())
