"""Print what generators of real sizes take, with random weights: seconds and peak memory per image and batch."""

from __future__ import annotations

import importlib
import multiprocessing
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from text2latent.benchmarks.report import (
    Figure,
    Measure,
    add_device_flag,
    add_report_flags,
    measure_parts,
    script_parser,
)
from text2latent.benchmarks.timing import peak_memory
from text2latent.common.command import CommandParser, positive_int, run_command, select_device
from text2latent.common.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

GIB = 2**30
STYLEGAN2 = "text2latent.models.generators.stylegan2.StyleGAN2Generator"
STYLEGAN3 = "text2latent.models.generators.stylegan3.StyleGAN3Generator"
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "stylegan2-1024": (STYLEGAN2, {"img_resolution": 1024, "num_fp16_res": 4, "conv_clamp": 256}),
    "stylegan3-t-256": (STYLEGAN3, {"img_resolution": 256}),
    "stylegan3-r-512": (
        STYLEGAN3,
        {
            "img_resolution": 512,
            "channel_base": 65536,
            "channel_max": 1024,
            "conv_kernel": 1,
            "use_radial_filters": True,
        },
    ),
}
"""Classes and arguments: FFHQ-1024 config-f, LHQ-256 and a rotation-equivariant network of 512 pixels."""

PRECISIONS = ("32", "bf16")
MODULATIONS = ((1, 64, 256), (1, 512, 16), (4, 16, 128), (4, 128, 64), (4, 512, 16))
"""Samples, channels and pixels per side of the layers to modulate."""


def build(path: str, arguments: dict[str, Any], device: torch.device) -> Any:
    """Generator of a class path with random weights, laid out as `load_generator` lays it out."""
    import torch

    module, _, name = path.rpartition(".")
    generator = getattr(importlib.import_module(module), name)(**arguments)
    generator.to(device)
    torch.nn.Module.to(generator, memory_format=torch.channels_last)
    return generator.eval().requires_grad_(False)


def draw(
    path: str, arguments: dict[str, Any], batch_size: int, repeats: int, device: str, precision: str
) -> tuple[float, int]:
    """Median seconds of a warm batch, and the peak memory in bytes of this process (on CUDA: of the device)."""
    import torch

    target = torch.device(device)
    generator = build(path, arguments, target)
    ws = generator.map(generator.sample_latents(batch_size, seed=0).to(target))
    autocast = torch.autocast(target.type, torch.bfloat16) if precision == "bf16" else nullcontext()
    with torch.inference_mode(), autocast:
        seconds = _median_seconds(partial(generator.synthesize, ws, **generator.rough_options), repeats, target)
    if target.type == "cuda":
        return seconds, torch.cuda.max_memory_allocated(target)
    return seconds, peak_memory()


def _median_seconds(function: Callable[[], Any], repeats: int, device: torch.device) -> float:
    return statistics.median([_seconds(function, device) for _ in range(1 + repeats)][1:])


def _seconds(function: Callable[[], Any], device: torch.device) -> float:
    started = time.perf_counter()
    function()
    _wait(device)
    return time.perf_counter() - started


def _median_ratio(one: Callable[[], Any], other: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """Median of `repeats` quotients of the seconds of two functions called in turn, after a call that warms up."""
    ratios = [_seconds(one, device) / _seconds(other, device) for _ in range(1 + repeats)]
    return statistics.median(ratios[1:])


def _wait(device: torch.device) -> None:
    import torch

    if device.type in ("cuda", "mps"):
        getattr(torch, device.type).synchronize()


def network_figures(name: str, config: Namespace) -> list[Figure]:
    """One image and a batch of a network, each in a process of its own, so that memory counts from the start."""
    path, arguments = NETWORKS[name]
    device = str(select_device(config.device))
    figures = []
    for batch_size in dict.fromkeys((1, config.batch_size)):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as child:
            settings = (path, arguments, batch_size, config.repeats, device, config.precision)
            seconds, peak_bytes = child.submit(draw, *settings).result()
        what = f"{name}, batch of {batch_size}"
        figures += [
            Figure(f"{what}: an image", seconds / batch_size, "s"),
            Figure(f"{what}: the batch", seconds, "s", detail=batch_size == 1),
            Figure(f"{what}: memory", peak_bytes / GIB, "GiB"),
        ]
    return figures


def scaled(x: Tensor, weight: Tensor, styles: Tensor, scale: Tensor) -> Tensor:
    """Modulated 3x3 convolution as a dense one between scalings of the features."""
    import torch.nn.functional as F

    return F.conv2d(x * styles[..., None, None], weight, padding=1).mul_(scale[..., None, None])


def grouped(x: Tensor, weight: Tensor, styles: Tensor, scale: Tensor) -> Tensor:
    """Modulated 3x3 convolution with a kernel per sample, the samples as groups of one convolution."""
    import torch.nn.functional as F

    n, channels = x.shape[:2]
    kernels = weight * (scale[:, :, None] * styles[:, None])[..., None, None]
    y = F.conv2d(x.reshape(1, n * channels, *x.shape[2:]), kernels.flatten(0, 1), padding=1, groups=n)
    return y.view(n, -1, *y.shape[2:])


def modulation_figures(config: Namespace) -> list[Figure]:
    """Time of kernels per sample relative to scaled features, between which `layers.modulate` chooses."""
    import torch

    from text2latent.models.generators.layers import demodulation

    device = select_device(config.device)
    rng, figures = torch.Generator().manual_seed(0), []
    for n, channels, size in MODULATIONS:
        x = torch.randn(n, channels, size, size, generator=rng).to(device, memory_format=torch.channels_last)
        weight = torch.randn(channels, channels, 3, 3, generator=rng).to(device, memory_format=torch.channels_last)
        styles = torch.randn(n, channels, generator=rng).to(device)
        operands = (x, weight, styles, demodulation(weight, styles))
        with torch.inference_mode():
            ratio = _median_ratio(partial(grouped, *operands), partial(scaled, *operands), 3 * config.repeats, device)
        what = f"{n} x {channels} channels x {size} pixels"
        figures.append(Figure(f"modulation, {what}: kernels per sample / scaled features", ratio))
    return figures


PARTS: dict[str, Measure] = {
    **{name: partial(network_figures, name) for name in NETWORKS},
    "modulation": modulation_figures,
}


def build_parser() -> CommandParser:
    parser = script_parser("generators", __doc__)
    add = parser.add_argument
    add_device_flag(parser)
    add("--precision", default="32", metavar="P", help="32, or bf16 for rough images in bfloat16.")
    add("--batch-size", type=positive_int, default=4, metavar="N", help="Images at once, beside a single one.")
    add("--repeats", type=positive_int, default=3, metavar="N", help="Warm batches, of which the median counts.")
    add_report_flags(parser, PARTS)
    return parser


def measure(parser: CommandParser, config: Namespace) -> None:
    """Measure the chosen parts; UsageError for a precision that is not in `PRECISIONS`."""
    if config.precision not in PRECISIONS:
        raise UsageError(f"--precision: expected one of {', '.join(PRECISIONS)}, got {config.precision!r}")
    measure_parts(PARTS, parser, config)


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    return run_command(parser, partial(measure, parser), argv)


if __name__ == "__main__":
    sys.exit(main())
