"""What is shown: parameters on their way from what they were to what is wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from text2latent.apps.serving.live.changes import DEFAULT_EASE, Change
from text2latent.apps.serving.live.ways import Way, along_line, along_sphere
from text2latent.inference.query import Query
from text2latent.models.priors.diffusion import initial_noise

if TYPE_CHECKING:
    from text2latent.inference.pipeline import Text2LatentPipeline

Directions = Callable[[str], Tensor]
"""Directions `[L, D]` of edits, on the CPU, by their names."""
BEGINNING = Change(mix=0.0, seed=0, truncation=1.0, ease=DEFAULT_EASE)


@dataclass(frozen=True, eq=False)
class Moment:
    """What a picture is drawn from.

    Attributes:
        condition: `[E]`, what the prior takes.
        noise: `[L, D]`, what it starts from.
        truncation: psi.
        edit: `[L, D]`, which is added to the latent; None adds nothing.
        state: the parameters, JSON-ready: numbers as they are at this moment, texts and seed as they are wanted.
        is_moving: whether any of them isn't there yet.
        version: counts the changes so far; at rest, moments of one version are the same.
    """

    condition: Tensor
    noise: Tensor
    truncation: float
    edit: Tensor | None
    state: dict[str, Any]
    is_moving: bool
    version: int


@dataclass(frozen=True, eq=False)
class Prepared:
    """A change, with what takes time to be made of it."""

    change: Change
    condition: Tensor | None = None
    mix_condition: Tensor | None = None
    noise: Tensor | None = None
    directions: Mapping[str, Tensor] = field(default_factory=dict)


class Scene:
    """The parameters of one picture; any thread may change and look at them.

    Args:
        beginning: what is shown at first; its `prompt` has to be there, the rest is as `BEGINNING` has it.
        directions: of the edits that `Change.edits` may name.
    """

    def __init__(self, pipeline: Text2LatentPipeline, beginning: Change, directions: Directions) -> None:
        self._pipeline, self._directions = pipeline, directions
        self._wanted, self._version = Change(), 0
        first = self.prepare(BEGINNING.then(beginning))
        wanted = first.change
        assert wanted.mix is not None
        assert wanted.truncation is not None
        assert first.condition is not None
        assert first.noise is not None
        second = first.condition if first.mix_condition is None else first.mix_condition
        self._lock = threading.Lock()
        self._wanted = wanted
        self._condition = Way.at_rest(first.condition, along_sphere)
        self._mix_condition = Way.at_rest(second, along_sphere)
        self._noise = Way.at_rest(first.noise, along_sphere)
        self._numbers = {name: Way.at_rest(getattr(wanted, name), along_line) for name in ("mix", "truncation")}
        self._strengths = {name: Way.at_rest(strength, along_line) for name, strength in wanted.edits.items()}
        self._known = dict(first.directions)

    @property
    def wanted(self) -> dict[str, Any]:
        """The parameters that are wanted, JSON-ready."""
        with self._lock:
            return asdict(self._wanted)

    def prepare(self, change: Change) -> Prepared:
        """Embed the texts of a change that has been checked, draw its noise, and find the directions of its edits.

        What is wanted already, as by tools that send all they have all the time, isn't made again; so one change has
        to be aimed at before the next one is prepared.
        """
        new = {name: getattr(change, name) for name in ("prompt", "mix_prompt", "seed")}
        new = {name: value for name, value in new.items() if value not in (None, getattr(self._wanted, name))}
        texts = {name: Query(new[name]) for name in ("prompt", "mix_prompt") if name in new}
        rows = self._pipeline.encode(list(texts.values())).condition.cpu() if texts else ()
        conditions = dict(zip(texts, rows, strict=True))
        shape = self._pipeline.prior.latent_shape
        noise = initial_noise([new["seed"]], shape)[0] if "seed" in new else None
        directions = {name: self._directions(name) for name in change.edits}
        return Prepared(change, conditions.get("prompt"), conditions.get("mix_prompt"), noise, directions)

    def aim(self, prepared: Prepared, now: float) -> None:
        """Set out for what a change wants.

        Args:
            now: seconds of a clock that only goes forward, the same as for `at`.
        """
        with self._lock:
            before = self._wanted
            wanted = before.then(prepared.change)
            if wanted == before:
                return
            seconds = wanted.ease or 0.0
            self._known.update(prepared.directions)
            if prepared.condition is not None:
                self._condition = self._condition.turn(prepared.condition, now, seconds)
                if wanted.mix_prompt is None:
                    # Without a second text, mixing has to lead to what is shown anyway.
                    self._mix_condition = self._mix_condition.turn(prepared.condition, now, seconds)
            if prepared.mix_condition is not None:
                self._mix_condition = self._mix_condition.turn(prepared.mix_condition, now, seconds)
            if prepared.noise is not None:
                self._noise = self._noise.turn(prepared.noise, now, seconds)
            for name, way in self._numbers.items():
                self._numbers[name] = _turned(way, getattr(before, name), getattr(wanted, name), now, seconds)
            for name, strength in wanted.edits.items():
                way = self._strengths.get(name) or Way.at_rest(0.0, along_line)
                self._strengths[name] = _turned(way, before.edits.get(name, 0.0), strength, now, seconds)
            self._wanted, self._version = wanted, self._version + 1

    def at(self, now: float) -> Moment:
        with self._lock:
            numbers = {name: way.at(now) for name, way in self._numbers.items()}
            strengths = {name: way.at(now) for name, way in self._strengths.items()}
            ways = (self._condition, self._mix_condition, self._noise)
            ways_of_numbers = (*self._numbers.values(), *self._strengths.values())
            return Moment(
                self._mixed(numbers["mix"], now),
                self._noise.at(now),
                numbers["truncation"],
                self._edit(strengths),
                asdict(replace(self._wanted, **numbers, edits=strengths)),
                any(way.is_moving(now) for way in (*ways, *ways_of_numbers)),
                self._version,
            )

    def _mixed(self, mix: float, now: float) -> Tensor:
        if mix in (0, 1):
            return (self._mix_condition if mix else self._condition).at(now)
        return along_sphere(self._condition.at(now), self._mix_condition.at(now), mix)

    def _edit(self, strengths: Mapping[str, float]) -> Tensor | None:
        moved = [strength * self._known[name] for name, strength in strengths.items() if strength]
        return torch.stack(moved).sum(dim=0) if moved else None


def _turned(way: Way[float], before: float, wanted: float, now: float, seconds: float) -> Way[float]:
    return way if wanted == before else way.turn(wanted, now, seconds)
