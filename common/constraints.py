"""What a value may be beyond its type, for the fields of the schema and for single flags of a command line."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

T = TypeVar("T", int, float)


@dataclass(frozen=True)
class Range:
    """Finite numbers between bounds; `above` and `below` exclude their end, `at_least` and `at_most` include it."""

    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None

    def allows(self, value: object) -> bool:
        """Whether `value` is a finite number within the bounds."""
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
        return isinstance(value, str) and bool(value.strip())

    def describe(self) -> str:
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


@dataclass(frozen=True, repr=False)
class NumberType(Generic[T]):
    """An argument type that reads a number within `bounds`; shown in `--help` as what it expects."""

    kind: str
    convert: Callable[[str], T]
    bounds: Range

    def __call__(self, value: object) -> T:
        """Read `value`; raises `argparse.ArgumentTypeError` that says what was expected and what came."""
        with contextlib.suppress(ValueError):
            if self.bounds.allows(parsed := self.convert(str(value))):
                return parsed
        raise argparse.ArgumentTypeError(f"expected {self}, got {_show(value)}")

    def __repr__(self) -> str:
        """Put into words what is expected."""
        return f"{self.kind} {self.bounds.describe()}".rstrip()


def whole_number(bounds: Range) -> NumberType[int]:
    """Make the argument type of whole numbers within `bounds`."""
    return NumberType("a whole number", int, bounds)


def number(bounds: Range) -> NumberType[float]:
    """Make the argument type of finite numbers within `bounds`."""
    return NumberType("a finite number", float, bounds)


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
