"""The notebook from a pickle to pictures, with a pickle that is small."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from text2latent.tests.conftest import save_tiny_clip

NOTEBOOK = Path(__file__).parents[2] / "examples" / "your_stylegan.ipynb"
PICKLE = Path(__file__).parents[1] / "data" / "generators" / "sg2ada-64.pkl"
PATIENCE = 900
"""Seconds for a cell: even a machine that does much else needs a tenth of them."""


def read() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, max_steps: int) -> nbformat.NotebookNode:
    """Run all cells in `folder`, on a kernel that finds no program of its environment, as that of an editor may."""
    clip = save_tiny_clip(folder / "clip")
    settings = {"PICKLE": PICKLE, "CLIP": clip, "NUM_PAIRS": 80, "MAX_STEPS": max_steps, "FOLDER": folder / "made"}
    for name, value in {**settings, "CUDA_VISIBLE_DEVICES": "", "PATH": os.defpath}.items():
        monkeypatch.setenv(name, str(value))
    notebook = read()
    try:
        NotebookClient(notebook, timeout=PATIENCE, resources={"metadata": {"path": str(folder)}}).execute()
    except CellExecutionError as stopped:
        pytest.fail(f"{printed(notebook)}\n{stopped}")
    return notebook


def printed(notebook: nbformat.NotebookNode) -> str:
    return "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))


def test_the_notebook_is_kept_without_results() -> None:
    nbformat.validate(read())
    assert all(not cell.outputs and cell.execution_count is None for cell in read().cells if cell.cell_type == "code")


@pytest.mark.slow
def test_a_pickle_becomes_pictures_of_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run(tmp_path, monkeypatch, max_steps=4)
    assert (tmp_path / "made/old-man.png").is_file()
    outputs = [output for cell in ran.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert "StyleGAN2Generator latents (4, " in printed(ran)
    assert "80 pairs in" in printed(ran)
    assert "CLIP scores [" in printed(ran)


@pytest.mark.slow
def test_a_command_that_fails_stops_the_notebook_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"(?s)--max-steps.*train failed: its last line says why"):
        run(tmp_path, monkeypatch, max_steps=0)
