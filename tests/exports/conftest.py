"""A small export, what the faces world draws, and environments without text2latent to draw the same."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
import torch

from text2latent import export
from text2latent.models.pipeline import Text2LatentPipeline
from text2latent.tests.exports.alone import SEED, TEXT

ONNX_PACKAGES = ("numpy", "onnxruntime", "pillow", "tokenizers")


@pytest.fixture(scope="session")
def tiny_export(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a diffusers folder; read only."""
    folder = tmp_path_factory.mktemp("exports") / "tiny"
    assert export.main([str(tiny_model), str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def faces() -> Text2LatentPipeline:
    """Our own pipeline, as `text2latent infer` loads it by default."""
    return Text2LatentPipeline.from_pretrained("faces")


@pytest.fixture(scope="session")
def expected(faces: Text2LatentPipeline) -> np.ndarray:
    """The picture of `TEXT` and `SEED` as `text2latent infer` draws it, `[H, W, 3]`."""
    with torch.random.fork_rng():
        return np.asarray(faces(TEXT, seeds=[SEED]).images[0])


@pytest.fixture(scope="session")
def torch_python() -> Path:
    """A Python with the packages of this one, torch and diffusers among them, but without text2latent.

    A virtual environment that finds this one's packages by path: the files by which an editable installation is found
    are not read there.
    """
    folder = Path(sys.prefix) / "exports-torch"
    if not (folder / "bin" / "python").exists():
        venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (packages,) = {str(Path(np.__file__).parents[1])}
    (site / "outer.pth").write_text(packages + "\n")
    return folder / "bin" / "python"


@pytest.fixture(scope="session")
def onnx_python() -> Path:
    """A Python with `ONNX_PACKAGES` and what they need, and nothing else."""
    folder = Path(sys.prefix) / "exports-onnx"
    wanted = [f"{name}=={importlib.metadata.version(name)}" for name in ONNX_PACKAGES]
    stamp = folder / "installed.txt"
    if not stamp.is_file() or stamp.read_text() != "\n".join(wanted):
        venv.create(folder, with_pip=True, clear=True, symlinks=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
        ran = subprocess.run(pip, capture_output=True, text=True)
        if ran.returncode != 0:
            reason = f"pip can't install {', '.join(wanted)}: {ran.stderr.strip().splitlines()[-1]}"
            pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
        stamp.write_text("\n".join(wanted))
    return folder / "bin" / "python"
