"""Commands run as a user runs them, with the time and memory that they take."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from text2latent.common.errors import InputError

IMPORT_TIME = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)$", re.MULTILINE)


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
    with tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=errors)
        # Unlike Popen.wait, wait4 gives what the process used, together with the children that it waited for.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        stderr = errors.read()
    if process.returncode != 0:
        last = (stderr.strip().splitlines() or ["it wrote nothing to stderr"])[-1]
        raise InputError(f"{' '.join(map(str, command))}: exit code {process.returncode}: {last}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Finished(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, stderr)


def import_seconds(stderr: str) -> dict[str, float]:
    """Seconds that each top-level package took to import, longest first, of the stderr of `python -X importtime`."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for microseconds, module in IMPORT_TIME.findall(stderr):
        seconds[module.split(".")[0]] += int(microseconds) / 1e6
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))
