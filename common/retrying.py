"""Asking again, after growing pauses, where what failed may pass."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PASSING_STATUSES = frozenset((408, 425, 429, 500, 502, 503, 504))
"""Answers of a web server that may be others the next time."""


class GivenUpError(Exception):
    """The last attempt that was to be made failed, with the error that this one is raised from.

    Attributes:
        attempts: made in all.
        seconds: that they took, pauses included.
    """

    def __init__(self, error: Exception, attempts: int, seconds: float) -> None:
        super().__init__(f"{error}; tried {attempts} times in {seconds:.0f} s")
        self.error, self.attempts, self.seconds = error, attempts, seconds


def ask_again(
    request: Callable[[], T],
    may_pass: Callable[[Exception], bool],
    tries: int,
    first_pause: float,
    arrived: Callable[[], int] = lambda: 0,
    on_pause: Callable[[Exception, float], object] = lambda error, pause: None,
) -> T:
    """Result of a request, which is repeated after an error that may pass.

    Args:
        may_pass: whether another attempt may get past an error; others are raised as they are.
        tries: attempts in a row, at least 1, that bring nothing more.
        first_pause: seconds before the second of them; each later pause is twice as long, give or take a quarter.
        arrived: how much is there so far, such as bytes; attempts that bring more aren't counted.
        on_pause: called with the error and the seconds of each pause.

    Raises:
        GivenUpError: once that many attempts in a row have failed.
    """
    started, attempts, in_a_row = time.monotonic(), 0, 0
    while True:
        before, attempts = arrived(), attempts + 1
        try:
            return request()
        except Exception as error:
            if not may_pass(error):
                raise
            in_a_row = 1 if arrived() > before else in_a_row + 1
            if in_a_row >= tries:
                raise GivenUpError(error, attempts, time.monotonic() - started) from error
            pause = first_pause * 2 ** (in_a_row - 1)
            on_pause(error, pause)
        # Processes that failed together shouldn't come back together.
        time.sleep(pause * random.uniform(0.75, 1.25))
