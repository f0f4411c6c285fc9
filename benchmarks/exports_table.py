"""Write what exported formats cost, as benchmarks/exports.py has kept it, into docs/export.md."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from text2latent.benchmarks.report import Figure, read_parts, script_parser
from text2latent.benchmarks.tables import ROOT, between
from text2latent.common.command import CommandParser, check_output_file, run_command
from text2latent.common.errors import InputError
from text2latent.common.files import replacing

FIGURES = ROOT / "benchmarks" / "exports.json"
DOCS = ROOT / "docs" / "export.md"
BEGIN, END = "<!-- costs: written by benchmarks/exports_table.py -->", "<!-- end of costs -->"
HEADS = {"formats": "tool", "int8": "weights", "compile": "program"}
"""What the rows of each part's table are."""


def markdown_tables(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """The tables of all parts, each under its command, and the machines measured on; nothing without parts."""
    known = {name: parts[name] for name in HEADS if name in parts}
    blocks = [f"`{part['command']}`\n\n{pivot(HEADS[name], part['figures'])}" for name, part in known.items()]
    machines = dict.fromkeys(part["machine"] for part in known.values())
    return "\n\n".join([*blocks, *([f"Measured on {'; '.join(machines)}."] if known else [])])


def pivot(head: str, figures: Iterable[Figure]) -> str:
    """A table of figures called `ROW, COLUMN`."""
    cells = {tuple(figure.name.rsplit(", ", 1)): figure.measured for figure in figures}
    rows, columns = (list(dict.fromkeys(name[place] for name in cells)) for place in (0, 1))
    lines = [f"| {head} | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for row in rows:
        lines.append(f"| {row} | {' | '.join(cells.get((row, column), '') for column in columns)} |")
    return "\n".join(lines)


def build_parser() -> CommandParser:
    """The flags of this script."""
    parser = script_parser("exports_table", __doc__)
    add = parser.add_argument
    add("--json", default=str(FIGURES), metavar="FILE", help="Where benchmarks/exports.py kept its figures.")
    add("--docs", default=str(DOCS), metavar="FILE", help="The file to write the tables into.")
    return parser


def run(config: Namespace) -> None:
    """Replace the tables of the docs."""
    parts, docs = read_parts(Path(config.json)), check_output_file(config.docs, overwrite=True, flag="--docs")
    if not HEADS.keys() & parts.keys():
        raise InputError(f"--json: {config.json}: expected figures, found none; run benchmarks/exports.py --json FILE")
    text = between(docs.read_text(encoding="utf-8"), BEGIN, END, markdown_tables(parts), "--docs")
    with replacing(docs) as partial:
        partial.write_text(text, encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
