"""What a value may be beyond its type, for the fields of the schema and for single flags of a command line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """Finite numbers between bounds; `above` and `below` exclude their end, `at_least` and `at_most` include it."""

    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None

    def allows(self, value: object) -> bool:
        """Tell whether `value` is a finite number within the bounds."""
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            return False
        return (
            (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def describe(self) -> str:
        """Name the bounds, as in `>= 0 and < 1`; empty without any."""
        bounds = ((">", self.above), (">=", self.at_least), ("<=", self.at_most), ("<", self.below))
        return " and ".join(f"{sign} {_write(bound)}" for sign, bound in bounds if bound is not None)


@dataclass(frozen=True)
class Filled:
    """Text with something other than white space in it."""

    def allows(self, value: object) -> bool:
        """Tell whether `value` is text that is not blank."""
        return isinstance(value, str) and bool(value.strip())

    def describe(self) -> str:
        """Name the demand."""
        return "other than blank"


Constraint = Range | Filled

PositiveInt = Annotated[int, Range(at_least=1)]
NonNegativeInt = Annotated[int, Range(at_least=0)]
Seed = Annotated[int, Range(at_least=0, below=2**63)]
PositiveFloat = Annotated[float, Range(above=0)]
NonNegativeFloat = Annotated[float, Range(at_least=0)]
UnitInterval = Annotated[float, Range(at_least=0, at_most=1)]
Fraction = Annotated[float, Range(at_least=0, below=1)]
FilledText = Annotated[str, Filled()]


def _write(bound: float) -> str:
    """Write a bound; large powers of two, the limits of seeds, as powers."""
    exponent = int(bound).bit_length() - 1
    return f"2^{exponent}" if exponent > 30 and bound == 2**exponent else f"{bound:g}"


def whole_number(bounds: Range) -> Callable[[object], int]:
    """Make an argument type that reads a whole number within `bounds`; its errors say what was expected."""

    def parse(value: object) -> int:
        try:
            number = int(str(value))
        except ValueError:
            number = None
        if number is None or not bounds.allows(number):
            raise argparse.ArgumentTypeError(f"expected {_join('a whole number', bounds)}, got {_show(value)}")
        return number

    return parse


def number(bounds: Range) -> Callable[[object], float]:
    """Make an argument type that reads a finite number within `bounds`; its errors say what was expected."""

    def parse(value: object) -> float:
        try:
            parsed = float(str(value))
        except ValueError:
            parsed = math.nan
        if not bounds.allows(parsed):
            raise argparse.ArgumentTypeError(f"expected {_join('a finite number', bounds)}, got {_show(value)}")
        return parsed

    return parse


def _join(kind: str, bounds: Range) -> str:
    return f"{kind} {bounds.describe()}".rstrip()


def _show(value: object, width: int = 60) -> str:
    text = repr(str(value))
    return text if len(text) <= width else f"{text[: width - 4]}...'"


positive_int = whole_number(Range(at_least=1))
non_negative_int = whole_number(Range(at_least=0))
seed = whole_number(Range(at_least=0, below=2**63))
finite_float = number(Range())
positive_float = number(Range(above=0))
non_negative_float = number(Range(at_least=0))
unit_interval = number(Range(at_least=0, at_most=1))
