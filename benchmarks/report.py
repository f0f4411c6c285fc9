"""Measured figures: printed beside their targets, and kept in a JSON file from which the documents' tables are made."""

from __future__ import annotations

import json
import os
import platform
from argparse import Namespace
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from text2latent.common.command import CommandParser, check_output_file, run_command
from text2latent.common.errors import InputError, UsageError
from text2latent.common.files import replacing

CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Figure:
    """A measured number.

    Attributes:
        name: what was measured.
        unit: of value and target; empty for shares.
        target: what to reach; None for a number without one.
        at_most: whether the target is an upper limit instead of a lower one.
        detail: one of many that other figures sum up; left out of the table.
    """

    name: str
    value: float
    unit: str = ""
    target: float | None = None
    at_most: bool = False
    detail: bool = False

    @property
    def verdict(self) -> str:
        """`ok` or `short`; empty without a target."""
        if self.target is None:
            return ""
        met = self.value <= self.target if self.at_most else self.value >= self.target
        return "ok" if met else "short"

    @property
    def measured(self) -> str:
        return _with_unit(self.value, self.unit)

    @property
    def goal(self) -> str:
        """The target with its unit; empty without one."""
        return "" if self.target is None else f"{'<=' if self.at_most else '>='} {_with_unit(self.target, self.unit)}"


Measure = Callable[[Namespace], list[Figure]]
"""Measures one part, as the flags say."""


def _with_unit(value: float, unit: str) -> str:
    if not unit:
        return f"{value:.3f}"
    return f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"


def scores(what: str, by_attribute: Mapping[str, float], mean: float, each: float) -> list[Figure]:
    """The mean of the attributes' scores, the lowest of them, and all of them, with their targets."""
    lowest = min(by_attribute, key=by_attribute.__getitem__)
    return [
        Figure(f"{what}, mean", sum(by_attribute.values()) / len(by_attribute), target=mean),
        Figure(f"{what}, lowest ({lowest})", by_attribute[lowest], target=each),
        *(Figure(f"{what}, {name}", value, target=each, detail=True) for name, value in by_attribute.items()),
    ]


def table(part: str, figures: Iterable[Figure]) -> str:
    """A part's figures as aligned text: name, value, target, verdict."""
    rows = [(figure.name, figure.measured, figure.goal, figure.verdict) for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([part, *(f"  {line}" for line in lines)])


FIGURES_HEAD = ["| figure | measured | target | |", "|---|---|---|---|"]


def figure_lines(figures: Iterable[Figure]) -> list[str]:
    """The lines of a Markdown table of figures that go below `FIGURES_HEAD`, details left out."""
    shown = [figure for figure in figures if not figure.detail]
    return [f"| {figure.name} | {figure.measured} | {figure.goal} | {figure.verdict} |" for figure in shown]


def script_parser(name: str, description: str | None) -> CommandParser:
    """The parser of the script `benchmarks/NAME.py`, without flags."""
    parser = CommandParser(name, description)
    parser.prog = f"benchmarks/{name}.py"
    return parser


def add_model_flag(parser: CommandParser) -> None:
    """Add `--model`, as `text2latent infer` has it."""
    help_text = "The prior: a zoo name, a run or prior folder, or a checkpoint."
    parser.add_argument("--model", default="faces", metavar="MODEL", help=help_text)


def add_device_flag(parser: CommandParser) -> None:
    """Add `--device`, as `text2latent infer` has it."""
    help_text = "auto, cpu, cuda, cuda:N or mps."
    parser.add_argument("--device", default="auto", metavar="NAME", help=help_text)


def add_report_flags(parser: CommandParser, parts: Iterable[str], default: str = "all") -> None:
    parser.add_argument("--only", action="append", metavar="PART",
        help=f"Measure this part, one of {', '.join(parts)}; repeat it for several. Default: {default}.")  # fmt: skip
    parser.add_argument("--json", default=None, metavar="FILE",
        help="JSON file to keep the figures in; what it holds of other parts stays.")  # fmt: skip


def run_parts(
    parts: Mapping[str, Measure],
    parser: CommandParser,
    argv: Sequence[str] | None,
    default: Sequence[str] | None = None,
) -> int:
    """Run a script that is made of parts; returns its exit code. Arguments as `measure_parts` has them."""
    return run_command(parser, partial(measure_parts, parts, parser, default=default), argv)


def measure_parts(
    parts: Mapping[str, Measure], parser: CommandParser, config: Namespace, default: Sequence[str] | None = None
) -> None:
    """Measure, print and keep the chosen parts in turn; an interruption loses only the part that it hits.

    Args:
        parser: the script's parser, for the command that is kept with the figures.
        default: the parts to measure when none are chosen; all if None.

    Raises:
        UsageError: for an unknown part.
    """
    chosen = config.only or default or list(parts)
    unknown = [part for part in chosen if part not in parts]
    if unknown:
        raise UsageError(f"--only: expected one of {', '.join(parts)}, got {unknown[0]!r}")
    file = None if config.json is None else check_output_file(config.json, overwrite=True, flag="--json")
    if file is not None:
        read_parts(file)
    for part in chosen:
        figures = parts[part](config)
        print(table(part, figures), flush=True)
        if file is not None:
            command = command_line(parser, config, "--only", part, without=("only", "json"))
            keep_part(file, part, command, figures)


def command_line(parser: CommandParser, config: Namespace, *words: str, without: Collection[str] = ()) -> str:
    """The command that does the same again.

    Args:
        words: what comes first.
        without: names of flags to leave out; of the others those are given that differ from their defaults.
    """
    command = ["python", parser.prog, *words]
    for name, value in vars(config).items():
        if name not in without and value != parser.get_default(name):
            for one in value if isinstance(value, list) else [value]:
                command += [f"--{name.replace('_', '-')}", *([] if one is True else [str(one)])]
    return " ".join(command)


def read_parts(file: Path) -> dict[str, Any]:
    """The parts kept in a JSON file, by name; none if there is no such file.

    Raises:
        InputError: when the file is something else.
    """
    if not file.exists():
        return {}
    try:
        parts = json.loads(file.read_text(encoding="utf-8"))["parts"]
        return {
            name: {**part, "figures": [Figure(**figure) for figure in part["figures"]]} for name, part in parts.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: expected figures that a benchmark has kept, got something else") from error


def keep_part(file: Path, part: str, command: str, figures: Iterable[Figure]) -> None:
    """Write a part's figures, their command and the machine into a JSON file, beside its other parts."""
    parts = read_parts(file)
    parts[part] = {"command": command, "machine": machine(), "figures": list(figures)}
    plain = {name: {**kept, "figures": [asdict(figure) for figure in kept["figures"]]} for name, kept in parts.items()}
    with replacing(file) as partial:
        partial.write_text(json.dumps({"parts": plain}, indent=1) + "\n", encoding="utf-8")


def machine() -> str:
    """This machine in words: processor, cores that may be used, GPU if there is one, Python and torch."""
    import torch

    names = [line.split(":", 1)[1].strip() for line in _cpu_lines() if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processor = names[0] if names else platform.processor() or platform.machine()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{cores} cores of {processor}{gpu}, Python {platform.python_version()}, torch {torch.__version__}"


def _cpu_lines() -> list[str]:
    return CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.exists() else []
