"""Write the figures that the benchmarks have kept into the README's table."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from text2latent.benchmarks.report import FIGURES_HEAD, figure_lines, read_parts, script_parser
from text2latent.common.command import CommandParser, check_output_file, run_command
from text2latent.common.errors import InputError
from text2latent.common.files import replacing

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "benchmarks" / "figures.json"
README = ROOT / "README.md"
BEGIN, END = "<!-- figures: written by benchmarks/tables.py -->", "<!-- end of figures -->"


def markdown_table(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table of all figures but the details, each part under its command, and the machines measured on."""
    lines = [*FIGURES_HEAD]
    for part in parts.values():
        lines.append(f"| **`{part['command']}`** | | | |")
        lines += figure_lines(part["figures"])
    machines = dict.fromkeys(part["machine"] for part in parts.values())
    return "\n".join([*lines, "", f"Measured on {'; '.join(machines)}."])


def with_table(text: str, parts: Mapping[str, Mapping[str, Any]]) -> str:
    """The README `text` with the table of `parts` in the place that is marked for it.

    Raises:
        InputError: when there is no such place.
    """
    return between(text, BEGIN, END, markdown_table(parts))


def between(text: str, begin: str, end: str, block: str, flag: str = "--readme") -> str:
    """A page's `text` with a block in place of what is between the lines `begin` and `end`; `flag` names the page.

    Raises:
        InputError: when these lines aren't there.
    """
    before, begins, rest = text.partition(begin)
    _, ends, after = rest.partition(end)
    if not begins or not ends:
        raise InputError(f"{flag}: expected a file with the lines {begin} and {end}")
    return f"{before}{begin}\n\n{block}\n\n{end}{after}"


def build_parser() -> CommandParser:
    """The flags of this script."""
    parser = script_parser("readme_table", __doc__)
    parser.add_argument("--json", default=str(FIGURES), metavar="FILE", help="Where the benchmarks kept their figures.")
    parser.add_argument("--readme", default=str(README), metavar="FILE", help="The file to write the table into.")
    return parser


def run(config: Namespace) -> None:
    """Replace the README's table."""
    parts, readme = read_parts(Path(config.json)), check_output_file(config.readme, overwrite=True, flag="--readme")
    if not parts:
        raise InputError(
            f"--json: {config.json}: expected figures, there are none; run benchmarks/faces.py --json FILE"
        )
    text = with_table(readme.read_text(encoding="utf-8"), parts)
    with replacing(readme) as partial:
        partial.write_text(text, encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
