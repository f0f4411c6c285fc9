"""Seconds and memory of work on any device, within a limit of time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from text2latent.benchmarks.timing import peak_memory
from text2latent.common.errors import InputError
from text2latent.models.acceleration import Acceleration

GIB = 2**30
LEAST = 3
"""Times that anything is measured, however long it takes."""


@dataclass
class Clock:
    """A limit of time, and what is known of how long things take.

    Attributes:
        seconds: that there are, from now on.
    """

    seconds: float
    ends: float = field(init=False)
    known: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ends = time.monotonic() + self.seconds

    @property
    def left(self) -> float:
        """Seconds until the limit, never negative."""
        return max(0.0, self.ends - time.monotonic())

    def note(self, what: str, first: float, again: float) -> None:
        """Keep the seconds that something took when it was started, and those of one more."""
        self.known[what] = first, again

    def has_time_for(self, what: str, times: int) -> bool:
        """Whether so many of something can be done at once as often as is least, start included."""
        first, again = self.known.get(what, (0.0, 0.0))
        return first + (LEAST + 1) * times * again <= self.left and self.left > 0


def announce(*lines: str) -> None:
    """Print what isn't a figure among the figures."""
    for line in lines:
        print(f"  {line}", flush=True)


def measurable(ways: Mapping[str, Acceleration], device: torch.device) -> list[str]:
    """The ways that can be measured on a device; a line says which can't, and why."""
    omitted: dict[str, list[str]] = {}
    for name, how in ways.items():
        try:
            if device.type != "cuda" and how != Acceleration():
                raise InputError("CUDA graphs and torch.compile are measured on CUDA devices")
            how.check(device)
        except InputError as error:
            omitted.setdefault(str(error), []).append(name)
    announce(*(f"omitted: {'; '.join(names)}: {why}" for why, names in omitted.items()))
    return [name for name in ways if not any(name in names for names in omitted.values())]


def wait(device: torch.device) -> None:
    """Until a device has done all that it was told."""
    if device.type in ("cuda", "mps"):
        getattr(torch, device.type).synchronize()


def timed(
    work: Callable[[], object], device: torch.device, repeats: int, clock: Clock | None = None
) -> tuple[list[float], float]:
    """Seconds of each time, up to `repeats` of them while there is time, and of the first one, which warms up."""
    first = _seconds(work, device)
    seconds: list[float] = []
    while len(seconds) < min(LEAST, repeats) or (len(seconds) < repeats and (clock is None or clock.left > 0)):
        seconds.append(_seconds(work, device))
    return seconds, first


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    wait(device)
    started = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - started


def percentile(seconds: Sequence[float], percent: float) -> float:
    return float(np.percentile(seconds, percent))


def median(seconds: Sequence[float]) -> float:
    return percentile(seconds, 50)


def reset_peak(device: torch.device) -> None:
    """Begin to watch a CUDA device's memory anew; a process's own can't be."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """Most memory since `reset_peak` of what is allocated on a CUDA device, else of this process since its start."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_memory()
