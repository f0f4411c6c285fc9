"""Compute what datasets of a million to a billion pairs take, from measured rates, and write it into docs/cluster.md,
with the tables of what else was measured.

    python benchmarks/cluster.py --json benchmarks/cluster.json
    python benchmarks/cluster_table.py

The rates of another machine, such as one GPU's, can be given as flags; `--docs -` only prints the table.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from text2latent.benchmarks.report import Figure, read_parts, script_parser
from text2latent.benchmarks.tables import between
from text2latent.common.command import CommandParser, check_output_file, positive_float, run_command
from text2latent.common.errors import InputError
from text2latent.common.files import replacing

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "benchmarks" / "cluster.json"
DOCS = ROOT / "docs" / "cluster.md"
TABLES = ("memory", "parity")  # parts that are shown as they are

PAIRS = {"1 M": 10**6, "10 M": 10**7, "100 M": 10**8, "1 B": 10**9}
PROCESSES = (1, 10, 100)
EPOCHS = 10
FIRST_FIGURES = ("bytes", "sampling", "finishing", "streaming", "training")


@dataclass(frozen=True)
class Rates:
    """What one process does: bytes per stored pair, and pairs per second of each stage."""

    bytes: float
    sampling: float
    finishing: float
    streaming: float
    training: float


@dataclass(frozen=True)
class Plan:
    """What a dataset takes on some processes.

    Attributes:
        gigabytes: of all shards.
        hours: of each stage by name.
    """

    gigabytes: float
    hours: Mapping[str, float]

    @property
    def bottleneck(self) -> str:
        """The stage that takes longest."""
        return max(self.hours, key=self.hours.__getitem__)


def make_plan(rates: Rates, num_pairs: int, processes: int, epochs: int = EPOCHS) -> Plan:
    """Storage and hours of `num_pairs` pairs on some processes that each have the given rates.

    Sampling and training divide by the processes, the latter up to how fast shards are read, which divides too. The
    last step of sampling is shared by the processes of one launch, but not by the tasks of a job array, so that it is
    counted for one process.
    """
    trained = min(rates.training, rates.streaming) * processes
    seconds = {
        "sampling": num_pairs / (rates.sampling * processes),
        "finishing": num_pairs / rates.finishing,
        "training": epochs * num_pairs / trained,
    }
    hours = {stage: value / 3600 for stage, value in seconds.items()}
    return Plan(num_pairs * rates.bytes / 1e9, hours)


def markdown_plan(rates: Rates, machine: str) -> str:
    """The table of all sizes and numbers of processes, under the rates that it follows from."""
    lines = [
        f"One process: {rates.sampling:,.0f} pairs/s sampled, {rates.finishing:,.0f} read back and measured, "
        f"{rates.streaming:,.0f} streamed,",
        f"{rates.training:,.0f} trained on; {rates.bytes:,.0f} bytes per pair. {machine}",
        "",
        f"| pairs | storage | processes | sampling | finishing | training, {EPOCHS} epochs | longest |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, num_pairs in PAIRS.items():
        for processes in PROCESSES:
            plan = make_plan(rates, num_pairs, processes)
            hours = " | ".join(_duration(plan.hours[stage]) for stage in ("sampling", "finishing", "training"))
            lines.append(f"| {name} | {_storage(plan.gigabytes)} | {processes} | {hours} | {plan.bottleneck} |")
    return "\n".join(lines)


def marks(name: str) -> tuple[str, str]:
    """The lines of the docs that a table lies between."""
    return f"<!-- {name}: written by benchmarks/cluster_table.py -->", f"<!-- end of {name} -->"


def markdown_figures(figures: Iterable[Figure]) -> str:
    """The figures of a part as a table, details too."""
    rows = [f"| {figure.name} | {figure.measured} | {figure.goal} |" for figure in figures]
    return "\n".join(["| figure | measured | target |", "|---|---|---|", *rows])


def _duration(hours: float) -> str:
    if hours < 1:
        return f"{hours * 60:.2g} min" if hours * 60 < 10 else f"{hours * 60:.0f} min"
    return f"{hours:,.1f} h" if hours < 48 else f"{hours / 24:,.0f} days"


def _storage(gigabytes: float) -> str:
    return f"{gigabytes:.0f} GB" if gigabytes < 1000 else f"{gigabytes / 1000:.1f} TB"


def read_rates(parts: Mapping[str, Mapping[str, Any]], config: Namespace) -> Rates:
    """The rates kept by benchmarks/cluster.py, or those that flags give.

    Raises:
        InputError: when one is neither measured nor given.
    """
    found = {}
    for name in FIRST_FIGURES:
        given = getattr(config, name)
        if given is None and name not in parts:
            raise InputError(f"--json: {config.json}: expected the part {name}; run benchmarks/cluster.py --json FILE")
        found[name] = parts[name]["figures"][0].value if given is None else given
    return Rates(**found)


def build_parser() -> CommandParser:
    """The flags of this script."""
    parser = script_parser("cluster_table", __doc__)
    add = parser.add_argument
    add("--json", default=str(FIGURES), metavar="FILE", help="Where benchmarks/cluster.py kept its figures.")
    add("--docs", default=str(DOCS), metavar="FILE", help="The file to write the table into; - prints it.")
    for name in FIRST_FIGURES:
        unit = "Bytes per pair" if name == "bytes" else f"Pairs per second of {name} by one process"
        add(f"--{name}", type=positive_float, default=None, metavar="N", help=f"{unit}, instead of the measured.")
    return parser


def run(config: Namespace) -> None:
    """Print the table, or replace those of the docs."""
    parts = read_parts(Path(config.json))
    rates = read_rates(parts, config)
    given = [name for name in FIRST_FIGURES if getattr(config, name) is not None]
    machines = dict.fromkeys(parts[name]["machine"] for name in FIRST_FIGURES if name in parts and name not in given)
    sources = [f"Measured on {'; '.join(machines)}."] if machines else []
    table = markdown_plan(rates, " ".join([*sources, *([f"Given: {', '.join(given)}."] if given else [])]))
    if config.docs == "-":
        print(table)
        return
    docs = check_output_file(config.docs, overwrite=True, flag="--docs")
    text = between(docs.read_text(encoding="utf-8"), *marks("plan"), table, "--docs")
    for name in parts.keys() & set(TABLES):
        text = between(text, *marks(name), markdown_figures(parts[name]["figures"]), "--docs")
    with replacing(docs) as partial:
        partial.write_text(text, encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
