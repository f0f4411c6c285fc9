"""Captions of faces in English and Japanese, drawn from a grammar, with what each of them says.

`draw_caption(rng, codes_row, language)` describes a face truthfully: a random part of its attributes, in random words.
A caption carries a table of the attribute values it allows, so that any face can be checked against it.

Held-out captions (`held_out=True`) come from templates and frames that training captions never use, and half of the
words that have an unusual variant use one (marked `~` in the word tables, mostly new combinations of known words).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from text2latent.zoo.faces.attributes import ATTRIBUTES, NAMES, visible
from text2latent.zoo.faces.language import grammar_en, grammar_ja
from text2latent.zoo.faces.language.lexicon import VALID, Draft

GRAMMARS: dict[str, ModuleType] = {"en": grammar_en, "ja": grammar_ja}
LANGUAGES: tuple[str, ...] = tuple(GRAMMARS)

ABSENT = {"eyewear": "none", "facial_hair": "none", "earrings": "no", "headwear": "none", "background": "plain"}
"""Values that are less worth mentioning than their alternatives."""
WEIGHTS = {"gender": 3.0, "expression": 1.3, "facial_hair": 1.6, "hair_color": 1.2}
"""How much more than other attributes these are worth mentioning."""
NUM_MENTIONED = {
    "en": (0.17, 0.22, 0.2, 0.15, 0.1, 0.07, 0.03, 0.02, 0.02, 0.01, 0.01),
    "ja": (0.2, 0.26, 0.25, 0.17, 0.09, 0.03),
}
"""Probabilities of mentioning 1, 2, ... attributes."""
MAX_CHARACTERS = {"en": 280, "ja": 45}
"""What fits into the context of the faces CLIP; longer captions are drawn anew with one attribute less."""


@dataclass(frozen=True, eq=False)
class Caption:
    """A text and what it says of a face.

    Attributes:
        language: "en" or "ja".
        allowed: bool `[11, 7]`: whether value v of attribute a satisfies the caption. All values of an attribute that
            is not mentioned are allowed; cells beyond an attribute's values are False.
    """

    text: str
    language: str
    allowed: np.ndarray

    @property
    def mentioned(self) -> np.ndarray:
        """Which attributes the caption restricts, bool `[11]`."""
        return (self.allowed != VALID).any(axis=1)


def matches(captions: Sequence[Caption], codes: np.ndarray) -> np.ndarray:
    """Which faces satisfy which captions.

    Args:
        codes: integer value indices `[N, 11]`.

    Returns:
        Bool `[len(captions), N]`. A bald head satisfies no caption that restricts the hair colour.
    """
    allowed = np.stack([caption.allowed for caption in captions])
    mentioned = np.stack([caption.mentioned for caption in captions])
    satisfied = allowed[:, np.arange(len(NAMES)), codes]
    return (satisfied & (visible(codes) | ~mentioned[:, None, :])).all(axis=-1)


def draw_caption(
    rng: np.random.Generator,
    codes_row: np.ndarray,
    language: str,
    held_out: bool = False,
    num_mentioned: int | None = None,
) -> Caption:
    """Describe a face in random words.

    Args:
        rng: source of all choices.
        codes_row: value indices of the face, integer `[11]`.
        language: "en" or "ja".
        held_out: draw a template, and partly words, that training captions never use.
        num_mentioned: attributes to mention, less where a face has not as many to mention, or the text would be too
            long; None draws their number too.
    """
    grammar = GRAMMARS[language]
    codes = dict(zip(NAMES, codes_row.tolist(), strict=True))
    shares = NUM_MENTIONED[language] if num_mentioned is None else (0.0,) * (num_mentioned - 1) + (1.0,)
    attributes = select_attributes(Draft(rng, codes, grammar.LEXICON, held_out), shares)
    while True:
        draft = Draft(rng, codes, grammar.LEXICON, held_out)
        template = draft.weighted(grammar.HELD_OUT_TEMPLATES if held_out else grammar.TEMPLATES)
        text = grammar.finish(draft, template(draft, attributes))
        if len(text) <= MAX_CHARACTERS[language] or len(attributes) == 1:
            return Caption(text, language, draft.allowed)
        attributes = attributes[:-1]


def select_attributes(draft: Draft, num_mentioned: Sequence[float]) -> list[str]:
    """Draw the attributes to mention: gender most often, absent things less often, invisible ones never.

    Weighted sampling without replacement after Efraimidis and Spirakis, 2006 (the largest of u^(1/weight)).
    """
    face = {name: ATTRIBUTES[name][code] for name, code in draft.codes.items()}
    names = list(NAMES)
    if face["hair_style"] == "bald":
        names.remove("hair_color")
    if face["gender"] == "woman" or face["age"] == "child":
        names.remove("facial_hair")
    weights = {name: 0.6 if ABSENT.get(name) == face[name] else WEIGHTS.get(name, 1.0) for name in names}
    keys = {name: -math.log(1.0 - draft.uniform()) / weights[name] for name in names}
    count = draft.weighted(enumerate(num_mentioned, start=1))
    return sorted(names, key=keys.__getitem__)[:count]


def zero_shot_prompts(attribute: str, language: str) -> list[list[str]]:
    """Write prompts for zero-shot classification: for every value of the attribute, a few texts that mean it alone.

    Raises:
        KeyError: the attribute or language is unknown.
    """
    grammar = GRAMMARS[language]
    values = range(len(ATTRIBUTES[attribute]))
    return [
        [
            template.format(phrase)
            for phrase in _prototypes(grammar, attribute, value)
            for template in grammar.PROMPT_TEMPLATES
        ]
        for value in values
    ]


def _prototypes(grammar: ModuleType, attribute: str, value: int, per_slot: int = 2) -> list[str]:
    """Write noun phrases that mean one value, from the plainest words of each slot.

    Words for people speak of gender and age at once (boy, grandmother); others that say more are left out.
    """
    phrases = []
    for slot, pattern in grammar.PROTOTYPES.items():
        meanings: dict[tuple, list[str]] = {}
        for term in grammar.LEXICON.terms.get((slot, attribute, value), ()):
            if not (term.held_out or term.vague) and (len(term.allowed) == 1 or attribute in ("gender", "age")):
                meanings.setdefault(tuple(term.allowed.items()), []).append(term.texts[0])
        phrases += [grammar.tidy(pattern.format(text)) for texts in meanings.values() for text in texts[:per_slot]]
    return list(dict.fromkeys(phrases))
