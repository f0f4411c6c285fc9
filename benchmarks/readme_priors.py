"""Write the comparison of priors and its ablations into the README: their tables, and the plot beside the pictures."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from text2latent.benchmarks.prior_report import RESULTS, Results, markdown, save_plot
from text2latent.benchmarks.readme_table import README, ROOT, between
from text2latent.benchmarks.report import replacing, script_parser
from text2latent.configs.command import CommandParser, check_output_file, run_command

PLOT = ROOT / "docs" / "images" / "priors.svg"
BLOCKS = {
    "priors": ("<!-- priors: written by benchmarks/readme_priors.py -->", "<!-- end of priors -->"),
    "ablations": ("<!-- ablations: written by benchmarks/readme_priors.py -->", "<!-- end of ablations -->"),
}
"""Where in the README the results of each name go."""


def build_parser() -> CommandParser:
    """The flags of this script."""
    parser = script_parser("readme_priors", __doc__)
    parser.add_argument("--results", default=str(RESULTS), metavar="FOLDER", help="Folder of the results.")
    parser.add_argument("--readme", default=str(README), metavar="FILE", help="The file to write the tables into.")
    parser.add_argument("--plot", default=str(PLOT), metavar="FILE", help="Where the plot goes, an SVG.")
    return parser


def block(results: Results) -> str:
    """The command and the table of results."""
    return f"`{results.command}`\n\n{markdown(results)}"


def run(config: Namespace) -> None:
    """Replace the tables of all results that are there, and the plot."""
    readme = check_output_file(config.readme, overwrite=True, flag="--readme")
    plot = check_output_file(config.plot, overwrite=True, flag="--plot")
    text = readme.read_text(encoding="utf-8")
    found = {name: Results.load(Path(config.results) / f"{name}.json") for name in BLOCKS}
    for name, results in found.items():
        text = between(text, *BLOCKS[name], block(results))
    with replacing(readme) as partial:
        partial.write_text(text, encoding="utf-8")
    save_plot(found["priors"], plot)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
