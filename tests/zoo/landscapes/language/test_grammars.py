"""Captions of landscapes say what is true, mean what an independent reading finds in them, and are clean language."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml

from text2latent.zoo.language.captions import (
    LANGUAGES,
    Caption,
    draw_caption,
    load_speech,
    matches,
    zero_shot_prompts,
)
from text2latent.zoo.language.japanese import continued
from text2latent.zoo.language.lexicon import Draft
from text2latent.zoo.world import load_world

WORLD = load_world("landscapes")
languages = pytest.mark.parametrize("language", LANGUAGES)
SAYS = {
    "en": [
        (r"lighthouse", "building", "lighthouse"),
        (r"\b(sunset|dusk|sundown)\b", "time", "sunset"),
        (r"\b(midnight|night sky)\b", "time", "night"),
        (r"\b(sunrise|daybreak|dawn)\b", "time", "dawn"),
        (r"\b(raining|downpour|raindrops)\b", "weather", "rain"),
        (r"\b(foggy|misty|fog|mist)\b", "weather", "fog"),
        (r"\b(snowflakes|snowfall|blizzard)\b", "weather", "snow"),
        (r"northern lights|aurora", "sky", "aurora"),
        (r"milky way|starlit", "sky", "stars"),
        (r"\bfull moon\b", "sky", "moon"),
        (r"\b(lake|pond)\b", "place", "lake"),
        (r"\b(river|stream)\b", "place", "river"),
        (r"\b(beach|seaside|ocean)\b", "place", "beach"),
        (r"\b(desert|dunes|sahara)\b", "place", "desert"),
        (r"\b(woods|woodland)\b", "place", "forest"),
        (r"mount fuji|snow-capped", "mountains", "snowy"),
        (r"\b(palm|palms|coconut|jungle)\b", "trees", "palms"),
        (r"\b(pines?|firs?|conifers?)\b", "trees", "pines"),
        (r"\b(cherry|sakura)\b", "trees", "cherry"),
        (r"\b(wildflowers|flower meadow)\b", "flowers", "some"),
        (r"\b(cabin|cottage)\b", "building", "hut"),
        (r"\b(winter|january)\b", "season", "winter"),
        (r"\b(summer|july)\b", "season", "summer"),
        (r"\b(autumn|october)\b", "season", "autumn"),
        (r"\bspring\b", "season", "spring"),
        (r"windows xp", "place", "hills"),
    ],
    "ja": [
        (r"灯台", "building", "lighthouse"),
        (r"夕焼|夕暮|日没|夕日", "time", "sunset"),
        (r"真夜中|深夜", "time", "night"),
        (r"朝焼|夜明|朝日", "time", "dawn"),
        (r"大雨|雨が降って", "weather", "rain"),
        (r"霧", "weather", "fog"),
        (r"(?<![花桜])吹雪|雪が降", "weather", "snow"),
        (r"オーロラ", "sky", "aurora"),
        (r"星空|(?<!雨)天の川", "sky", "stars"),
        (r"満月", "sky", "moon"),
        (r"湖", "place", "lake"),
        (r"小川|川岸|川辺", "place", "river"),
        (r"砂浜|海岸|ビーチ", "place", "beach"),
        (r"砂漠|砂丘|オアシス", "place", "desert"),
        (r"富士|雪山", "mountains", "snowy"),
        (r"ヤシ|椰子|ジャングル", "trees", "palms"),
        (r"松|モミの木|針葉樹", "trees", "pines"),
        (r"桜|サクラ", "trees", "cherry"),
        (r"花畑|野の花", "flowers", "some"),
        (r"小屋|ログハウス", "building", "hut"),
        (r"雪景色|銀世界|冬", "season", "winter"),
        (r"(?<!常)夏", "season", "summer"),
        (r"紅葉|秋|落ち葉", "season", "autumn"),
        (r"春|新緑(?!の木)", "season", "spring"),
        (r"XP", "place", "hills"),
    ],
}
"""Patterns, and the value of an attribute that they mean by themselves."""
NEGATION = {"en": r"\b(no|not|without|nothing|outside)\b|less\b|before nightfall", "ja": r"な(い|く|し)|無"}


@cache
def draw_many(language: str, held_out: bool, count: int = 2000) -> list[tuple[Caption, np.ndarray]]:
    rng = np.random.default_rng(20)
    rows = WORLD.draw_codes(rng, count)
    return [(draw_caption(WORLD, rng, row, language, held_out), row) for row in rows]


@languages
@pytest.mark.parametrize("held_out", [False, True])
def test_captions_are_true_and_say_something(language: str, held_out: bool) -> None:
    captions, rows = zip(*draw_many(language, held_out), strict=True)
    true = matches(WORLD, captions[:400], np.stack(rows[:400])).diagonal()
    assert [caption.text for caption, is_true in zip(captions, true, strict=False) if not is_true] == []
    assert all(caption.mentioned.any() and caption.text.strip() == caption.text for caption in captions)


@languages
@pytest.mark.parametrize("held_out", [False, True])
def test_words_say_what_an_independent_reading_says(language: str, held_out: bool) -> None:
    checked: Counter[str] = Counter()
    for caption, _ in draw_many(language, held_out):
        text = caption.text.lower() if language == "en" else caption.text
        if re.search(NEGATION[language], text):
            continue
        for pattern, attribute, value in SAYS[language]:
            if re.search(pattern, text):
                allowed = caption.allowed[WORLD.names.index(attribute)]
                assert allowed[WORLD.attributes[attribute].index(value)], (caption.text, attribute, value)
                assert allowed.sum() == 1, (caption.text, attribute, value)
                checked[pattern] += 1
    assert len(checked) >= len(SAYS[language]) - 2


def test_english_is_free_of_leftovers_and_wrong_articles() -> None:
    for held_out in (False, True):
        for caption, _ in draw_many("en", held_out):
            assert not re.search(r"[{}~<>]|  | ,|^[,.]", caption.text), caption.text
            assert not re.search(r"\ba [aeio]|\ban [^aeiou]|\b(a|an|the) (a|an|the)\b", caption.text.lower()), (
                caption.text
            )


def test_japanese_is_free_of_leftovers_and_of_english() -> None:
    for held_out in (False, True):
        for caption, _ in draw_many("ja", held_out):
            assert not re.search(r"[{}~<>']|のの(?!花)|、、|。。|でで", caption.text), caption.text
            assert re.search("[ぁ-んァ-ヶ一-龥]|Windows", caption.text), caption.text


def test_each_predicate_can_be_followed_by_another() -> None:
    lexicon = load_speech(WORLD, "ja").lexicon
    draft = Draft(np.random.default_rng(0), {}, lexicon, held_out=False)
    texts = [
        text for (slot, *_), terms in lexicon.terms.items() if slot == "pred" for term in terms for text in term.texts
    ]
    assert len(texts) > 150
    for text in texts:
        assert continued(text, draft) != text


@languages
def test_every_value_has_an_exact_keyword_and_fits_each_template(language: str) -> None:
    lexicon = load_speech(WORLD, language).lexicon
    slots = {"en": (("noun", "adj", "with", "when"), ("fact",)), "ja": (("noun", "mod"), ("pred",))}[language]
    for attribute in WORLD.names:
        for value in range(len(WORLD.attributes[attribute])):
            keys = lexicon.terms["key", attribute, value]
            assert any(term.allowed == {attribute: (value,)} and not term.held_out for term in keys)
            for possible in slots:
                terms = [term for slot in possible for term in lexicon.terms.get((slot, attribute, value), ())]
                assert any(len(term.allowed) == 1 and not term.held_out for term in terms), (attribute, value, possible)


@languages
def test_held_out_wording_is_kept_out_of_training(language: str) -> None:
    speech = load_speech(WORLD, language)
    grammar, lexicon = speech.grammar, speech.lexicon
    training, held_out = ({name for name, _ in part} for part in (grammar.TEMPLATES, grammar.HELD_OUT_TEMPLATES))
    assert not training & held_out
    assert not set(grammar.FRAMES) & set(grammar.HELD_OUT_FRAMES)
    for part in (grammar.TEMPLATES, grammar.HELD_OUT_TEMPLATES):
        assert sum(weight for _, weight in part) == pytest.approx(1)
    words: dict[bool, set[tuple[str, str]]] = {False: set(), True: set()}
    for (slot, _, _), terms in lexicon.terms.items():
        for term in terms:
            words[term.held_out] |= {(slot, text) for text in term.texts}
    assert len(words[True]) > 100
    assert not words[True] & words[False]
    texts = [{caption.text.lower() for caption, _ in draw_many(language, kind)} for kind in (False, True)]
    assert not texts[0] & texts[1]


@languages
def test_captions_vary(language: str) -> None:
    captions = [caption for caption, _ in draw_many(language, False)]
    assert len({caption.text for caption in captions}) > 0.8 * len(captions)
    assert {int(caption.mentioned.sum()) for caption in captions} >= {1, 2, 3, 4, 5}
    assert np.stack([caption.mentioned for caption in captions]).mean(axis=0).min() > 0.1


@languages
@pytest.mark.parametrize("held_out", [False, True])
def test_captions_fit_into_the_context_of_the_clip(language: str, held_out: bool) -> None:
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    lengths = np.array([len(tokenizer.encode(caption.text)) for caption, _ in draw_many(language, held_out)[:1000]])
    assert (lengths + 2 <= 96).mean() >= 0.995


def test_the_season_of_a_desert_is_never_mentioned() -> None:
    for language in LANGUAGES:
        for caption, row in draw_many(language, False):
            (shown,) = WORLD.decode(row[None])
            if shown["place"] == "desert":
                assert not caption.mentioned[WORLD.names.index("season")], caption.text


@languages
@pytest.mark.parametrize("attribute", WORLD.names)
def test_zero_shot_prompts_tell_the_values_apart(attribute: str, language: str) -> None:
    prompts = zero_shot_prompts(WORLD, attribute, language)
    assert all(len(of_value) >= 3 for of_value in prompts)
    everything = [prompt for of_value in prompts for prompt in of_value]
    assert len(set(everything)) == len(everything)


@languages
def test_colloquial_prompts_have_meanings_that_some_landscape_has(language: str) -> None:
    path = Path(load_speech(WORLD, language).grammar.__file__).with_name("colloquial.yaml")
    kept = yaml.safe_load(path.read_text(encoding="utf-8"))[language]
    assert (len(kept["fit"]), len(kept["held"])) == (50, 50)
    assert not set(kept["fit"]) & set(kept["held"])
    codes = WORLD.draw_codes(np.random.default_rng(0), 20000)
    for part in kept.values():
        for text, meaning in part.items():
            allowed = WORLD.allow(meaning)
            assert allowed[np.arange(len(WORLD.names)), codes].all(axis=1).any(), text
