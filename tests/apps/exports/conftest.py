"""A small export, what the faces world draws, and environments without text2latent to draw the same."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import DiffusionPipeline

from text2latent import infer
from text2latent.apps.exports import command as export
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.tests.apps.exports.alone import SEED, TEXT, pixels, run_alone
from text2latent.tests.apps.exports.environments import environment


@pytest.fixture(scope="session")
def tiny_export(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a diffusers folder; read only."""
    folder = tmp_path_factory.mktemp("exports") / "tiny"
    assert export.main([str(tiny_model), str(folder)]) == 0
    return folder


@pytest.fixture
def load(tiny_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Function (source=the tiny export, **how) that loads with diffusers, whose copies of custom code go to a folder of
    this test.
    """
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))

    def load(source: Path = tiny_export, **how: Any) -> Any:
        pipe = DiffusionPipeline.from_pretrained(
            str(source), custom_pipeline=str(source), trust_remote_code=True, **how
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return load


@pytest.fixture(scope="session")
def faces() -> Text2LatentPipeline:
    """Our own pipeline, as `text2latent infer` loads it by default."""
    return Text2LatentPipeline.from_pretrained("faces")


@dataclass(frozen=True)
class Drawn:
    """What `infer.py` has drawn: `latents` `[1, L, D]`, and the `picture` `[H, W, 3]`."""

    latents: np.ndarray
    picture: np.ndarray


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """What `infer.py` draws of `TEXT` and `SEED` in a process of its own, as the other tools are run."""
    folder = tmp_path_factory.mktemp("expected")
    flags = ("--text", TEXT, "--seed", str(SEED), "--device", "cpu", "--output", "a.png", "--save-latents", "a.npz")
    run_alone(sys.executable, folder, Path(infer.__file__), *flags)
    return Drawn(np.load(folder / "a.npz")["w"], pixels(folder / "a.png"))


@pytest.fixture(scope="session")
def diffusers_python() -> Path:
    """A Python with torch, diffusers and open_clip_torch, and nothing else."""
    return environment("exports-diffusers", ("torch", "diffusers", "open_clip_torch"))


@pytest.fixture(scope="session")
def torch_python() -> Path:
    """A Python with torch and what the script of a torch.export folder needs, and nothing else."""
    return environment("exports-torch", ("torch", "numpy", "pillow", "tokenizers"))


@pytest.fixture(scope="session")
def onnx_python() -> Path:
    """A Python with ONNX Runtime and what the script of an ONNX folder needs, and nothing else."""
    return environment("exports-onnx", ("onnxruntime", "numpy", "pillow", "tokenizers"))
