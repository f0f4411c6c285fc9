"""Warnings about what others send, a few of them at a time."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable

LOGGED_LINES, LOGGED_SECONDS = 10, 10.0


class LimitedLog:
    """Writes lines to stderr, of floods the first ones.

    Args:
        lines: within `seconds`; then one says that there were more.
    """

    def __init__(
        self,
        lines: int = LOGGED_LINES,
        seconds: float = LOGGED_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], object] | None = None,
    ) -> None:
        self._lines, self._seconds, self._clock = lines, seconds, clock
        self._write = write or (lambda line: print(line, file=sys.stderr, flush=True))
        self._began, self._count = -math.inf, 0
        self._lock = threading.Lock()

    def warn(self, message: str) -> None:
        """A line, unless there have been too many."""
        with self._lock:
            now = self._clock()
            if now - self._began >= self._seconds:
                self._began, self._count = now, 0
            self._count += 1
            if self._count <= self._lines:
                self._write(f"text2latent serve: warning: {message}")
            elif self._count == self._lines + 1:
                self._write(f"text2latent serve: warning: further lines are left out for {self._seconds:g} s")
