"""ONNX files with weights in eight or sixteen bits, a quarter or half of the size; computation stays in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

MIN_WEIGHTS = 1024
"""Smaller tensors, such as biases, are kept: they weigh little and err much."""
LEVELS = 127


def quantize_weights(source: Path, target: Path) -> None:
    """Write an ONNX file whose large weights are int8 with a scale per channel, unpacked by DequantizeLinear.

    Args:
        source: ONNX file with float32 weights.
        target: the file to write.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(source)
    graph, unpacking = model.graph, []
    for weight in [one for one in graph.initializer if _is_large(one)]:
        values = numpy_helper.to_array(weight)
        if not np.isfinite(values).all():
            continue  # a mask
        levels, scales, axis = quantize(values)
        packed = {"levels": levels, "scales": scales}
        names = {part: f"{weight.name}.{part}" for part in packed}
        graph.initializer.remove(weight)
        graph.initializer.extend(numpy_helper.from_array(packed[part], names[part]) for part in packed)
        unpacking.append(helper.make_node("DequantizeLinear", list(names.values()), [weight.name], axis=axis))
    for node in reversed(unpacking):
        graph.node.insert(0, node)
    onnx.save(model, target)


def halve_weights(source: Path, target: Path) -> None:
    """Write an ONNX file whose large weights are float16 wherever that changes none of them, widened by Cast.

    Args:
        source: ONNX file; of its float32 weights, those that were rounded to half precision once are exact in it.
        target: the file to write.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(source)
    graph = model.graph
    for weight in [one for one in graph.initializer if _is_large(one)]:
        values = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if np.array_equal(halves.astype(np.float32), values):
            name = f"{weight.name}.half"
            graph.initializer.remove(weight)
            graph.initializer.append(numpy_helper.from_array(halves, name))
            graph.node.insert(0, helper.make_node("Cast", [name], [weight.name], to=TensorProto.FLOAT))
    onnx.save(model, target)


def quantize(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Symmetric int8 with a scale per index of one axis: the axis that errs less, of the first and the last two.

    Args:
        weights: float32, of at least two dimensions.

    Returns:
        `(levels, scales, axis)`: int8 of the weights' shape, float32 `[shape[axis]]`, and the axis;
        `levels * scales` along that axis is close to the weights, within half a scale each.
    """
    candidates = [(*_quantize_along(weights, axis), axis) for axis in sorted({0, 1, weights.ndim - 1})]
    return min(candidates, key=lambda one: float(np.square(dequantize(*one) - weights).sum()))


def dequantize(levels: np.ndarray, scales: np.ndarray, axis: int) -> np.ndarray:
    """Inverse of `quantize`, up to rounding."""
    shape = [-1 if i == axis else 1 for i in range(levels.ndim)]
    return levels.astype(np.float32) * scales.reshape(shape)


def _quantize_along(weights: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    others = tuple(i for i in range(weights.ndim) if i != axis)
    largest = np.abs(weights).max(axis=others, keepdims=True)
    scales = np.where(largest > 0, largest / LEVELS, 1).astype(np.float32)
    return np.rint(weights / scales).astype(np.int8), scales.ravel()


def _is_large(weight: Any) -> bool:
    from onnx import TensorProto

    return weight.data_type == TensorProto.FLOAT and len(weight.dims) >= 2 and np.prod(weight.dims) >= MIN_WEIGHTS
