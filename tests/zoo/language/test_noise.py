from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text2latent.zoo.faces.language import grammar_en, grammar_ja
from text2latent.zoo.language.noise import (
    NOISY,
    SHORTEST,
    TAGGED,
    add_noise,
    misspell,
    mistype,
    put_tags,
    respell,
    to_hiragana,
    to_katakana,
)

words = st.text("abcdefghijklmnopqrstuvwxyz", min_size=SHORTEST, max_size=12)


def edits(word: str) -> set[str]:
    """All that a slip makes of a word: a letter less, one twice, two swapped, another letter."""
    places = range(len(word))
    less = {word[:i] + word[i + 1 :] for i in places}
    twice = {word[: i + 1] + word[i:] for i in places}
    swapped = {word[:i] + word[i + 1 : i + 2] + word[i] + word[i + 2 :] for i in places}
    other = {word[:i] + letter + word[i + 1 :] for i in places for letter in "abcdefghijklmnopqrstuvwxyz"}
    return less | twice | swapped | other


@settings(max_examples=200, deadline=None)
@given(words, st.integers(0, 2**32 - 1))
def test_a_slip_is_one_letter_off(word: str, seed: int) -> None:
    assert mistype(word, np.random.default_rng(seed)) in edits(word)


@pytest.mark.parametrize("seed", range(30))
def test_only_longer_words_are_misspelt_and_one_at_least(seed: int) -> None:
    text = "an old man with a hat and blue glasses"
    found = misspell(text, np.random.default_rng(seed))
    if re.search(r"w/| w | & | n ", found):
        return
    pairs = list(zip(text.split(), found.split(), strict=True))
    assert all(before == after for before, after in pairs if len(before) < SHORTEST)
    assert all(after in edits(before) for before, after in pairs)


def test_japanese_is_spelt_in_other_characters() -> None:
    rng = np.random.default_rng(0)
    found = {respell("金髪の女の子", grammar_ja.WORDS.spellings, rng) for _ in range(300)}
    assert {"きんぱつのおんなのこ", "金髪のおんなのこ", "きんぱつの女の子"} <= found
    assert (to_hiragana("メガネの男"), to_katakana("めがね男")) == ("めがねの男", "メガネ男")


@pytest.mark.parametrize(("language", "grammar"), [("en", grammar_en), ("ja", grammar_ja)])
def test_tags_stand_around_a_text_and_say_nothing_of_a_face(language: str, grammar: Any) -> None:
    rng = np.random.default_rng(1)
    text = "a man" if language == "en" else "男性"
    lists = grammar.WORDS.lists
    known = sorted([*lists["tags"], *lists["flags"], *lists["marks"]], key=len, reverse=True)
    for _ in range(200):
        found = put_tags(text, language, grammar.WORDS, rng)
        assert text in found
        rest = found.replace(text, "", 1)
        for tag in known:
            rest = rest.replace(tag, "")
        assert not re.search(r"\w", rest), found


def test_noise_comes_in_its_shares_and_from_its_seed_alone() -> None:
    rng = np.random.default_rng(2)
    text = "a woman with glasses"
    changed = np.mean([add_noise(text, "en", grammar_en.WORDS, rng) != text for _ in range(4000)])
    assert changed == pytest.approx(1 - (1 - NOISY) * (1 - TAGGED), abs=0.04)
    first, second = (add_noise("金髪の女の子", "ja", grammar_ja.WORDS, np.random.default_rng(3)) for _ in range(2))
    assert first == second
