"""The main path of each verb, in an environment with the core alone: `python route.py --help`.

It needs nothing of this project but what is installed, so it shows whether a verb asks for more than its page says.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

PICKLE = Path(__file__).resolve().parents[1] / "data" / "generators" / "sg2ada-64.pkl"
TEXT = "blonde woman with glasses"
HINT = "not installed here; pip install"
Run = Callable[[Sequence[str]], tuple[int, str, str]]
"""Runs `text2latent WORDS...`; gives exit code, stdout and stderr."""

MAIN_PATHS: tuple[tuple[str | list[str], list[str]], ...] = (
    ("sample --num-pairs 100 --output pairs --device cpu", ["pairs/manifest.json", "pairs/statistics.npz"]),
    ("verify pairs", []),
    (
        "train --config faces --data.path pairs --output run --max_steps 4 --validation.every_steps 4 --device cpu "
        "--validation.num_images 1 --validation.num_captions 2 --validation.steps 1",
        ["run/grids/step-00000004.png", "run/prior/text2latent.json", "run/checkpoints/last.ckpt"],
    ),
    (["infer", "--text", TEXT, "--model", "run", "--output", "face.png"], ["face.png"]),
    (["infer", "--interpolate", TEXT, "a bald man", "--frames", "3", "--output", "way.gif"], ["way.gif"]),
    (["optimize", "an old man", "--iterations", "2", "--output", "searched"], ["searched/best.png"]),
    (
        ["project", "face.png", "--steps", "2", "--edit", "a man", "a woman", "--output", "found"],
        ["found/face.npz", "found/face-edited.png"],
    ),
    (f"convert {PICKLE} generator", ["generator/config.json"]),
    ("inspect generator", []),
    ("inspect run", []),
    ("inspect pairs", []),
    ("inspect face.png", []),
    (
        "export run exported --format diffusers",
        ["exported/model_index.json", "exported/clip/open_clip_config.json"],
    ),
    ("inspect exported", []),
    (["infer", "--text", TEXT, "--model", "exported", "--output", "again.png"], ["again.png"]),
    ("classify face.png --clip exported/clip --labels labels.txt --device cpu --top 1", []),
)
"""What is typed, and the files that it must leave."""

LONGER = (("export run traced --format pt2 --compile no --steps 2", ["traced/pt2/text2latent.pt2"]),)
"""The same, of what takes tens of seconds."""

BEYOND = (
    ("serve --port 0", "serve"),
    ("evaluate --prompts labels.txt --output measured", "evaluate"),
    ("optimize --compare adam,sgd --text hat --iterations 1 --output study", "evaluate"),
    ("project face.png --output looked --lpips-weights vgg.pth", "project"),
    ("export run onnx --format onnx", "export"),
    (["infer", "--interpolate", "hat", "beard", "--frames", "2", "--output", "way.mp4"], "video"),
    ("train --data.path pairs --output other --wandb project --device cpu --max_steps 1", "logging"),
    ("sample --output s3://bucket/pairs --num-pairs 10", "s3"),
    ("verify gs://bucket/pairs", "gs"),
)
"""What is typed, and the extra that it needs: one line says so, and nothing is left."""


def in_new_process(words: Sequence[str]) -> tuple[int, str, str]:
    ran = subprocess.run([sys.executable, "-m", "text2latent", *words], capture_output=True, text=True)
    return ran.returncode, ran.stdout, ran.stderr


def in_this_process(words: Sequence[str]) -> tuple[int, str, str]:
    """Run the command without a new start of Python and torch."""
    from text2latent.__main__ import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(words))
    return code, out.getvalue(), err.getvalue()


def as_words(command: str | list[str]) -> list[str]:
    return command.split() if isinstance(command, str) else command


def check_main_paths(run: Run, paths: Sequence[tuple[str | list[str], list[str]]]) -> None:
    """Run the main path of each verb; all must succeed and leave their files."""
    for command, files in paths:
        words = as_words(command)
        code, out, err = run(words)
        missing = [name for name in files if not Path(name).is_file()]
        if code or missing or "Traceback" in err:
            found = f"exit code {code}, missing files {missing}\n{out[-2000:]}{err[-4000:]}"
            sys.exit(f"text2latent {' '.join(words)}: {found}")
        print(f"ran      text2latent {' '.join(words)}", flush=True)
    if "attribute_accuracy" not in Path("run/checkpoints/metrics.json").read_text(encoding="utf-8"):
        sys.exit("train: expected the judge's attribute_accuracy in metrics.json")


def check_what_is_beyond(run: Run) -> None:
    """Run what needs extras; one line must say which, and how to get it."""
    for command, extra in BEYOND:
        words, before = as_words(command), sorted(os.listdir())
        code, out, err = run(words)
        lines = err.strip().splitlines()
        if code != 1 or len(lines) != 1 or HINT not in lines[0] or sorted(os.listdir()) != before:
            sys.exit(f"text2latent {' '.join(words)}: expected one line on {extra}, got {code}\n{out}{err[-4000:]}")
        print(f"refused  {lines[0]}", flush=True)


def main() -> None:
    """Run everything in the current folder, which should be empty and none of this repository."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one-process", action="store_true", help="run all but the longest in this process: quicker")
    quick = parser.parse_args().one_process
    run = in_this_process if quick else in_new_process
    Path("labels.txt").write_text("hat\nbeard\n", encoding="utf-8")
    check_main_paths(run, MAIN_PATHS if quick else (*MAIN_PATHS, *LONGER))
    check_what_is_beyond(run)


if __name__ == "__main__":
    main()
