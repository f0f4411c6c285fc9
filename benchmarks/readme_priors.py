"""Write the comparison of priors with its plot into the README, ablations and detailed prompts into docs/priors.md."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from text2latent.benchmarks.priors.report import RESULTS, Results, claims_table, markdown, save_plot
from text2latent.benchmarks.report import script_parser
from text2latent.benchmarks.tables import README, ROOT, between
from text2latent.common.command import CommandParser, check_output_file, run_command
from text2latent.common.files import replacing

DOCS = ROOT / "docs" / "priors.md"
PLOT = ROOT / "docs" / "images" / "priors.svg"
BLOCKS = {
    "priors": ("readme", "<!-- priors: written by benchmarks/readme_priors.py -->", "<!-- end of priors -->"),
    "detailed": ("docs", "<!-- detailed: written by benchmarks/readme_priors.py -->", "<!-- end of detailed -->"),
    "ablations": ("docs", "<!-- ablations: written by benchmarks/readme_priors.py -->", "<!-- end of ablations -->"),
}
"""The flag of the page that the results of each name go into, and the lines of it that they go between."""


def build_parser() -> CommandParser:
    """The flags of this script."""
    parser = script_parser("readme_priors", __doc__)
    parser.add_argument("--results", default=str(RESULTS), metavar="FOLDER", help="Folder of the results.")
    parser.add_argument("--readme", default=str(README), metavar="FILE", help="The page to write the comparison into.")
    parser.add_argument("--docs", default=str(DOCS), metavar="FILE", help="The page to write the others into.")
    parser.add_argument("--plot", default=str(PLOT), metavar="FILE", help="Where the plot goes, an SVG.")
    return parser


def block(results: Results) -> str:
    """The command, the table of results, and what they are to show."""
    return "\n\n".join([f"`{results.command}`", markdown(results), *claims_table(results)])


def run(config: Namespace) -> None:
    """Replace the tables of all results, and the plot."""
    found = {name: Results.load(Path(config.results) / f"{name}.json") for name in BLOCKS}
    plot = check_output_file(config.plot, overwrite=True, flag="--plot")
    pages: dict[Path, str] = {}
    for name, (flag, begin, end) in BLOCKS.items():
        page = check_output_file(getattr(config, flag), overwrite=True, flag=f"--{flag}")
        text = pages.get(page) or page.read_text(encoding="utf-8")
        pages[page] = between(text, begin, end, block(found[name]), f"--{flag}")
    for page, text in pages.items():
        with replacing(page) as partial:
            partial.write_text(text, encoding="utf-8")
    save_plot(found["priors"], plot)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
