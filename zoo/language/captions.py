"""Captions of pictures in English and Japanese, drawn from a world's grammar, with what each of them says.

`draw_caption(world, rng, codes_row, language)` describes a picture truthfully: a random part of its attributes, in
random words. A caption carries a table of the attribute values it allows, so that any picture can be checked with it.

Held-out captions (`held_out=True`) come from templates and frames that training captions never use, and half of the
words that have an unusual variant use one (marked `~` in the word tables, mostly new combinations of known words).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from text2latent.zoo.language.lexicon import Draft, Lexicon
from text2latent.zoo.language.noise import add_noise
from text2latent.zoo.world import World

LANGUAGES = ("en", "ja")


@dataclass(frozen=True, eq=False)
class Speech:
    """A language of a world.

    Attributes:
        grammar: the module `language/grammar_LANGUAGE.py` of the world: its words, its templates and how a text is
            finished.
        lexicon: what the words say.
    """

    grammar: Any
    lexicon: Lexicon


@cache
def load_speech(world: World, language: str) -> Speech:
    """Load what a world says in a language, "en" or "ja"."""
    grammar = world.module(f"language.grammar_{language}")
    return Speech(grammar, Lexicon(grammar.WORDS.table, world))


@dataclass(frozen=True, eq=False)
class Caption:
    """A text and what it says of a picture.

    Attributes:
        text: as it was written.
        language: "en" or "ja".
        allowed: bool as `World.valid`: whether value v of attribute a satisfies the caption. All values of an
            attribute that is not mentioned are allowed; cells beyond an attribute's values are False.
        mentioned: which attributes the caption restricts, bool `[len(world.names)]`.
    """

    text: str
    language: str
    allowed: np.ndarray
    mentioned: np.ndarray


def make_caption(world: World, text: str, language: str, allowed: np.ndarray) -> Caption:
    """A caption that allows some values, bool as `World.valid`."""
    return Caption(text, language, allowed, (allowed != world.valid).any(axis=1))


def stack(captions: Sequence[Caption]) -> tuple[np.ndarray, np.ndarray]:
    """What captions allow, bool `[N, attributes, values]`, and mention, bool `[N, attributes]`."""
    return np.stack([caption.allowed for caption in captions]), np.stack([caption.mentioned for caption in captions])


def matches(world: World, captions: Sequence[Caption], codes: np.ndarray) -> np.ndarray:
    """Which pictures satisfy which captions.

    Args:
        world: their world.
        captions: any number.
        codes: integer value indices `[N, len(world.names)]`.

    Returns:
        Bool `[len(captions), N]`. What can't be seen in a picture satisfies no caption that mentions it.
    """
    allowed, mentioned = stack(captions)
    satisfied = allowed[:, np.arange(len(world.names)), codes]
    return (satisfied & (world.visible(codes) | ~mentioned[:, None, :])).all(axis=-1)


def draw_caption(
    world: World,
    rng: np.random.Generator,
    codes_row: np.ndarray,
    language: str,
    held_out: bool = False,
    num_mentioned: int | None = None,
) -> Caption:
    """Describe a picture in random words.

    Args:
        world: its world.
        rng: source of all choices.
        codes_row: value indices of the picture, integer `[len(world.names)]`.
        language: "en" or "ja".
        held_out: draw a template, and partly words, that training captions never use.
        num_mentioned: attributes to mention, less where a picture has not as many to mention, or the text would be
            too long; None draws their number too.
    """
    speech, habits = load_speech(world, language), world.captions
    grammar, codes = speech.grammar, dict(zip(world.names, codes_row.tolist(), strict=True))
    shares = habits["num_mentioned"][language] if num_mentioned is None else (0.0,) * (num_mentioned - 1) + (1.0,)
    attributes = select_attributes(world, Draft(rng, codes, speech.lexicon, held_out), shares)
    while True:
        draft = Draft(rng, codes, speech.lexicon, held_out)
        template = draft.weighted(grammar.HELD_OUT_TEMPLATES if held_out else grammar.TEMPLATES)
        text = grammar.finish(draft, template(draft, attributes))
        if len(text) <= habits["max_characters"][language] or len(attributes) == 1:
            return make_caption(world, text, language, draft.allowed)
        attributes = attributes[:-1]


def noisy_caption(world: World, rng: np.random.Generator, row: np.ndarray, language: str) -> Caption:
    """A caption that may be misspelt; it means what it meant."""
    caption = draw_caption(world, rng, row, language)
    words = load_speech(world, language).grammar.WORDS
    return replace(caption, text=add_noise(caption.text, language, words, rng))


def select_attributes(world: World, draft: Draft, num_mentioned: Sequence[float]) -> list[str]:
    """Draw the attributes to mention: absent things less often, what is invisible or goes without saying never.

    Weighted sampling without replacement after Efraimidis and Spirakis, 2006 (the largest of u^(1/weight)).
    """
    habits, row = world.captions, np.array([[draft.codes[name] for name in world.names]])
    possible = (world.visible(row) & ~world.settled(row))[0]
    names = [name for name, is_possible in zip(world.names, possible, strict=True) if is_possible]
    (shown,) = world.decode(row)
    weights = {
        name: 0.6 if habits["absent"].get(name) == shown[name] else habits["weights"].get(name, 1.0) for name in names
    }
    keys = {name: -math.log(1.0 - draft.uniform()) / weights[name] for name in names}
    count = draft.weighted(enumerate(num_mentioned, start=1))
    return sorted(names, key=keys.__getitem__)[:count]


def zero_shot_prompts(world: World, attribute: str, language: str) -> list[list[str]]:
    """Write prompts for zero-shot classification: for every value of the attribute, a few texts that mean it alone.

    Raises:
        KeyError: for an unknown attribute.
        ModuleNotFoundError: for an unknown language.
    """
    speech = load_speech(world, language)
    values = range(len(world.attributes[attribute]))
    return [
        [
            template.format(phrase)
            for phrase in _prototypes(speech, attribute, value)
            for template in speech.grammar.PROMPT_TEMPLATES
        ]
        for value in values
    ]


def _prototypes(speech: Speech, attribute: str, value: int, per_slot: int = 2) -> list[str]:
    """Write noun phrases that mean one value, from the plainest words of each slot.

    Words that say more than that are left out, but for those of attributes that words rarely say alone: `boy` and
    `grandmother` speak of gender and age at once.
    """
    grammar, phrases = speech.grammar, []
    for slot, pattern in grammar.PROTOTYPES.items():
        meanings: dict[tuple, list[str]] = {}
        for term in speech.lexicon.terms.get((slot, attribute, value), ()):
            alone = len(term.allowed) == 1 or attribute in grammar.SAID_TOGETHER
            if alone and not (term.held_out or term.vague):
                meanings.setdefault(tuple(term.allowed.items()), []).append(term.texts[0])
        phrases += [grammar.tidy(pattern.format(text)) for texts in meanings.values() for text in texts[:per_slot]]
    return list(dict.fromkeys(phrases))
