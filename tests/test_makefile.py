"""The Makefile: its demo calls the verbs with flags that they know, in an order that can be taken up again."""

import importlib
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STEPS = ("pairs.done", "train.done", "shipped.png", "demo.png", "comparison.png")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")


def planned(demo: Path, venv: Path) -> list[list[str]]:
    """List the commands that `make demo` would run, but for its messages."""
    # The environment counts as built: what is planned here is the demo.
    (venv / "bin").mkdir(parents=True, exist_ok=True)
    for mark in ("bin/python", ".installed"):
        (venv / mark).touch()
    command = ["make", "--dry-run", "demo", f"DEMO={demo}", f"VENV={venv}"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [shlex.split(line) for line in ran.stdout.replace("\\\n", " ").splitlines()]
    return [words[words.index("-m") + 1 :] for words in lines if "-m" in words and "text2latent" in words[2]]


def test_demo_runs_the_three_verbs_with_flags_that_they_know(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    commands = planned(tmp_path / "demo", tmp_path / "venv")
    assert [words[1] for words in commands if words[0] == "text2latent"].count("infer") == 2
    assert {words[1] for words in commands if words[0] == "text2latent"} == {"sample", "train", "infer"}
    for module, *arguments in commands:
        verb = arguments.pop(0) if module == "text2latent" else "zoo.side_by_side"
        assert importlib.import_module(f"text2latent.{verb}").build_parser().parse(arguments)


@pytest.mark.parametrize("done", range(len(STEPS) + 1))
def test_demo_goes_on_after_the_steps_that_are_through(tmp_path, done):
    demo = tmp_path / "demo"
    everything = planned(demo, tmp_path / "venv")
    assert len(everything) == len(STEPS)
    demo.mkdir()
    for step in STEPS[:done]:
        (demo / step).touch()
    assert len(planned(demo, tmp_path / "venv")) == len(STEPS) - done


def test_every_target_of_the_help_exists():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [line.split('"')[1].split()[1] for line in text.splitlines() if line.startswith('\t@echo "make ')]
    assert len(targets) >= 7
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=True)
