"""How familiar the wording of a prompt is: whether its words are those of a domain, or of texts of all kinds.

A small CLIP may see a picture in any words, those of a language without spaces above all. What its domain is talked of
in says more then. This is the likelihood ratio of a text under texts of the domain and under a background (Ren et al.,
arXiv:1906.02845) in its plainest form, naive Bayes: the mean logarithm of how many times as often as in the background
each of its units stands in texts of the domain. Units are words, and pairs of neighbouring characters in scripts that
put no spaces between words.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from text2latent.inference.prompt_lists import general_prompts
from text2latent.inference.prompts import parts_of

if TYPE_CHECKING:
    from text2latent.models.clip.encoder import ClipEncoder

MIN_ALIKE = 50
UNKNOWN = -2.0
"""Evidence of a unit that stands neither in texts of the domain nor in the background: such as most words do."""
STRONGEST = 4.0
"""Most that a unit speaks for or against a text."""
USUAL_SHARE = 1e-4
"""Share of a domain's units from which on one never speaks against it."""
SEEN, UNSEEN = 0.5, 0.05
"""Added to how often a unit stands in the domain and in the background, of which there is less text."""
LATIN = "A-Za-z\u00c0-\u024f"
PIECES = re.compile(rf"[{LATIN}]+|\d|[^\W\d_{LATIN}]+")
EDGES = "^$"


def is_latin(text: str) -> bool:
    """Whether all letters of a text are Latin ones, full-width ones included."""
    letters = [char for char in unicodedata.normalize("NFKC", text) if char.isalpha()]
    return all(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)


def units_of(clip: ClipEncoder, prompt: str) -> list[int]:
    """The units of a prompt's parts, in small letters and normalised as CLIP's texts are, by Unicode's NFKC at least.

    Returns:
        A number of 63 bits for each, the same for the same unit.
    """
    normalize = getattr(clip.tokenizer, "normalize", str)
    texts = [unicodedata.normalize("NFKC", normalize(part.text)).lower() for part in parts_of(prompt)]
    return [_number(unit) for text in texts for unit in _split(text)]


def _split(text: str) -> list[str]:
    """Words, digits, and the pairs of characters of what is written without spaces, its edges included."""
    units: list[str] = []
    for piece in PIECES.findall(text.replace("'", "")):
        if piece[0].isdigit() or re.match(f"[{LATIN}]", piece):
            units.append(piece)
        else:
            whole = EDGES[0] + piece + EDGES[1]
            units += [whole[i : i + 2] for i in range(len(whole) - 1)]
    return units


def _number(unit: str) -> int:
    return int.from_bytes(hashlib.blake2b(unit.encode(), digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True)
class Wording:
    """What prompts of a domain are worded like; see `fit_wording`.

    Attributes:
        units: int64 `[U]`, ascending, numbers of the units that stand in texts of the domain or of the background.
        evidence: `[U]` in [-`STRONGEST`, `STRONGEST`], how much each speaks for the domain.
        strangeness: `[P]`, that of the prompts that others are held against, each by the other texts alone.
        latin: `[P]` bool, whether each is in Latin letters. Prompts are held against those of their own kind, since
            units of other scripts are no words.
    """

    units: Tensor
    evidence: Tensor
    strangeness: Tensor
    latin: Tensor

    def rate(self, clip: ClipEncoder, prompts: Sequence[str]) -> Tensor:
        """Strangeness of prompts, `[N]`: minus the mean evidence of their units, `UNKNOWN` of those never met."""
        return torch.tensor([self._rate_one(units_of(clip, prompt)) for prompt in prompts])

    def _rate_one(self, units: Sequence[int]) -> float:
        numbers = torch.tensor(units or [0])
        places = torch.searchsorted(self.units, numbers).clamp(max=len(self.units) - 1)
        is_known = self.units[places] == numbers
        return -float(torch.where(is_known, self.evidence[places].float(), torch.tensor(UNKNOWN)).mean())

    def alike(self, latin: bool) -> Tensor:
        """The domain's prompts of one kind of script, `[P]` bool; all of them where these are too few."""
        found = self.latin == latin
        return found if found.sum() >= MIN_ALIKE else torch.ones_like(found)


def fit_wording(
    clip: ClipEncoder, prompts: Sequence[str], further: Sequence[str] = (), background: Sequence[str] | None = None
) -> Wording:
    """Learn how a domain is talked of.

    Args:
        clip: whose texts are normalised, if it asks for that.
        prompts: P >= 1 prompts of the domain, which others are held against later.
        further: more texts of the domain, whose words count as much; the more, the fewer of its words are unknown.
        background: texts of all kinds; None for the package's own, in English and Japanese. Those that the domain has
            all units of may be in it themselves, and are left out.
    """
    if background is None:
        background = [text for texts in general_prompts().values() for text in texts]
    own = [units_of(clip, prompt) for prompt in prompts]
    inside = _count([*own, *(units_of(clip, text) for text in further)])
    others = [units_of(clip, text) for text in background]
    outside = _count(part for part in others if not inside.keys() >= set(part))
    weigh = _Evidence(inside, outside)
    units = torch.tensor(sorted({*inside, *outside}))
    evidence = torch.tensor([weigh(unit) for unit in units.tolist()])
    strangeness = torch.tensor([_strangeness(weigh, Counter(part)) for part in own])
    return Wording(units, evidence.half(), strangeness, torch.tensor([is_latin(prompt) for prompt in prompts]))


def _count(texts: Iterable[Sequence[int]]) -> Counter[int]:
    return Counter(unit for text in texts for unit in text)


class _Evidence:
    """Logarithm of how many times as often as in the background a unit stands in the domain."""

    def __init__(self, inside: Counter[int], outside: Counter[int]) -> None:
        self.inside, self.outside = inside, outside
        self.shift = math.log((outside.total() + 1) / (inside.total() + 1))
        self.usual_times = USUAL_SHARE * inside.total()

    def __call__(self, unit: int, left_out: int = 0) -> float:
        """Evidence of a unit, without so many times that it stands in the domain."""
        inside, outside = self.inside[unit] - left_out, self.outside[unit]
        if not inside and not outside:
            return UNKNOWN
        ratio = math.log((inside + SEEN) / (outside + UNSEEN)) + self.shift
        # "a" stands in all texts, and "a woman" in many: what a domain often says doesn't speak against it.
        is_usual = inside and inside >= self.usual_times
        return min(max(ratio, 0.0 if is_usual else -STRONGEST), STRONGEST if inside else UNKNOWN)


def _strangeness(weigh: _Evidence, units: Counter[int]) -> float:
    """Of a text that is left out of those that speak for it."""
    if not units:
        return -UNKNOWN
    return -sum(weigh(unit, times) * times for unit, times in units.items()) / units.total()
