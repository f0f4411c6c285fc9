"""Typing errors, other spellings and what people put around a text, for captions that the text tower is fitted on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from text2latent.zoo.language.words import Words

NOISY = 0.35
"""Share of captions with typing errors or other spellings."""
WORDS_HIT = 0.3
"""Share of the words of such a caption that are hit; one at least."""
TAGGED = 0.18
"""Share of captions with a text around them that says nothing of the picture."""
SHORTEST = 4
"""Letters of the shortest English word that is misspelt: less could be another word."""
FIRST_LETTER = 0.1
KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
SHORTHAND = {" with ": (" w/ ", " w "), " and ": (" & ", " n "), " you ": (" u ",), "in front of": ("infront of",)}
KANA_SHIFT = 0x60
"""From a hiragana's code point to its katakana's."""


def add_noise(text: str, language: str, words: Words, rng: np.random.Generator) -> str:
    """Perhaps misspell a caption, and perhaps put tags around it; `words` are those of the language."""
    if rng.random() < NOISY:
        text = misspell(text, rng) if language == "en" else respell(text, words.spellings, rng)
    return put_tags(text, language, words, rng) if rng.random() < TAGGED else text


def misspell(text: str, rng: np.random.Generator) -> str:
    """Put typing errors into some of the longer words of an English text, or write it in shorthand."""
    if rng.random() < 0.25:
        for long, short in SHORTHAND.items():
            text = text.replace(long, str(rng.choice(short)))
        return text
    words = [found for found in re.finditer(r"[A-Za-z]+", text) if len(found[0]) >= SHORTEST]
    for found in reversed([words[i] for i in _hit(len(words), rng)]):
        text = text[: found.start()] + mistype(found[0], rng) + text[found.end() :]
    return text


def _hit(count: int, rng: np.random.Generator) -> list[int]:
    """Which of so many words are hit, one at least where there is one; ascending."""
    chosen = {int(rng.integers(count))} if count else set()
    return sorted(chosen | {i for i in range(count) if rng.random() < WORDS_HIT})


def mistype(word: str, rng: np.random.Generator) -> str:
    """Leave out, double, swap or miss a letter of a word; rarely the first one."""
    place = int(rng.integers(0 if rng.random() < FIRST_LETTER else 1, len(word)))
    before, letter, after = word[:place], word[place], word[place + 1 :]
    kind = rng.random()
    if kind < 0.35:
        return before + after
    if kind < 0.55:
        return before + letter + letter + after
    if kind < 0.8 and after:
        return before + after[0] + letter + after[1:]
    return before + _neighbour(letter, rng) + after


def _neighbour(letter: str, rng: np.random.Generator) -> str:
    """A letter beside one on the keyboard."""
    row = next((keys for keys in KEYBOARD if letter.lower() in keys), letter.lower())
    place = row.index(letter.lower()) + int(rng.choice((-1, 1)))
    return row[min(max(place, 0), len(row) - 1)]


def respell(text: str, spellings: Mapping[str, str], rng: np.random.Generator) -> str:
    """Write a Japanese text in other characters: words in kana or other kanji, all of it in one kind of kana.

    Args:
        text: what is written anew.
        spellings: other spellings of words, parted by `|`.
        rng: source of all choices.
    """
    kind = rng.random()
    if kind < 0.08:
        return to_hiragana(text)
    if kind < 0.14:
        return to_katakana(text)
    if kind < 0.24:
        return _slip(text, rng)
    share = 1.0 if rng.random() < 0.4 else 0.5

    def spell(found: re.Match[str]) -> str:
        return str(rng.choice(spellings[found[0]].split("|"))) if rng.random() < share else found[0]

    return _any_of(tuple(spellings)).sub(spell, text)


@cache
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    """Matches one of some words, the longest that there is."""
    return re.compile("|".join(sorted(map(re.escape, words), key=len, reverse=True)))


def _slip(text: str, rng: np.random.Generator) -> str:
    """Leave out, double or swap a character."""
    place = int(rng.integers(len(text)))
    slips: tuple[Callable[[], str], ...] = (
        lambda: text[:place] + text[place + 1 :] if len(text) > SHORTEST else text,
        lambda: text[: place + 1] + text[place:],
        lambda: text[:place] + text[place + 1 : place + 2] + text[place] + text[place + 2 :],
    )
    return slips[int(rng.integers(len(slips)))]()


def to_hiragana(text: str) -> str:
    """Katakana as hiragana."""
    return re.sub("[ァ-ヶ]", lambda found: chr(ord(found[0]) - KANA_SHIFT), text)


def to_katakana(text: str) -> str:
    """Hiragana as katakana."""
    return re.sub("[ぁ-ゖ]", lambda found: chr(ord(found[0]) + KANA_SHIFT), text)


def put_tags(text: str, language: str, words: Words, rng: np.random.Generator) -> str:
    """Put words on quality, a camera or a program's flags before or behind a text."""
    before, marks = words.lists["tags"], words.lists["marks"]
    behind = before + words.lists["flags"]
    if rng.random() < 0.25:
        return text.rstrip(".。") + str(rng.choice(marks))
    comma = "、" if language == "ja" and rng.random() < 0.6 else ", "
    if rng.random() < 0.4:
        text = comma.join([*rng.choice(before, rng.integers(1, 4)), text])
    if rng.random() < 0.8:
        text = comma.join([text.rstrip(".。"), *rng.choice(behind, rng.integers(1, 5))])
    return text.replace(", --", " --").replace("、--", " --")
