"""Write what `python benchmarks/optimizers.py --json benchmarks/figures.json` has measured into docs/optimize.md."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from text2latent.benchmarks.optimizers import SECONDS, SHOWN, SIMILARITY
from text2latent.benchmarks.report import Figure, read_parts, script_parser
from text2latent.benchmarks.tables import FIGURES, ROOT, between
from text2latent.common.command import CommandParser, check_output_file, run_command
from text2latent.common.errors import InputError
from text2latent.common.files import replacing

DOCS = ROOT / "docs" / "optimize.md"
MARK = "<!-- {part}: written by benchmarks/optimize_table.py -->"
END = "<!-- end of {part} -->"
PARTS = {"ways": "way", "optimizers": "method"}
"""The parts to write, and what the rows of their tables are."""


def markdown(part: Mapping[str, Any], what: str) -> str:
    """The figures of each way or method as a table, the others as a list, and where they come from."""
    names = (SIMILARITY, SHOWN, SECONDS)
    rows: dict[str, dict[str, Figure]] = {}
    others = []
    for figure in part["figures"]:
        row, _, name = figure.name.rpartition(": ")
        if name in names:
            rows.setdefault(row, {})[name] = figure
        else:
            others.append(f"- {figure.name}: {_number(figure)}")
    shown = [name for name in names if any(name in cells for cells in rows.values())]
    lines = [f"| {what} | {' | '.join(shown)} |", f"|---|{'---:|' * len(shown)}"]
    for row, cells in rows.items():
        lines.append(f"| {row} | {' | '.join(_number(cells[name]) if name in cells else '-' for name in shown)} |")
    return "\n".join([*lines, "", *others, "", f"`{part['command']}`, {part['machine']}."])


def _number(figure: Figure) -> str:
    """The value, with as many digits as matter to a reader."""
    if figure.name.endswith(SIMILARITY):
        return f"{figure.value:.2f}"
    return figure.measured if figure.unit or figure.name.endswith(SHOWN) else f"{figure.value:g}"


def with_tables(text: str, parts: Mapping[str, Mapping[str, Any]]) -> str:
    """The page `text` with the tables in their places.

    Raises:
        InputError: when one of `PARTS` wasn't measured, or there is no place for it.
    """
    for part, what in PARTS.items():
        if part not in parts:
            raise InputError(f"--json: expected the part {part}; run benchmarks/optimizers.py --json FILE")
        marks = MARK.format(part=part), END.format(part=part)
        text = between(text, *marks, markdown(parts[part], what), "--docs")
    return text


def build_parser() -> CommandParser:
    """The flags of this script."""
    parser = script_parser("optimize_table", __doc__)
    parser.add_argument("--json", default=str(FIGURES), metavar="FILE", help="Where the figures are kept.")
    parser.add_argument("--docs", default=str(DOCS), metavar="FILE", help="The file to write the tables into.")
    return parser


def run(config: Namespace) -> None:
    """Replace the page's tables."""
    docs = check_output_file(config.docs, overwrite=True, flag="--docs")
    text = with_tables(docs.read_text(encoding="utf-8"), read_parts(Path(config.json)))
    with replacing(docs) as partial:
        partial.write_text(text, encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
