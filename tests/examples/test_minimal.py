"""The method in plain torch, run as a newcomer runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

SCRIPT = Path(__file__).parents[2] / "examples" / "minimal.py"
MOST_LINES = 60


def test_the_method_is_short() -> None:
    source = SCRIPT.read_text(encoding="utf-8")
    assert sum(1 for line in source.splitlines() if line.strip()) <= MOST_LINES
    assert "lightning" not in source


def test_few_pairs_already_bring_images_nearer_to_a_text(tmp_path: Path) -> None:
    flags = ["blonde woman with glasses", "--pairs", "192", "--steps", "150", "--output", str(tmp_path / "a.png")]
    ran = subprocess.run([sys.executable, str(SCRIPT), *flags], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    drawn, random = map(float, re.findall(r"\d\.\d+", ran.stdout))
    assert drawn > random
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 3 * picture.height
