"""Draw the README's pictures: for each of its texts, a row of images, just as infer.py draws them."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from text2latent import infer
from text2latent.benchmarks.report import script_parser
from text2latent.common.command import CommandParser, check_output_folder, run_command, seed

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images"
NUM_IMAGES = 4
TEXTS = {
    "woman-glasses": "blonde woman with glasses",
    "old-man-hat": "an old man with a white beard and a hat",
    "child-forest": "a smiling child with curly red hair in a forest",
    "josei-megane": "眼鏡をかけた金髪の女性",
    "dansei-yuuyake": "夕焼けの前で怒っている男性",
    "obaasan-umi": "海辺で微笑むサングラスのおばあさん",
}
"""The text of each picture, by the name of its file."""


def build_parser() -> CommandParser:
    """The flags of this script."""
    parser = script_parser("readme_picture", __doc__)
    add = parser.add_argument
    add("--model", default="faces", metavar="MODEL", help="A zoo name, a run or prior folder, or a checkpoint.")
    add("--seed", type=seed, default=0, metavar="N", help="Seed of each text's first image.")
    add("--output", default=str(FOLDER), metavar="FOLDER", help="Folder of the pictures; those there are replaced.")
    return parser


def run(config: Namespace) -> int:
    """Draw all pictures, or as many as go well; returns the exit code."""
    folder = check_output_folder(config.output)
    for name, text in TEXTS.items():
        settings = ("--model", config.model, "--num-images", str(NUM_IMAGES), "--seed", str(config.seed), "--grid")
        code = infer.main(["--text", text, *settings, "--output", str(folder / f"{name}.png"), "--overwrite"])
        if code != 0:
            return code
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
