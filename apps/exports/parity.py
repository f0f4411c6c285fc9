"""Whether exported graphs draw what the pipeline draws, for the record and the model card."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from text2latent.apps.exports import pt2_folder
from text2latent.apps.exports.networks import GraphSettings, quiet
from text2latent.common.errors import InputError
from text2latent.inference.images import to_uint8
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.priors.diffusion import initial_noise

LEVELS = 255
MAX_DIFFERENCE = 1 / LEVELS
REPEATS = 5
Draw = Callable[[Sequence[str], Sequence[int]], np.ndarray]
"""Texts and as many seeds to pictures, uint8 `[N, H, W, C]`."""


def compare(
    pipeline: Text2LatentPipeline, folder: Path, format_name: str, texts: Sequence[str], how: GraphSettings
) -> dict[str, float]:
    """Draw a picture per text with the graphs of an exported folder and with the pipeline.

    Args:
        pipeline: what was exported.
        format_name: `onnx` or `pt2`.
        texts: what to draw, with the seeds 0, 1, ...
        how: what became part of the graphs.

    Returns:
        For the format, for `onnx_int8` if weights in eight bits were written, and for `pt2_compiled` if the program
        was compiled: `_mebibytes`, the size of the graphs, and `_difference`, the mean absolute difference of the
        pictures as a share of all levels. `pt2_compiled_speed_up` is how many times faster one image is drawn by the
        compiled program than by the other.

    Raises:
        InputError: when graphs of full precision differ by more than `MAX_DIFFERENCE`.
    """
    figures = dict[str, float]()
    variants = _variants(pipeline, folder, format_name, how)
    for name, (draw, files) in variants.items():
        figures[f"{name}_difference"] = difference_of(pipeline, name, draw, texts, how)
        figures[f"{name}_mebibytes"] = sum(file.stat().st_size for file in files) / 2**20
    if "pt2_compiled" in variants:
        plain, compiled = (_seconds(variants[name][0], texts[0]) for name in ("pt2", "pt2_compiled"))
        figures["pt2_compiled_speed_up"] = plain / compiled
    return figures


def difference_of(
    pipeline: Text2LatentPipeline, name: str, draw: Draw, texts: Sequence[str], how: GraphSettings
) -> float:
    """Mean absolute difference, as a share of all levels, of what `draw` and the pipeline draw of texts.

    Raises:
        InputError: naming what draws, when it exceeds `MAX_DIFFERENCE`, unless `name` says that weights are int8.
    """
    seeds = list(range(len(texts)))
    expected = _draw_own(pipeline, texts, seeds, how).astype(np.float64)
    difference = float(np.abs(draw(texts, seeds) - expected).mean()) / LEVELS
    if difference > MAX_DIFFERENCE and "int8" not in name:
        raise InputError(f"{name}: draws other pictures than the pipeline: they differ by {difference:.2g}")
    return difference


def _seconds(draw: Draw, text: str) -> float:
    seconds = []
    for seed in range(REPEATS):
        started = time.perf_counter()
        draw([text], [seed])
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _draw_own(
    pipeline: Text2LatentPipeline, texts: Sequence[str], seeds: Sequence[int], how: GraphSettings
) -> np.ndarray:
    steps, scale = how.num_inference_steps, how.guidance_scale
    drawn = pipeline(texts, seeds=seeds, num_inference_steps=steps, guidance_scale=scale, return_scores=False)
    return np.stack([np.atleast_3d(np.asarray(picture)) for picture in drawn.images])


def _variants(
    pipeline: Text2LatentPipeline, folder: Path, format_name: str, how: GraphSettings
) -> dict[str, tuple[Draw, list[Path]]]:
    if format_name == "pt2":
        return _programs(pipeline, folder / pt2_folder.FOLDER)
    from text2latent.apps.exports.runtime.infer_onnx import OnnxPipeline

    graphs = folder / "onnx"
    variants: dict[str, tuple[Draw, list[Path]]] = {"onnx": (OnnxPipeline(folder), list(graphs.glob("*[!8].onnx")))}
    if how.int8:
        variants["onnx_int8"] = (
            OnnxPipeline(folder, int8=True),
            [*graphs.glob("*.int8.onnx"), graphs / "sampler.onnx"],
        )
    return variants


def _programs(pipeline: Text2LatentPipeline, folder: Path) -> dict[str, tuple[Draw, list[Path]]]:
    plain, compiled = folder / pt2_folder.PROGRAM, folder / pt2_folder.COMPILED
    with quiet():
        programs = {"pt2": (_program_draw(pipeline, torch.export.load(plain).module()), [plain])}
        if compiled.is_file():
            package = torch._inductor.aoti_load_package(str(compiled))
            programs["pt2_compiled"] = (_program_draw(pipeline, package), [compiled])
    return programs


def _program_draw(pipeline: Text2LatentPipeline, program: Callable[..., Tensor]) -> Draw:
    def draw(texts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        noise = initial_noise(seeds, pipeline.prior.latent_shape)
        with torch.no_grad():
            return to_uint8(program(tokens=pipeline.clip.tokenize(texts), noise=noise))

    return draw
