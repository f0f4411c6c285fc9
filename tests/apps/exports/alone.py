"""Drawing without this project, and comparing pictures."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

TEXT, JAPANESE, SEED = "blonde woman with glasses", "眼鏡をかけた金髪の女性", 0
PROVENANCE = ("generator", "clip", "dataset", "training", "versions", "metrics")
"""What every artefact records of how its model was made."""
NOISE, NOISY_SHARE = 1e-5, 1e-3
"""What float rounding may change: latents by so much, and so many of a picture's values by one level.

A level changes where a value lies on the border of two. With noise of 1e-6 that is about one value in 4,000."""
PATIENCE = 900
"""Seconds after which a process has hung: even a machine that does much else needs a tenth of them."""


def run_alone(python: str | Path, folder: Path, *arguments: str | Path, **variables: str) -> str:
    """Run a Python in `folder`, with the same environment variables whichever it is, and these; what it printed."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    environment = {**kept, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub"), **variables}
    command = [str(python), *map(str, arguments)]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def mean_difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def assert_same_picture(one: np.ndarray, other: np.ndarray) -> None:
    """Refuse pictures that differ by more than what float rounding does."""
    differences = np.abs(one.astype(int) - other.astype(int))
    assert differences.max() <= 1, f"a value differs by {differences.max()} levels"
    assert (differences > 0).mean() <= NOISY_SHARE, f"{(differences > 0).sum()} of {differences.size} values differ"
