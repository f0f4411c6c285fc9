"""Weights in eight bits: within half a step of what they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import TensorProto, helper, numpy_helper

from text2latent.apps.exports.quantization import MIN_WEIGHTS, dequantize, halve_weights, quantize, quantize_weights

weights_of_any_shape = array_shapes(min_dims=2, max_dims=4, max_side=6).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.floats(-100, 100, width=32))
)


@given(weights_of_any_shape)
def test_error_is_at_most_half_a_step(weights: np.ndarray) -> None:
    levels, scales, axis = quantize(weights)
    assert levels.dtype == np.int8
    assert scales.shape == (weights.shape[axis],)
    step = np.broadcast_to(scales.reshape([-1 if i == axis else 1 for i in range(weights.ndim)]), weights.shape)
    assert (np.abs(dequantize(levels, scales, axis) - weights) <= step * 0.501 + 1e-30).all()


def test_axis_that_errs_less_is_chosen() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(64, 32)).astype(np.float32)
    assert quantize(weights * np.logspace(-3, 3, 64, dtype=np.float32)[:, None])[2] == 0
    assert quantize(weights * np.logspace(-3, 3, 32, dtype=np.float32))[2] == 1


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """x @ large + small, with a mask of minus infinity added."""
    rng = np.random.default_rng(1)
    tensors = {
        "large": rng.normal(size=(MIN_WEIGHTS // 16, 16)).astype(np.float32),
        "small": rng.normal(size=(1, 16)).astype(np.float32),
        "mask": np.where(np.arange(MIN_WEIGHTS).reshape(-1, 16) > 20, -np.inf, 0).astype(np.float32),
    }
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [MIN_WEIGHTS // 16, MIN_WEIGHTS // 16])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    nodes = [
        helper.make_node("MatMul", ["x", "large"], ["product"]),
        helper.make_node("Add", ["product", "small"], ["sum"]),
        helper.make_node("Add", ["sum", "mask"], ["y"]),
    ]
    weights = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "test", inputs, outputs, weights), opset_imports=[helper.make_opsetid("", 20)]
    )
    model.ir_version = 9
    onnx.save(model, tmp_path / "graph.onnx")
    return tmp_path / "graph.onnx"


def test_graph_with_packed_weights_gives_nearly_the_same(graph: Path, tmp_path: Path) -> None:
    target = tmp_path / "packed.onnx"
    quantize_weights(graph, target)
    x = {"x": np.random.default_rng(2).normal(size=(MIN_WEIGHTS // 16, MIN_WEIGHTS // 16)).astype(np.float32)}
    exact, packed = (onnxruntime.InferenceSession(path).run(None, x)[0] for path in (graph, target))
    finite = np.isfinite(exact)
    assert (np.isfinite(packed) == finite).all()
    assert 0 < np.abs(packed[finite] - exact[finite]).max() < 0.5
    kinds = {one.name: one.data_type for one in onnx.load(target).graph.initializer}
    assert kinds == {
        "small": TensorProto.FLOAT,
        "mask": TensorProto.FLOAT,
        "large.levels": TensorProto.INT8,
        "large.scales": TensorProto.FLOAT,
    }


def test_halves_change_nothing_and_are_taken_where_they_are_exact(graph: Path, tmp_path: Path) -> None:
    model = onnx.load(graph)
    (large,) = [one for one in model.graph.initializer if one.name == "large"]
    rounded = numpy_helper.to_array(large).astype(np.float16).astype(np.float32)
    large.CopyFrom(numpy_helper.from_array(rounded, "large"))
    odd = np.full((MIN_WEIGHTS // 16, 16), 1e6, np.float32)  # beyond what half precision holds
    model.graph.initializer.append(numpy_helper.from_array(odd, "odd"))
    model.graph.node[-1].output[0] = "total"
    model.graph.node.append(helper.make_node("Add", ["total", "odd"], ["y"]))
    onnx.save(model, graph)
    target = tmp_path / "halved.onnx"
    halve_weights(graph, target)
    x = {"x": np.random.default_rng(2).normal(size=(MIN_WEIGHTS // 16, MIN_WEIGHTS // 16)).astype(np.float32)}
    exact, halved = (onnxruntime.InferenceSession(path).run(None, x)[0] for path in (graph, target))
    np.testing.assert_array_equal(halved, exact)
    kinds = {one.name: one.data_type for one in onnx.load(target).graph.initializer}
    half, single = TensorProto.FLOAT16, TensorProto.FLOAT
    assert kinds == {"small": single, "odd": single, "mask.half": half, "large.half": half}
