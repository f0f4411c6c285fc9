"""What a comparison of priors found: JSON, a Markdown table and a plot of accuracy against time."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

from text2latent.apps.evaluation.metrics import Estimate
from text2latent.benchmarks.report import FIGURES_HEAD, Figure, figure_lines, machine
from text2latent.common.errors import InputError
from text2latent.common.files import replacing

LIBRARIES = ("text2latent", "torch", "lightning", "diffusers", "open_clip_torch", "numpy")
RESULTS = Path(__file__).parents[1] / "results"
COLUMNS = {
    "named": "named attributes",
    "complete": "all of them",
    "clip_score": "CLIP score",
    "diversity": "diversity",
    "frechet": "Fréchet",
    "seconds": "ms/image",
    "latent_seconds": "of that to the latent",
}
"""Figures of the table, and how it calls them."""
UNITS = {"named": 100.0, "complete": 100.0, "seconds": 1000.0, "latent_seconds": 1000.0}
"""What figures are multiplied with in the table: shares are shown in percent, seconds in milliseconds."""

LOWEST_SHOWN = 85
"""Percent of named attributes below which the plot names a method in words."""
Place = tuple[int, int, str, str]
ABOVE: Place = (0, 7, "center", "bottom")
BELOW: Place = (0, -8, "center", "top")
LEFT: Place = (-6, 1, "right", "bottom")
RIGHT: Place = (6, -1, "left", "top")
LABEL_PLACES = ((ABOVE,), (LEFT,), (LEFT, LEFT, RIGHT), (BELOW,), (*6 * (ABOVE,), RIGHT), (BELOW,))
"""Where the plot's labels are, by group and in turn: x and y in points, and how they are aligned there."""
CPU_TIME = "Times are CPU time."
"""What the scripts' results note; those without it are of wall-clock time."""
STEPS = re.compile(r"(\d+) steps?$")


@dataclass(frozen=True)
class Row:
    """A method and what was found of it.

    Attributes:
        name: of the method.
        group: of methods that belong together.
        figures: by name, with intervals; see `Bench.summarize`.
        num_prompts: prompts measured.
        minutes: of training; None where nothing is trained.
        parameters: trained numbers.
        subset: the figures on the first prompts only, those that the slowest methods are measured on.
    """

    name: str
    group: str
    figures: dict[str, Estimate]
    num_prompts: int
    minutes: float | None = None
    parameters: int | None = None
    subset: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """All that a script found.

    Attributes:
        command: that was run.
        rows: of the table.
        curves: for each of some methods, accuracy by seconds trained: `{"seconds", "value", "low", "high"}`.
        claims: what the rows and curves are to show.
        note: what else a reader must know.
        machine, versions, date: where, with what and when.
    """

    command: str
    rows: list[Row]
    curves: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    claims: list[Figure] = field(default_factory=list)
    note: str = ""
    machine: str = field(default_factory=machine)
    versions: dict[str, str] = field(
        default_factory=lambda: {name: importlib.metadata.version(name) for name in LIBRARIES}
    )
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())

    def save(self, file: Path) -> None:
        with replacing(file) as partial:
            partial.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> Results:
        """Read what `save` wrote.

        Raises:
            InputError: when there is no such file, or it is something else.
        """
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            parts = {
                "rows": [_row(row) for row in found["rows"]],
                "claims": [Figure(**one) for one in found["claims"]],
            }
            return cls(**found | parts)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file}: expected results that a comparison of priors has kept: {error}") from error


def _row(kept: Mapping[str, Any]) -> Row:
    parts = {part: {name: Estimate(**one) for name, one in kept[part].items()} for part in ("figures", "subset")}
    return Row(**{**kept, **parts})


def markdown(results: Results) -> str:
    """The table, a line per method, each figure with half the width of its 95 % interval."""
    names = [name for name in COLUMNS if any(name in row.figures for row in results.rows)]
    head = ["method", *(COLUMNS[name] for name in names), "training min", "parameters"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    whole = max(row.num_prompts for row in results.rows)
    for group in dict.fromkeys(row.group for row in results.rows):
        lines.append(f"| **{group}** " + "| " * len(head) + "|")
        lines += [_line(row, names, whole) for row in results.rows if row.group == group]
    shares = "Shares in percent; ± is half the 95 % bootstrap interval over prompts."
    notes = " ".join(filter(None, [shares, f"Measured on {results.machine}, {results.date}.", results.note]))
    return "\n".join([*lines, "", notes])


def _line(row: Row, names: Sequence[str], whole: int) -> str:
    label = row.name if row.num_prompts == whole else f"{row.name} ({row.num_prompts} prompts)"
    cells = [_cell(row.figures.get(name), UNITS.get(name, 1.0)) for name in names]
    minutes = "" if row.minutes is None else f"{row.minutes:.1f}"
    parameters = "" if row.parameters is None else f"{row.parameters / 1e6:.2f} M"
    return "| " + " | ".join([label, *cells, minutes, parameters]) + " |"


def _cell(estimate: Estimate | None, unit: float) -> str:
    if estimate is None:
        return ""
    value, half = unit * estimate.value, unit * (estimate.high - estimate.low) / 2
    digits = 1 if unit > 1 else 3
    return f"{value:.{digits}f} ± {half:.{digits}f}"


def by_attribute(results: Results) -> str:
    """A Markdown table of each attribute's share, a line per method."""
    names = [name for name in results.rows[0].figures if name.startswith("named ")]
    head = ["method", *(name.removeprefix("named ").replace("_", " ") for name in names)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in results.rows:
        cells = [f"{100 * row.figures[name].value:.0f}" if name in row.figures else "" for name in names]
        lines.append("| " + " | ".join([row.name, *cells]) + " |")
    return "\n".join(lines)


def save_plot(results: Results, file: Path) -> None:
    """Write an SVG of accuracy against seconds per image, on a logarithmic axis, a colour per group of methods.

    Raises:
        InputError: without matplotlib.
    """
    from text2latent.apps.evaluation.report import require_plots

    require_plots()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    lower = rows_below(results.rows)
    shown = [row for row in results.rows if row not in lower]
    groups = dict.fromkeys(row.group for row in shown)
    for group, place in zip(groups, cycle(LABEL_PLACES), strict=False):
        _plot_group(axes, group, [row for row in shown if row.group == group], place)
    axes.set(xscale="log", xlabel="seconds per image, from the text's embedding to the latent")
    axes.set(ylabel="named attributes that are there, %", ylim=(LOWEST_SHOWN if lower else 0, 100.5))
    axes.margins(x=0.42)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", title=_noted(lower), fontsize=8, title_fontsize=8)
    with replacing(file) as partial:
        figure.savefig(partial, format="svg")


def rows_below(rows: Sequence[Row]) -> list[Row]:
    """The few rows that are so far below all others that a plot has no room for them."""
    lower = [row for row in rows if 100 * row.figures["named"].value < LOWEST_SHOWN]
    return lower if len(lower) < len(rows) / 2 else []


def _noted(rows: Sequence[Row]) -> str | None:
    notes = [f"{row.name}: {100 * row.figures['named'].value:.0f} %" for row in rows]
    return "\n".join(["below:", *notes, ""]) if notes else None


def _plot_group(axes: Any, group: str, rows: Sequence[Row], places: Sequence[Place]) -> None:
    """Draw the methods of a group, and as a line those that are one prior in several numbers of steps."""
    from matplotlib.patheffects import withStroke

    drawn = None
    steps = {row.name: STEPS.search(row.name) for row in rows}
    for line in (True, False):
        part = [row for row in rows if bool(steps[row.name]) is line]
        if part:
            label = None if drawn else group + (", by steps" if line else "")
            drawn = _plot_points(axes, part, "o-" if line else "o", label, drawn)
    for row, (x, y, horizontal, vertical) in zip(rows, cycle(places), strict=False):
        match, at = steps[row.name], (row.figures["latent_seconds"].value, 100 * row.figures["named"].value)
        label = match[1] if match else row.name.removeprefix(f"{group}, ").removeprefix("CLIP gradient, ")
        look = {"ha": horizontal, "va": vertical, "fontsize": 8, "color": drawn}
        look["path_effects"] = [withStroke(linewidth=2.5, foreground="white")]
        axes.annotate(label, at, xytext=(x, y), textcoords="offset points", **look)


def _plot_points(axes: Any, rows: Sequence[Row], style: str, label: str | None, color: Any) -> Any:
    """Draw points with their intervals; returns their colour."""
    seconds = [row.figures["latent_seconds"].value for row in rows]
    named = [row.figures["named"] for row in rows]
    errors = [[100 * (one.value - one.low) for one in named], [100 * (one.high - one.value) for one in named]]
    look = {"capsize": 2, "elinewidth": 0.8, "color": color, "label": label}
    values = [100 * one.value for one in named]
    return axes.errorbar(seconds, values, yerr=errors, fmt=style, **look)[0].get_color()


def write_results(results: Results, folder: Path, name: str) -> list[Path]:
    """Write `NAME.json` and `NAME.md` into a folder; returns the files."""
    json_file, markdown_file = (folder / f"{name}.{suffix}" for suffix in ("json", "md"))
    results.save(json_file)
    text = "\n\n".join([f"`{results.command}`", markdown(results), by_attribute(results), *claims_table(results)])
    with replacing(markdown_file) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
    return [json_file, markdown_file]


def claims_table(results: Results) -> list[str]:
    """A Markdown table of the claims with their targets; none if nothing is claimed."""
    return ["\n".join([*FIGURES_HEAD, *figure_lines(results.claims)])] if results.claims else []


def file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text)
