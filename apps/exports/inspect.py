"""Tell what a model, a dataset, an exported file or a picture was made with: `text2latent inspect ANY`."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence

from text2latent.common.command import CommandParser, run_command


def build_parser() -> CommandParser:
    """The flags of `text2latent inspect`."""
    parser = CommandParser("inspect", __doc__)
    add = parser.add_argument
    add("source", metavar="ANY",
        help="A zoo name, a run, prior, exported, generator, CLIP or dataset folder, a checkpoint, an exported .onnx "
        "or .pt2 file, a picture drawn by text2latent, or an https:// or hf:// address of one.")  # fmt: skip
    add("--json", action="store_true", help="Print everything as JSON.")
    return parser


def run(config: Namespace) -> None:
    """Read what the source tells of itself and print it."""
    from text2latent.apps.exports.inspection import inspect_source, summary

    found = inspect_source(config.source)
    print(json.dumps(found, ensure_ascii=False, indent=2) if config.json else summary(found))


def main(argv: Sequence[str] | None = None) -> int:
    """Run `text2latent inspect`; returns the exit code."""
    return run_command(build_parser(), run, argv, "nothing was written")


if __name__ == "__main__":
    sys.exit(main())
