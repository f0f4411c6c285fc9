"""Exported ONNX graphs: the same latents and pictures as torch, drawn without it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from text2latent.apps.exports import onnx_folder
from text2latent.apps.exports.runtime.infer_onnx import OnnxPipeline
from text2latent.common.errors import InputError
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.tests.apps.exports.alone import JAPANESE, PROVENANCE, SEED, TEXT, mean_difference, pixels, run_alone
from text2latent.tests.apps.exports.conftest import Drawn

TEXTS, SEEDS = [TEXT, JAPANESE, "old man with a hat"], [0, 7, 2**40 + 3]
LIMIT_OF_INT8 = 4.0
"""Levels of 255, on the mean: weights in eight bits change a picture, but not what it shows."""


@pytest.fixture(scope="module")
def drawn(faces: Text2LatentPipeline):
    """Our own latents and pictures of `TEXTS` and `SEEDS`."""
    return faces(TEXTS, seeds=SEEDS)


def test_onnxruntime_alone_draws_the_picture_of_infer(
    faces_export: Path, onnx_python: Path, expected: Drawn, tmp_path: Path
) -> None:
    script = faces_export / "infer_onnx.py"
    run_alone(onnx_python, tmp_path, script, TEXT, "--seed", str(SEED), "--output", "onnx.png")
    assert mean_difference(pixels(tmp_path / "onnx.png"), expected.picture) <= 1


def test_latents_and_images_are_those_of_torch(faces_export: Path, drawn) -> None:
    pipeline = OnnxPipeline(faces_export)
    latents, expected = pipeline.latents(TEXTS, SEEDS), drawn.latents.numpy()
    assert np.linalg.norm(latents - expected) <= 1e-3 * np.linalg.norm(expected)
    for ours, theirs in zip(pipeline(TEXTS, SEEDS), drawn.images, strict=True):
        assert mean_difference(ours, np.asarray(theirs)) <= 1


def test_any_batch_gives_the_same_images(faces_export: Path) -> None:
    pipeline = OnnxPipeline(faces_export)
    together = pipeline(TEXTS, SEEDS)
    alone = np.concatenate([pipeline([text], [seed]) for text, seed in zip(TEXTS, SEEDS, strict=True)])
    assert np.abs(together.astype(int) - alone).max() <= 1


def test_eight_bits_are_a_quarter_of_the_size_and_draw_nearly_the_same(faces_export: Path, drawn) -> None:
    sizes = {path.name: path.stat().st_size for path in (faces_export / "onnx").glob("*.onnx")}
    packed = {name: size for name, size in sizes.items() if name.endswith(".int8.onnx")}
    assert sorted(packed) == ["generator.int8.onnx", "text_encoder.int8.onnx"]
    assert sum(packed.values()) < 0.35 * sum(sizes[name.replace(".int8", "")] for name in packed)
    images = OnnxPipeline(faces_export, int8=True)(TEXTS, SEEDS)
    differences = [mean_difference(ours, np.asarray(theirs)) for ours, theirs in zip(images, drawn.images, strict=True)]
    assert 0 < max(differences) < LIMIT_OF_INT8


def test_an_export_without_eight_bits_has_none_to_draw_with(faces_export: Path, tmp_path: Path) -> None:
    settings = json.loads((faces_export / "onnx" / "settings.json").read_text())
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "settings.json").write_text(json.dumps({**settings, "int8": []}))
    with pytest.raises(FileNotFoundError, match="expected weights in eight bits"):
        OnnxPipeline(tmp_path, int8=True)


def test_size_and_accuracy_are_told(faces_export: Path) -> None:
    metrics = json.loads((faces_export / "text2latent.json").read_text())["export"]["metrics"]
    graphs = [*(faces_export / "onnx").glob("*.int8.onnx"), faces_export / "onnx" / "sampler.onnx"]
    packed = sum(path.stat().st_size for path in graphs)
    assert metrics["onnx_int8_mebibytes"] == pytest.approx(packed / 2**20)
    assert metrics["onnx_difference"] <= 1 / 255
    assert 0 < metrics["onnx_int8_difference"] < LIMIT_OF_INT8 / 255
    card = (faces_export / "README.md").read_text()
    assert all(
        f"| onnx_int8_{name} | {metrics[f'onnx_int8_{name}']:.4g} |" in card for name in ("mebibytes", "difference")
    )


def test_graphs_are_valid_and_carry_the_record(faces_export: Path) -> None:
    record = json.loads((faces_export / "text2latent.json").read_text())
    for path in (faces_export / "onnx").glob("*.onnx"):
        model = onnx.load(path)
        onnx.checker.check_model(model)
        carried = json.loads({one.key: one.value for one in model.metadata_props}["text2latent"])
        assert {name: carried[name] for name in PROVENANCE} == {name: record[name] for name in PROVENANCE}
        shapes = [value.type.tensor_type.shape for value in (*model.graph.input, *model.graph.output)]
        assert {shape.dim[0].dim_param for shape in shapes} == {"batch"}


def test_script_is_short_and_needs_no_torch(faces_export: Path) -> None:
    code = [line for line in (faces_export / "infer_onnx.py").read_text().splitlines() if line.strip()]
    assert len(code) <= 60
    assert "torch\n" not in (faces_export / "clip_text.py").read_text()


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(InputError, match=r"^--format onnx needs onnxscript, not installed here; pip .*\[export\]"):
        onnx_folder.require_packages()
