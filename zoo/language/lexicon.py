"""Words and what they say of a picture: the machinery under the caption grammars of both languages.

A word table maps a meaning to the texts that express it, one entry per grammatical slot:
`{"facial_hair=beard": {"adj": "bearded", "with": "a beard; a {full|bushy} beard; ~a beard on the chin"}}`.

- A meaning names attributes and their allowed values: `age=old`, `hair_color=gray,white`, `age!=child`, several parted
  by blanks. The first attribute is the one the text is looked up by.
- Texts are parted by `; `, braces expand to each of their alternatives (`{20..33}` to numbers), and `~` marks a text as
  held out: it is never drawn for training.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np

from text2latent.zoo.world import World

WordTable = Mapping[str, Mapping[str, str]]
T = TypeVar("T")


def expand(text: str) -> tuple[str, ...]:
    """Expand braces: `"{by|near} the sea"` gives `("by the sea", "near the sea")`, `"{1..3}"` gives the numbers."""
    numbered = re.sub(r"(\d+)\.\.(\d+)", lambda found: _numbers(int(found[1]), int(found[2])), text)
    parts = [part.split("|") for part in re.split(r"[{}]", numbered)]
    return tuple("".join(choice) for choice in itertools.product(*parts))


def _numbers(first: int, last: int) -> str:
    return "|".join(str(number) for number in range(first, last + 1))


def phrases(text: str) -> tuple[str, ...]:
    """Split texts parted by `; `."""
    return tuple(text.split("; "))


@dataclass(frozen=True)
class Term:
    """Interchangeable texts of one meaning, for one grammatical slot.

    Attributes:
        allowed: per attribute that the texts speak of, the value indices they allow; the first is the one looked up.
        held_out: whether the texts are kept out of training captions.
    """

    texts: tuple[str, ...]
    allowed: Mapping[str, tuple[int, ...]]
    held_out: bool

    @property
    def vague(self) -> bool:
        """Whether the texts leave several values open: "not blonde", "adult"."""
        return len(next(iter(self.allowed.values()))) > 1

    def is_true(self, codes: Mapping[str, int]) -> bool:
        """Whether the term may be said of the picture with these value indices."""
        return all(codes[name] in values for name, values in self.allowed.items())


class Lexicon:
    """Terms of one language of a world, looked up by slot, attribute and value index."""

    def __init__(self, table: WordTable, world: World) -> None:
        self.world = world
        self.terms: dict[tuple[str, str, int], list[Term]] = {}
        for meaning, slots in table.items():
            allowed = world.parse_meaning(meaning)
            first = next(iter(allowed))
            for slot, texts in slots.items():
                for text in phrases(texts):
                    term = Term(expand(text.removeprefix("~")), allowed, text.startswith("~"))
                    for value in allowed[first]:
                        self.terms.setdefault((slot, first, value), []).append(term)

    def find(self, slot: str, attribute: str, codes: Mapping[str, int], held_out: bool) -> list[Term]:
        """Return the terms that are true of a picture, held-out ones only where they are asked for."""
        terms = self.terms.get((slot, attribute, codes[attribute]), ())
        return [
            term
            for term in terms
            if (held_out or not term.held_out) and (len(term.allowed) == 1 or term.is_true(codes))
        ]


class Draft:
    """A caption in the making: its random choices, and what has been said of the picture so far.

    Attributes:
        codes: value index per attribute name.
        held_out: whether held-out words may be used.
        allowed: the values that everything said so far allows, bool as `World.valid`.
    """

    VAGUE = 0.25
    """Probability of speaking of an attribute vaguely, by negation for instance, where there are words for it."""
    PLAIN = 0.2
    """Probability of taking the first, plainest word of a slot; otherwise all are equally likely."""
    FRESH = 0.5
    """Probability that a held-out draft takes a held-out word where there is one."""

    def __init__(self, rng: np.random.Generator, codes: Mapping[str, int], lexicon: Lexicon, held_out: bool) -> None:
        self._rng = rng
        self._numbers: list[float] = []
        self._choices: dict[tuple[str, str], list[Term]] = {}
        self._lexicon = lexicon
        self.codes = codes
        self.held_out = held_out
        self.allowed = lexicon.world.valid.copy()
        self._vague = {name for name in codes if self.chance(self.VAGUE)}

    def uniform(self) -> float:
        """Draw from [0, 1); numbers are taken in blocks, since single calls would dominate the run time."""
        if not self._numbers:
            self._numbers = self._rng.random(64).tolist()
        return self._numbers.pop()

    def chance(self, probability: float) -> bool:
        return self.uniform() < probability

    def pick(self, choices: Sequence[T]) -> T:
        """Draw one of `choices`, all equally likely."""
        return choices[int(self.uniform() * len(choices))]

    def weighted(self, choices: Iterable[tuple[T, float]]) -> T:
        """Draw an item of `(item, probability)`."""
        items = list(choices)
        point = self.uniform() * sum(probability for _, probability in items)
        for item, probability in items:
            point -= probability
            if point < 0:
                return item
        return items[-1][0]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the items in random order."""
        return [item for _, item in sorted(((self.uniform(), item) for item in items), key=lambda pair: pair[0])]

    def slots(self, attribute: str, slots: Sequence[str]) -> list[str]:
        """Return those of `slots` in which the attribute's value can be said, as vaguely as it is meant to be."""
        possible = [slot for slot in slots if self._find(slot, attribute)]
        wanted = [slot for slot in possible if self._find(slot, attribute)[0].vague == (attribute in self._vague)]
        return wanted or possible

    def say(self, slot: str, attribute: str) -> str:
        """Draw a text for the attribute's value and record what it says."""
        terms = self._find(slot, attribute)
        fresh = [term for term in terms if term.held_out]
        if fresh and self.chance(self.FRESH):
            terms = fresh
        term = terms[0] if self.chance(self.PLAIN) else self.pick(terms)
        for name, values in term.allowed.items():
            row = self._row(name)
            row &= [value in values for value in range(row.size)]
        return self.pick(term.texts)

    def distribute(self, attributes: Iterable[str], slots: Sequence[str]) -> dict[str, list[str]]:
        """Say every attribute in one of the slots that can hold it; returns the texts of each slot."""
        said: dict[str, list[str]] = {slot: [] for slot in slots}
        for name in attributes:
            if possible := self.slots(name, slots):
                slot = self.pick(possible)
                said[slot].append(self.say(slot, name))
        return said

    def settled(self, attribute: str) -> bool:
        """Whether what was said leaves one value only."""
        return np.count_nonzero(self._row(attribute)) == 1

    def _row(self, attribute: str) -> np.ndarray:
        """The values of an attribute that everything said so far allows; a view."""
        return cast(np.ndarray, self.allowed[self._lexicon.world.names.index(attribute)])

    def _find(self, slot: str, attribute: str) -> list[Term]:
        """Return the true terms, only the vague or only the exact ones where there are both."""
        if (slot, attribute) not in self._choices:
            terms = self._lexicon.find(slot, attribute, self.codes, self.held_out)
            wanted = [term for term in terms if term.vague == (attribute in self._vague)]
            self._choices[slot, attribute] = wanted or terms
        return self._choices[slot, attribute]
