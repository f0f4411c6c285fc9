"""Whether exported graphs draw what the pipeline draws, told in the record and the model card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from text2latent.configs.errors import InputError
from text2latent.exports.networks import GraphSettings
from text2latent.exports.runtime.infer_onnx import OnnxPipeline
from text2latent.models.pipeline import Text2LatentPipeline

LEVELS = 255
MAX_DIFFERENCE = 1 / LEVELS
VARIANTS = {"onnx": ("*[!8].onnx", False), "onnx_int8": ("*.int8.onnx", True)}


def compare_onnx(
    pipeline: Text2LatentPipeline, folder: Path, texts: Sequence[str], how: GraphSettings
) -> dict[str, float]:
    """Draw a picture per text with the graphs of an exported folder and with the pipeline.

    Args:
        pipeline: what was exported.
        folder: with `onnx/`.
        texts: what to draw, with the seeds 0, 1, ...
        how: what became part of the graphs.

    Returns:
        For `onnx`, and `onnx_int8` if weights in eight bits were written: `_mebibytes`, the size of the graphs, and
        `_difference`, the mean absolute difference of the pictures as a share of all levels.

    Raises:
        InputError: when the graphs of full precision differ by more than `MAX_DIFFERENCE`.
    """
    seeds = list(range(len(texts)))
    drawn = pipeline(
        texts,
        seeds=seeds,
        num_inference_steps=how.num_inference_steps,
        guidance_scale=how.guidance_scale,
        return_scores=False,
    )
    expected = np.stack([np.asarray(picture, dtype=np.float64) for picture in drawn.images])
    figures: dict[str, float] = {}
    for name, (pattern, int8) in VARIANTS.items():
        files = list((folder / "onnx").glob(pattern))
        if files:
            difference = float(np.abs(OnnxPipeline(folder, int8)(texts, seeds) - expected).mean()) / LEVELS
            figures[f"{name}_difference"] = difference
            figures[f"{name}_mebibytes"] = sum(file.stat().st_size for file in files) / 2**20
    if figures["onnx_difference"] > MAX_DIFFERENCE:
        raise InputError(f"onnx: draws other pictures than torch: they differ by {figures['onnx_difference']:.2g}")
    return figures
