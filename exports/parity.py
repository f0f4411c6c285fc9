"""Whether exported graphs draw what the pipeline draws, told in the record and the model card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from text2latent.configs.errors import InputError
from text2latent.exports.networks import GraphSettings, quiet
from text2latent.models.diffusion import initial_noise
from text2latent.models.images import to_uint8
from text2latent.models.pipeline import Text2LatentPipeline

LEVELS = 255
MAX_DIFFERENCE = 1 / LEVELS
Draw = Callable[[Sequence[str], Sequence[int]], np.ndarray]
"""Texts and as many seeds to pictures, uint8 `[N, H, W, 3]`."""


def compare(
    pipeline: Text2LatentPipeline, folder: Path, format_name: str, texts: Sequence[str], how: GraphSettings
) -> dict[str, float]:
    """Draw a picture per text with the graphs of an exported folder and with the pipeline.

    Args:
        pipeline: what was exported.
        folder: the exported folder.
        format_name: `onnx` or `pt2`.
        texts: what to draw, with the seeds 0, 1, ...
        how: what became part of the graphs.

    Returns:
        For the format, and for `onnx_int8` too if weights in eight bits were written: `_mebibytes`, the size of the
        graphs, and `_difference`, the mean absolute difference of the pictures as a share of all levels.

    Raises:
        InputError: when graphs of full precision differ by more than `MAX_DIFFERENCE`.
    """
    seeds, figures = list(range(len(texts))), dict[str, float]()
    expected = _draw_own(pipeline, texts, seeds, how).astype(np.float64)
    for name, draw, files in _variants(pipeline, folder, format_name, how):
        difference = float(np.abs(draw(texts, seeds) - expected).mean()) / LEVELS
        if difference > MAX_DIFFERENCE and "int8" not in name:
            raise InputError(f"{name}: draws other pictures than the pipeline: they differ by {difference:.2g}")
        figures[f"{name}_difference"] = difference
        figures[f"{name}_mebibytes"] = sum(file.stat().st_size for file in files) / 2**20
    return figures


def _draw_own(
    pipeline: Text2LatentPipeline, texts: Sequence[str], seeds: Sequence[int], how: GraphSettings
) -> np.ndarray:
    steps, scale = how.num_inference_steps, how.guidance_scale
    drawn = pipeline(texts, seeds=seeds, num_inference_steps=steps, guidance_scale=scale, return_scores=False)
    return np.stack([np.asarray(picture) for picture in drawn.images])


def _variants(
    pipeline: Text2LatentPipeline, folder: Path, format_name: str, how: GraphSettings
) -> list[tuple[str, Draw, list[Path]]]:
    """Name, way to draw, and files of what was written for a format."""
    if format_name == "pt2":
        program = folder / "pt2" / "text2latent.pt2"
        return [("pt2", _program_draw(pipeline, program), [program])]
    from text2latent.exports.runtime.infer_onnx import OnnxPipeline

    graphs = folder / "onnx"
    variants: list[tuple[str, Draw, list[Path]]] = [("onnx", OnnxPipeline(folder), list(graphs.glob("*[!8].onnx")))]
    if how.int8:
        variants.append(("onnx_int8", OnnxPipeline(folder, int8=True), list(graphs.glob("*.int8.onnx"))))
    return variants


def _program_draw(pipeline: Text2LatentPipeline, file: Path) -> Draw:
    with quiet():
        program = torch.export.load(file).module()

    def draw(texts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        noise = initial_noise(seeds, pipeline.prior.latent_shape)
        with torch.no_grad():
            return to_uint8(program(tokens=pipeline.clip.tokenize(texts), noise=noise))

    return draw
