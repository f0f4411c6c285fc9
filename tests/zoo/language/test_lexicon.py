from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text2latent.zoo.language.captions import LANGUAGES, load_speech
from text2latent.zoo.language.lexicon import Draft, Lexicon, expand
from text2latent.zoo.world import load_world

FACES = load_world("faces")

LEXICONS = {language: load_speech(FACES, language).lexicon for language in LANGUAGES}


@pytest.mark.parametrize("language", ["en", "ja"])
def test_held_out_words_are_not_training_words(language):
    words: dict[bool, set[tuple[str, str]]] = {False: set(), True: set()}
    for (slot, _, _), terms in LEXICONS[language].terms.items():
        for term in terms:
            words[term.held_out] |= {(slot, text) for text in term.texts}
    assert len(words[True]) > 100
    assert not words[True] & words[False]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(LEXICONS)))
def test_training_finds_no_held_out_words(seed, language):
    lexicon = LEXICONS[language]
    row = FACES.draw_codes(np.random.default_rng(seed), 1)[0]
    codes = dict(zip(FACES.names, row.tolist(), strict=True))
    for slot, attribute, _ in lexicon.terms:
        assert not any(term.held_out for term in lexicon.find(slot, attribute, codes, held_out=False))


def test_expand_and_parse_meaning():
    assert expand("{by|near} the {sea|ocean}") == ("by the sea", "by the ocean", "near the sea", "near the ocean")
    assert expand("{8..10} years; {1|2}") == (
        "8 years; 1",
        "8 years; 2",
        "9 years; 1",
        "9 years; 2",
        "10 years; 1",
        "10 years; 2",
    )
    assert FACES.parse_meaning("age!=child") == {"age": (1, 2, 3)}
    assert FACES.parse_meaning("gender=woman age=old") == {"gender": (1,), "age": (3,)}
    with pytest.raises(ValueError, match="ancient"):
        FACES.parse_meaning("age=ancient")


def test_lexicon_keeps_what_is_untrue_and_held_out_to_itself():
    lexicon = Lexicon({"age=old gender=woman": {"noun": "granny; ~nan"}}, FACES)
    old_woman = {"age": 3, "gender": 1}

    assert [term.texts for term in lexicon.find("noun", "age", old_woman, held_out=False)] == [("granny",)]
    assert len(lexicon.find("noun", "age", old_woman, held_out=True)) == 2
    assert lexicon.find("noun", "age", {"age": 3, "gender": 0}, held_out=True) == []


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("attribute", [name for name in FACES.names if name not in ("gender", "age")])
def test_every_value_has_an_exact_keyword(language, attribute):
    for value in range(len(FACES.attributes[attribute])):
        terms = LEXICONS[language].terms["key", attribute, value]
        assert any(term.allowed == {attribute: (value,)} and not term.held_out for term in terms)


def test_draft_records_what_it_says():
    lexicon = Lexicon({"age=old gender=woman": {"noun": "granny"}, "expression!=happy": {"adj": "not happy"}}, FACES)
    codes = dict.fromkeys(FACES.names, 0) | {"age": 3, "gender": 1, "expression": 2}
    draft = Draft(np.random.default_rng(0), codes, lexicon, held_out=False)

    assert not draft.settled("gender")
    assert draft.slots("age", ["adj", "noun"]) == ["noun"]
    assert draft.say("noun", "age") == "granny"
    assert draft.settled("gender")
    assert draft.settled("age")
    draft.say("adj", "expression")
    assert draft.allowed[FACES.names.index("expression")].tolist() == [False, True, True, True, False, False, False]


def test_draft_draws_in_proportion_to_the_weights():
    draft = Draft(np.random.default_rng(0), {}, Lexicon({}, FACES), held_out=False)
    drawn = [draft.weighted([("a", 3.0), ("b", 1.0)]) for _ in range(4000)]
    assert drawn.count("a") / 4000 == pytest.approx(0.75, abs=0.03)
    assert sorted(draft.shuffled([3, 1, 2])) == [1, 2, 3]
