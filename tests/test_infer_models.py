"""What goes into --model: all forms of one model draw the same, and report the same of how it was made."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from text2latent.apps.exports import command as export
from text2latent.apps.exports import inspect as inspect_
from text2latent.tests.hub_server import files_of, serve_hub
from text2latent.tests.pictures import TEXT, Infer, differ, pixels

DRAW_AND_INSPECT = """
import sys
from text2latent import infer
from text2latent.apps.exports import inspect as inspect_
model, text = sys.argv[1:]
flags = ["--text", text, "--device", "cpu", "--output", "a.png", "--save-latents", "a.npz", "--json"]
assert infer.main(["--model", model, *flags]) == 0
assert inspect_.main([model, "--json"]) == 0
"""


@pytest.fixture(scope="module")
def run_export(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "run"
    assert export.main([str(tiny_run), str(folder)]) == 0
    return folder


def latents(path: str | Path) -> np.ndarray:
    with np.load(path) as arrays:
        return arrays["w"]


@pytest.fixture
def drawn(run_infer: Infer, tiny_run: Path) -> tuple[np.ndarray, bytes]:
    flags = ("--text", TEXT, "--output", "run.png", "--save-latents", "run.npz")
    assert run_infer(*flags, model=str(tiny_run))[0] == 0
    return latents("run.npz"), pixels("run.png")


@pytest.mark.parametrize("form", ["checkpoint", "prior folder", "exported folder"])
def test_all_forms_of_a_model_draw_the_same(
    run_infer: Infer, tiny_run: Path, run_export: Path, drawn: tuple[np.ndarray, bytes], form: str
) -> None:
    models = {
        "checkpoint": tiny_run / "checkpoints" / "last.ckpt",
        "prior folder": tiny_run / "prior",
        "exported folder": run_export,
    }
    flags = ("--text", TEXT, "--output", "a.png", "--save-latents", "a.npz")
    code, _, error = run_infer(*flags, model=str(models[form]))
    assert (code, error) == (0, "")
    np.testing.assert_allclose(latents("a.npz"), drawn[0], atol=1e-5, rtol=1e-5)
    assert differ(pixels("a.png"), drawn[1]) <= 1


def test_an_exported_folder_on_the_hub_is_a_model_too(
    run_export: Path, drawn: tuple[np.ndarray, bytes], tmp_path: Path
) -> None:
    with serve_hub(files_of(run_export)) as variables:
        environment = {**os.environ, **variables, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-c", DRAW_AND_INSPECT, "hf://org/net", TEXT]
        ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    np.testing.assert_allclose(latents(tmp_path / "a.npz"), drawn[0], atol=1e-5, rtol=1e-5)
    assert differ(pixels(tmp_path / "a.png"), drawn[1]) <= 1
    assert '"kind": "exported folder, its networks as written"' in ran.stdout


def test_a_zoo_name_is_a_model(run_infer: Infer) -> None:
    code, out, _ = run_infer("--text", TEXT, "--json", model="faces")
    assert code == 0
    assert json.loads(out)["generator"]["name"] == "faces"


def inspect(source: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert inspect_.main([str(source), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def digest_of(data: object) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def test_an_export_of_a_run_tells_all_that_it_was_made_with(
    run_export: Path, tiny_run: Path, tiny_pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, pairs = (inspect(source, capsys) for source in (run_export, tiny_pairs))
    manifest = json.loads((tiny_pairs / "manifest.json").read_text())
    assert report["dataset"]["sha256"] == pairs["sha256"] == digest_of(manifest)
    assert report["dataset"]["num_pairs"] == 50
    for part in ("generator", "clip"):
        assert report[part]["sha256"] == manifest[part]["sha256"]
    config = yaml.safe_load((tiny_run / "config.yaml").read_text())
    assert {key: report["training"][key] for key in ("max_steps", "seed", "prior")} == {
        key: config[key] for key in ("max_steps", "seed", "prior")
    }
    assert report["versions"]["torch"] == report["export"]["versions"]["torch"] == torch.__version__.split("+")[0]
    assert {"val_loss", "step"} <= set(report["metrics"])
    assert "clip_score_of_samples" in report["export"]["metrics"]
