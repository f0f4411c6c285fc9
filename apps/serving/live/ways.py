"""Values on their way to where they are wanted, as functions of time alone, however often they are looked at."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from text2latent.inference.editing import way_between

T = TypeVar("T")
SAME_SHARE = 0.02
"""Share of a leg's time in which a further target takes the place of its own: it has hardly moved so far."""
MOST_LEGS = 64


@dataclass(frozen=True)
class Leg(Generic[T]):
    """A part of a way.

    Attributes:
        start: when it begins, in seconds of any clock.
        seconds: how long it takes; 0 is there at once.
    """

    target: T
    start: float
    seconds: float

    def share(self, now: float) -> float:
        """How much of it is done, in [0, 1]: smoothstep, which begins and ends without speed."""
        if self.seconds == 0:
            return 1.0
        passed = min(max((now - self.start) / self.seconds, 0.0), 1.0)
        return passed * passed * (3 - 2 * passed)


@dataclass(frozen=True)
class Way(Generic[T]):
    """A value that goes to one target after the other.

    A leg sets out from what the legs before it give at the same moment, not from where they were at its beginning. So
    neither value nor speed jumps when a new target comes in the middle of a leg, and a slider that sends targets all
    the time is followed, where a fresh start at each would never get going.

    Attributes:
        legs: the first is where the value was; those that are overtaken are forgotten at the next turn.
        between: value between two others at a share in [0, 1].
    """

    legs: tuple[Leg[T], ...]
    between: Callable[[T, T, float], T]

    @classmethod
    def at_rest(cls, value: T, between: Callable[[T, T, float], T]) -> Way[T]:
        """A value that stays."""
        return cls((Leg(value, -math.inf, 0.0),), between)

    def at(self, now: float) -> T:
        """The value at a moment, not before the latest turn."""
        first, *others = self._open_legs(now)
        value = first.target
        for leg in others:
            value = self.between(value, leg.target, leg.share(now))
        return value

    def is_moving(self, now: float) -> bool:
        """Whether the last target isn't reached."""
        return len(self._open_legs(now)) > 1

    def turn(self, target: T, now: float, seconds: float) -> Way[T]:
        """The way that leads to another target from now on.

        Args:
            now: not before the latest turn.
            seconds: until the target is reached, at least 0.
        """
        *before, last = self._open_legs(now)
        if before and last.seconds == seconds and now - last.start < SAME_SHARE * seconds:
            return replace(self, legs=(*before, replace(last, target=target)))
        return replace(self, legs=(*before, last, Leg(target, now, seconds))[-MOST_LEGS:])

    def _open_legs(self, now: float) -> tuple[Leg[T], ...]:
        """The last leg that is done, and those that are under way."""
        done = [place for place, leg in enumerate(self.legs) if place == 0 or leg.share(now) == 1]
        return self.legs[done[-1] :]


def along_line(start: float, end: float, share: float) -> float:
    return start + share * (end - start)


def along_sphere(start: Tensor, end: Tensor, share: float) -> Tensor:
    """A tensor between two of one shape: its direction on their great circle, its length between theirs."""
    ends = torch.stack([start.flatten(), end.flatten()])
    return way_between(ends, torch.tensor([share]), are_raw=True)[0].view_as(start)
