"""Progress on stderr: a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TextIO, TypeVar

from tqdm import tqdm

T = TypeVar("T")
LOG_SECONDS = 30.0


class _Lines:
    """Turn tqdm's carriage returns into whole lines, so that a log file stays readable."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        line = text.strip()
        return self._stream.write(f"{line}\n") if line else 0

    def flush(self) -> None:
        self._stream.flush()


def progress(
    iterable: Iterable[T] | None = None,
    total: int | None = None,
    unit: str = "step",
    *,
    initial: int = 0,
    description: str | None = None,
    stream: TextIO | None = None,
    seconds: float = LOG_SECONDS,
    binary: bool = False,
    delay: float = 0.0,
) -> tqdm[T]:
    """Show how far a loop is, its rate and the time left, on `stream` (stderr unless given).

    Loop over the result, or enter it with `with` and call its `update(n)`. In a terminal it is a bar; elsewhere it is
    one line every `seconds`, and one at the start and the end.

    Args:
        iterable: what to loop over, or nothing when `update` is called by hand.
        total: units of work in all, those done earlier included.
        unit: the name of one unit, in the plural where it reads better, such as `pairs`.
        initial: units done by an earlier run.
        description: words in front of the bar.
        binary: count in units of 1024 and 1024^2 and so on, as bytes are counted.
        delay: seconds to show nothing for, so that work that is done by then shows nothing at all.
    """
    stream = sys.stderr if stream is None else stream
    scale = {"unit": unit, "unit_scale": True, "unit_divisor": 1024} if binary else {"unit": f" {unit}"}
    shared = {"total": total, "initial": initial, "desc": description, "delay": delay, **scale}
    if stream.isatty():
        return tqdm(iterable, file=stream, dynamic_ncols=True, **shared)
    return tqdm(iterable, file=_Lines(stream), mininterval=seconds, maxinterval=2 * seconds, ncols=100, **shared)
