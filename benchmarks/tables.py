"""Write the tables of the documents from the figures that the benchmarks have kept.

    python benchmarks/tables.py                 # all of them
    python benchmarks/tables.py --only plan     # one

`--json mine.json --page -` makes it of other figures and prints it. Each table stands in its page between two lines
that bear its name.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from text2latent.benchmarks.cluster_plan import RATES, given_rates, markdown_plan
from text2latent.benchmarks.optimizers import SECONDS, SHOWN, SIMILARITY
from text2latent.benchmarks.priors.report import Results, claims_table, markdown
from text2latent.benchmarks.report import FIGURES_HEAD, Figure, figure_lines, read_parts, script_parser
from text2latent.common.command import CommandParser, check_output_file, run_command
from text2latent.common.errors import InputError, UsageError
from text2latent.common.files import replacing

ROOT = Path(__file__).resolve().parents[1]
Parts = Mapping[str, Mapping[str, Any]]
"""Kept figures by the name of their part; see `read_parts`."""


def all_figures(parts: Parts) -> str:
    """A Markdown table of all figures but the details, each part under its command, and the machines measured on."""
    lines = [*FIGURES_HEAD]
    for part in parts.values():
        lines.append(f"| **`{part['command']}`** | | | |")
        lines += figure_lines(part["figures"])
    return "\n".join([*lines, "", _machines(parts)])


def figures_of(name: str, parts: Parts) -> str:
    rows = [f"| {figure.name} | {figure.measured} | {figure.goal} |" for figure in parts[name]["figures"]]
    return "\n".join(["| figure | measured | target |", "|---|---|---|", *rows])


def export_costs(parts: Parts) -> str:
    """A table for each part that was measured, each under its command, and the machines measured on."""
    heads = {"formats": "tool", "int8": "weights", "compile": "program"}
    known = {name: parts[name] for name in heads if name in parts}
    blocks = [f"`{part['command']}`\n\n{pivot(heads[name], part['figures'])}" for name, part in known.items()]
    return "\n\n".join([*blocks, _machines(known)])


def web_page(parts: Parts) -> str:
    """What the page's files weigh, a table of models on it, both under their commands, and the machines measured on."""
    sizes, models = (
        [name for name in names if name in parts] for names in (["sizes"], ["faces", "landscapes", "ffhq"])
    )
    measured = [figure for name in models for figure in parts[name]["figures"]]
    blocks = [f"`{parts[name]['command']}`" + "\n\n" + pivot("files", parts[name]["figures"]) for name in sizes]
    commands = ", ".join(f"`{parts[name]['command']}`" for name in models)
    return "\n\n".join([*blocks, commands, pivot("model", measured), _machines(parts)])


def pivot(head: str, figures: Iterable[Figure]) -> str:
    cells = {tuple(figure.name.rsplit(", ", 1)): figure.measured for figure in figures}
    rows, columns = (list(dict.fromkeys(name[place] for name in cells)) for place in (0, 1))
    lines = [f"| {head} | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for row in rows:
        lines.append(f"| {row} | {' | '.join(cells.get((row, column), '') for column in columns)} |")
    return "\n".join(lines)


def world_lines(parts: Parts) -> str:
    part = parts["lines"]
    return f"`{part['command']}`\n\n" + pivot("world", part["figures"])


def warm_start(parts: Parts) -> str:
    """Accuracy by seconds trained, a row for each beginning."""
    part = parts["warm_start"]
    points = [figure for figure in part["figures"] if figure.name.endswith(" s")]
    others = [f"- {figure.name}: {figure.measured}" for figure in part["figures"] if figure not in points]
    return "\n".join([f"`{part['command']}`", "", pivot("begun", points), "", *others, "", _machines(parts)])


def projections(parts: Parts) -> str:
    """Of each kind of pictures a table with a row for each way, then edits by their strength, then what is reached."""
    titles = {"own": "The generator's own pictures", "renders": "Renders", "edits": "Edits"}
    blocks = []
    for name in [name for name in titles if name in parts]:
        rows = pivot("", _with_spread(parts[name]["figures"]))
        blocks.append(f"**{titles[name]}** (`{parts[name]['command']}`)\n\n{rows}")
    sums = [figure for part in parts.values() for figure in part["figures"] if not figure.detail]
    return "\n\n".join([*blocks, "\n".join([*FIGURES_HEAD, *figure_lines(sums)]), _machines(parts)])


def _with_spread(figures: Iterable[Figure]) -> Iterator[Figure]:
    """Details only, each together with the half interval that follows it."""
    details = [figure for figure in figures if figure.detail]
    for figure, after in zip(details, [*details[1:], None], strict=True):
        if is_spread(figure):
            continue
        spread = after.measured if after is not None and is_spread(after) else None
        yield figure if spread is None else Spread(figure.name, figure.value, figure.unit, spread=spread)


def is_spread(figure: Figure) -> bool:
    return figure.name.rpartition(", ")[2].startswith("+-")


@dataclass(frozen=True)
class Spread(Figure):
    spread: str = ""

    @property
    def measured(self) -> str:
        return f"{super().measured.split(' ')[0]} ± {self.spread}"


def optimization(name: str, head: str, parts: Parts) -> str:
    """Similarity, attributes shown and seconds of each way or method as a table, other figures as a list."""
    names = (SIMILARITY, SHOWN, SECONDS)
    rows: dict[str, dict[str, Figure]] = {}
    others = []
    for figure in parts[name]["figures"]:
        row, _, column = figure.name.rpartition(": ")
        if column in names:
            rows.setdefault(row, {})[column] = figure
        else:
            others.append(f"- {figure.name}: {_number(figure)}")
    shown = [column for column in names if any(column in cells for cells in rows.values())]
    lines = [f"| {head} | {' | '.join(shown)} |", f"|---|{'---:|' * len(shown)}"]
    for row, cells in rows.items():
        lines.append(f"| {row} | {' | '.join(_number(cells[one]) if one in cells else '-' for one in shown)} |")
    return "\n".join([*lines, "", *others, "", f"`{parts[name]['command']}`, {parts[name]['machine']}."])


def _number(figure: Figure) -> str:
    """The value, with as many digits as matter to a reader."""
    if figure.name.endswith(SIMILARITY):
        return f"{figure.value:.2f}"
    return figure.measured if figure.unit or figure.name.endswith(SHOWN) else f"{figure.value:g}"


def _machines(parts: Parts) -> str:
    return f"Measured on {'; '.join(dict.fromkeys(part['machine'] for part in parts.values()))}."


def compared_priors(file: Path, _: Parts) -> str:
    """The command, the table of a comparison's results, and what they are to show."""
    results = Results.load(file)
    return "\n\n".join([f"`{results.command}`", markdown(results), *claims_table(results)])


def measured_on_gpu(file: Path, given: Parts) -> str:
    """The figures of a GPU; as long as none has been measured, a line that says so."""
    parts = {**read_parts(file), **given}
    return all_figures(parts) if parts else "**Open: not measured yet.** No GPU was at hand for it."


def from_parts(text: Callable[[Parts], str], script: str, *needs: str) -> Callable[[Path, Parts], str]:
    """A table's `text` of the parts in a file, with others in their place where these are given.

    Args:
        text: makes Markdown of the parts.
        script: what keeps them in the file.
        needs: parts that have to be there; any will do where none are named. An InputError says which are missing.
    """

    def write(file: Path, given: Parts) -> str:
        parts = {**read_parts(file), **given}
        missing = [f"the part {name}" for name in needs if name not in parts] or ["figures, found none"] * (not parts)
        if missing:
            raise InputError(f"--json: {file}: expected {missing[0]}; run {script} --json FILE")
        return text(parts)

    return write


@dataclass(frozen=True)
class Table:
    """A table of the documents.

    Attributes:
        page: the file it stands in, from the root of the repository.
        source: the JSON file of its figures, likewise.
        text: makes Markdown of such a file, and of parts that take the place of those in it.
    """

    page: str
    source: str
    text: Callable[[Path, Parts], str]


RESULTS = "benchmarks/results"
TABLES = {
    "figures": Table("docs/figures.md", "benchmarks/figures.json", from_parts(all_figures, "benchmarks/worlds.py")),
    "landscapes": Table(
        "docs/figures.md",
        "benchmarks/landscapes.json",
        from_parts(all_figures, "benchmarks/worlds.py --world landscapes"),
    ),
    "world-lines": Table(
        "docs/new_domain.md",
        "benchmarks/world_lines.json",
        from_parts(world_lines, "benchmarks/world_lines.py", "lines"),
    ),
    "priors": Table("docs/figures.md", f"{RESULTS}/priors.json", compared_priors),
    "detailed": Table("docs/priors.md", f"{RESULTS}/detailed.json", compared_priors),
    "ablations": Table("docs/priors.md", f"{RESULTS}/ablations.json", compared_priors),
    "warm-start": Table(
        "docs/priors.md",
        f"{RESULTS}/warm_start.json",
        from_parts(warm_start, "benchmarks/priors/warm_start.py", "warm_start"),
    ),
    "priors-hard": Table("docs/figures.md", f"{RESULTS}/hard/priors.json", compared_priors),
    "ablations-hard": Table("docs/priors.md", f"{RESULTS}/hard/ablations.json", compared_priors),
    "generators": Table(
        "docs/generators.md", "benchmarks/generators.json", from_parts(all_figures, "benchmarks/generators.py")
    ),
    "projection": Table(
        "docs/projection.md",
        f"{RESULTS}/projection.json",
        from_parts(projections, "benchmarks/projection.py", "own", "renders", "edits"),
    ),
    "gpu": Table("docs/gpu.md", "benchmarks/gpu.json", measured_on_gpu),
    "serving": Table("docs/serving.md", "benchmarks/serving.json", from_parts(all_figures, "benchmarks/serving.py")),
    "live": Table("docs/serving.md", f"{RESULTS}/live.json", from_parts(all_figures, "benchmarks/live.py")),
    "costs": Table(
        "docs/export.md", "benchmarks/exports.json", from_parts(export_costs, "benchmarks/exports.py", "formats")
    ),
    "web": Table("docs/export.md", "benchmarks/web_page.json", from_parts(web_page, "benchmarks/web_page.py")),
    **{
        name: Table(
            "docs/optimize.md",
            "benchmarks/figures.json",
            from_parts(partial(optimization, name, head), "benchmarks/optimizers.py", name),
        )
        for name, head in {"ways": "way", "optimizers": "method"}.items()
    },
    **{
        name: Table("docs/cluster.md", "benchmarks/cluster.json", from_parts(text, "benchmarks/cluster.py", *needs))
        for name, text, needs in (
            ("memory", partial(figures_of, "memory"), ("memory",)),
            ("parity", partial(figures_of, "parity"), ("parity",)),
            ("plan", markdown_plan, RATES),
        )
    },
}
"""The tables by the names that mark their places."""


def marks(name: str) -> tuple[str, str]:
    """The lines of a page that a table lies between."""
    return f"<!-- {name}: written by benchmarks/tables.py -->", f"<!-- end of {name} -->"


def with_table(page: str, name: str, block: str) -> str:
    """The text of a page with a table in the place that is marked for it.

    Raises:
        InputError: when there is no such place.
    """
    begin, end = marks(name)
    before, begins, rest = page.partition(begin)
    _, ends, after = rest.partition(end)
    if not begins or not ends:
        raise InputError(f"--page: expected a file with the lines {begin} and {end}")
    return f"{before}{begin}\n\n{block}\n\n{end}{after}"


def build_parser() -> CommandParser:
    parser = script_parser("tables", __doc__)
    add = parser.add_argument
    add("--only", action="append", metavar="NAME",
        help=f"Write this table, one of {', '.join(TABLES)}; repeat it for several. Default: all.")  # fmt: skip
    add("--json", default=None, metavar="FILE", help="Other figures for the tables of --only, or other results.")
    add("--page", default=None, metavar="FILE", help="Another page for the tables of --only; - prints them.")
    add("--rate", action="append", metavar="NAME=N",
        help=f"For --only plan: a rate instead of the measured one; NAME is one of {', '.join(RATES)}.")  # fmt: skip
    return parser


def run(config: Namespace) -> None:
    """Print the chosen tables, or replace them in their pages; pages are written when all tables are made."""
    unknown = [name for name in config.only or () if name not in TABLES]
    if unknown:
        raise UsageError(f"--only: expected one of {', '.join(TABLES)}, got {unknown[0]!r}")
    for flag in ("json", "page"):
        if getattr(config, flag) is not None and config.only is None:
            raise UsageError(f"--{flag}: needs --only, to say for which tables")
    if config.rate is not None and config.only != ["plan"]:
        raise UsageError("--rate: needs --only plan")
    given = given_rates(config.rate or ())
    pages: dict[Path, str] = {}
    for name in config.only or TABLES:
        block = TABLES[name].text(Path(config.json or ROOT / TABLES[name].source), given)
        if config.page == "-":
            print(block)
            continue
        page = check_output_file(config.page or ROOT / TABLES[name].page, overwrite=True, flag="--page")
        pages[page] = with_table(pages.get(page) or page.read_text(encoding="utf-8"), name, block)
    for page, text in pages.items():
        with replacing(page) as partial_file:
            partial_file.write_text(text, encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
