"""The notebook from a pickle to pictures, with a pickle that is small."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from text2latent.tests.conftest import save_tiny_clip

NOTEBOOK = Path(__file__).parents[2] / "examples" / "your_stylegan.ipynb"
PICKLE = Path(__file__).parents[1] / "data" / "generators" / "sg2ada-64.pkl"
PATIENCE = 900
"""Seconds for a cell: even a machine that does much else needs a tenth of them."""


def read() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_the_notebook_is_kept_without_results() -> None:
    nbformat.validate(read())
    assert all(not cell.outputs and cell.execution_count is None for cell in read().cells if cell.cell_type == "code")


@pytest.mark.slow
def test_a_pickle_becomes_pictures_of_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = save_tiny_clip(tmp_path / "clip")
    settings = {"PICKLE": PICKLE, "CLIP": clip, "NUM_PAIRS": 80, "MAX_STEPS": 4, "FOLDER": tmp_path / "made"}
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    ran = NotebookClient(read(), timeout=PATIENCE, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert (tmp_path / "made/old-man.png").is_file()
    outputs = [output for cell in ran.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    printed = "".join(output.get("text", "") for output in outputs)
    assert "StyleGAN2Generator latents (4, " in printed
    assert "80 pairs in" in printed
    assert "CLIP scores [" in printed
