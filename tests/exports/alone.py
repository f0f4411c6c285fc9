"""Drawing without this project, and comparing pictures."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

TEXT, JAPANESE, SEED = "blonde woman with glasses", "眼鏡をかけた金髪の女性", 0


def run_alone(python: Path, folder: Path, *arguments: str | Path) -> str:
    """Run a Python without this project on its path, in `folder`; returns what it printed."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    environment = {**kept, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub")}
    command = [str(python), *map(str, arguments)]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout


def pixels(path: Path) -> np.ndarray:
    """A picture as `[H, W, 3]`."""
    return np.asarray(Image.open(path).convert("RGB"))


def mean_difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference of two pictures' levels of 255."""
    return float(np.abs(one.astype(float) - other.astype(float)).mean())
