"""Commands run as a user runs them, with the time and memory that they take."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from text2latent.common.errors import InputError

IMPORT_TIME = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)$", re.MULTILINE)
PEAK_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes that `ru_maxrss` counts in."""
LAUNCH = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
code = subprocess.call(sys.argv[2:])
seconds, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    json.dump([code, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss], file)
"""
"""What starts a command: a small process, as a command's peak of memory starts from that of the one that starts it."""


@dataclass(frozen=True)
class Finished:
    """A command that went well.

    Attributes:
        seconds: wall-clock time from its start to its end.
        processor_seconds: time of processors, in user code and in the system, that it and its children took.
        peak_bytes: memory (resident set) of the largest process among it and those that it started, at its peak.
    """

    seconds: float
    processor_seconds: float
    peak_bytes: int
    stderr: str


def run_measured(command: Sequence[str | Path], folder: Path | None = None) -> Finished:
    """Run a command to its end.

    Raises:
        InputError: when it fails, with the last line that it wrote to stderr.
    """
    with tempfile.TemporaryDirectory() as made:
        usage, errors = Path(made, "usage.json"), Path(made, "stderr")
        with errors.open("w") as stream:
            launcher = [sys.executable, "-I", "-S", "-c", LAUNCH, usage, *command]
            subprocess.run(launcher, cwd=folder, stdout=subprocess.DEVNULL, stderr=stream, check=True)
        code, seconds, processor_seconds, peak = json.loads(usage.read_text(encoding="utf-8"))
        stderr = errors.read_text()
    if code != 0:
        last = (stderr.strip().splitlines() or ["it wrote nothing to stderr"])[-1]
        raise InputError(f"{' '.join(map(str, command))}: exit code {code}: {last}")
    return Finished(seconds, processor_seconds, peak * PEAK_UNIT, stderr)


def peak_memory() -> int:
    """Bytes (resident set) that this process had at its peak.

    On Linux it isn't `ru_maxrss`, which starts from the peak of the process that started this one.
    """
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * PEAK_UNIT


def import_seconds(stderr: str) -> dict[str, float]:
    """Seconds that each top-level package took to import, longest first, of the stderr of `python -X importtime`."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for microseconds, module in IMPORT_TIME.findall(stderr):
        seconds[module.split(".")[0]] += int(microseconds) / 1e6
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))
