"""The second part of docs/new_domain.md: its commands make a world from the example, in a clone that has it not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from text2latent.tests.documentation.pages import ROOT, commands_of

PAGE = ROOT / "docs" / "new_domain.md"
SOURCES = ("apps", "benchmarks", "common", "configs", "data", "examples", "inference", "models", "training", "zoo")
FEWER = ("num_steps", "num_text_steps", "num_mapping_steps", "max_steps", "every_steps", "warmup_steps")
"""Counts of the example's YAML that tests have no time for."""


def own_world_commands() -> list[str]:
    commands = commands_of(PAGE)
    return commands[next(i for i, command in enumerate(commands) if command.startswith("cp ")) :]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the sources, with an example that is fitted in seconds."""
    clone = tmp_path / "text2latent"
    leave = shutil.ignore_patterns("__pycache__", "landscapes", "faces-hard")
    for name in SOURCES:
        shutil.copytree(ROOT / name, clone / name, ignore=leave)
    for file in ROOT.glob("*.py"):
        shutil.copyfile(file, clone / file.name)
    for file in (clone / "examples" / "shapes").rglob("*.yaml"):
        text = re.sub(rf"\b({'|'.join(FEWER)}): \d+", r"\1: 2", file.read_text(encoding="utf-8"))
        file.write_text(re.sub(r"num_pairs: \d+", "num_pairs: 600", text), encoding="utf-8")
    return clone


@pytest.mark.slow
def test_a_world_is_made_of_the_example(clone: Path) -> None:
    copy, build, infer, figures = own_world_commands()
    environment = {**os.environ, "PYTHONPATH": str(clone.parent), "OMP_NUM_THREADS": "1"}
    few = "--num-renders 20 --num-z 8 --num-captions 4 --num-images 1"
    for command in (copy, build, infer, f"{figures} {few}"):
        words = command.replace("python ", f"{sys.executable} ", 1)
        ran = subprocess.run(
            words, shell=True, cwd=clone, env=environment, capture_output=True, text=True, timeout=1800
        )
        assert ran.returncode == 0, f"{command}\n{ran.stdout[-2000:]}{ran.stderr[-4000:]}"
    assert {path.name for path in (clone / "zoo/shapes/weights").iterdir()} == {"judge", "clip", "generator", "prior"}
    assert (clone / "shapes.png").is_file()
    assert "named attributes that are there (ja)" in ran.stdout
