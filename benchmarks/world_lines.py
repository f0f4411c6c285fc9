"""Count the lines that each world of the zoo is made of, by what they are.

    python benchmarks/world_lines.py --json benchmarks/world_lines.json
    python benchmarks/tables.py --only world-lines

A world is to be a renderer, grammars and a YAML file: whatever else it has of code is a figure with the target 0.
Lines that are blank don't count, nor do files that hold a docstring alone.
"""

from __future__ import annotations

import ast
import re
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from text2latent.benchmarks.report import Figure, Measure, add_report_flags, run_parts, script_parser
from text2latent.common.command import CommandParser
from text2latent.zoo.world import World, load_world, world_names

KINDS = ("renderer", "grammar", "words", "world.yaml", "other code")
OTHER = KINDS[-1]


def kind_of(world: World, file: Path) -> str | None:
    """What a file of a world's folder is, one of `KINDS`; None for what is no source."""
    folder = Path(file.relative_to(world.folder).parts[0]).stem
    if file.suffix == ".py":
        return {re.split("[.:]", world.renderer)[0]: "renderer", "language": "grammar"}.get(folder, OTHER)
    if folder == "language":
        return "words"
    return "world.yaml" if file.name == "world.yaml" else None


def count_lines(file: Path) -> int:
    """Lines of a file that aren't blank; 0 for a module that holds a docstring alone."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py" and all(isinstance(node, ast.Expr) for node in ast.parse(text).body):
        return 0
    return sum(bool(line.strip()) for line in text.splitlines())


def lines_of(world: World) -> Counter[str]:
    """The lines of a world by what they are, all of `KINDS`."""
    lines = Counter(dict.fromkeys(KINDS, 0))
    for file in (path for path in world.folder.rglob("*") if path.is_file() and "weights" not in path.parts):
        if kind := kind_of(world, file):
            lines[kind] += count_lines(file)
    return lines


def figures(_: Namespace) -> list[Figure]:
    return [
        Figure(f"{name}, {kind}", count, "lines", target=0.0 if kind == OTHER else None, at_most=True)
        for name in world_names()
        for kind, count in lines_of(load_world(name)).items()
    ]


PARTS: dict[str, Measure] = {"lines": figures}


def build_parser() -> CommandParser:
    parser = script_parser("world_lines", __doc__)
    add_report_flags(parser, PARTS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run_parts(PARTS, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
