"""Compute what datasets of a million to a billion pairs take from measured rates: the arithmetic and its table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from text2latent.benchmarks.report import Figure
from text2latent.common.errors import UsageError

PAIRS = {"1 M": 10**6, "10 M": 10**7, "100 M": 10**8, "1 B": 10**9}
PROCESSES = (1, 10, 100)
EPOCHS = 10


@dataclass(frozen=True)
class Rates:
    """What one process does: bytes per stored pair, and pairs per second of each stage."""

    bytes: float
    sampling: float
    finishing: float
    streaming: float
    training: float


RATES = tuple(field.name for field in fields(Rates))
"""The parts that benchmarks/cluster.py measures rates as; the first figure of each is the rate."""
GIVEN = "given"
"""What a rate that a flag gives has for its machine."""


@dataclass(frozen=True)
class Plan:
    """What a dataset takes on some processes.

    Attributes:
        hours: of each stage by name.
    """

    gigabytes: float
    hours: Mapping[str, float]

    @property
    def bottleneck(self) -> str:
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


def given_rates(words: Iterable[str]) -> dict[str, Any]:
    """Rates such as `sampling=1000` as parts, like those that benchmarks/cluster.py keeps.

    Raises:
        UsageError: for anything but a rate and a positive number.
    """
    parts = {}
    for word in words:
        name, _, number = word.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = 0.0
        if name not in RATES or not 0 < value < float("inf"):
            raise UsageError(f"--rate: expected {'|'.join(RATES)}=N with N above 0, got {word!r}")
        parts[name] = {"machine": GIVEN, "figures": [Figure(name, value)]}
    return parts


def markdown_plan(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of all sizes and numbers of processes, under the rates that it follows from."""
    rates = Rates(**{name: parts[name]["figures"][0].value for name in RATES})
    given = [name for name in RATES if parts[name]["machine"] == GIVEN]
    machines = dict.fromkeys(parts[name]["machine"] for name in RATES if name not in given)
    sources = [f"Measured on {'; '.join(machines)}."] if machines else []
    sources += [f"Given: {', '.join(given)}."] if given else []
    lines = [
        f"One process: {rates.sampling:,.0f} pairs/s sampled, {rates.finishing:,.0f} read back and measured, "
        f"{rates.streaming:,.0f} streamed,",
        f"{rates.training:,.0f} trained on; {rates.bytes:,.0f} bytes per pair. {' '.join(sources)}",
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


def _duration(hours: float) -> str:
    if hours < 1:
        return f"{hours * 60:.2g} min" if hours * 60 < 10 else f"{hours * 60:.0f} min"
    return f"{hours:,.1f} h" if hours < 48 else f"{hours / 24:,.0f} days"


def _storage(gigabytes: float) -> str:
    return f"{gigabytes:.0f} GB" if gigabytes < 1000 else f"{gigabytes / 1000:.1f} TB"
