from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text2latent.tests.zoo.faces.meanings import ABSENCE, NEGATION, SAYS, STEMS
from text2latent.zoo.faces.language import grammar_en, grammar_ja
from text2latent.zoo.language.captions import LANGUAGES, Caption, draw_caption, make_caption, matches, zero_shot_prompts
from text2latent.zoo.world import load_world

FACES = load_world("faces")

GRAMMARS = {"en": grammar_en, "ja": grammar_ja}

languages = pytest.mark.parametrize("language", LANGUAGES)
codes_rows = st.tuples(*(st.integers(0, size - 1) for size in FACES.sizes)).map(
    lambda row: FACES.restrict(np.array([row]))[0]
)
seeds = st.integers(0, 2**32 - 1)


@cache
def draw_many(language: str, held_out: bool) -> list[Caption]:
    rng = np.random.default_rng(0)
    return [draw_caption(FACES, rng, row, language, held_out) for row in FACES.draw_codes(rng, 3000)]


def allowed_values(caption: Caption, attribute: str) -> set[str]:
    row = caption.allowed[FACES.names.index(attribute)]
    return {value for index, value in enumerate(FACES.attributes[attribute]) if row[index]}


def caption_of(meaning: str) -> Caption:
    allowed = FACES.valid.copy()
    for name, values in FACES.parse_meaning(meaning).items():
        allowed[FACES.names.index(name)] = np.isin(np.arange(allowed.shape[1]), values)
    return make_caption(FACES, "", "en", allowed)


def face_codes(**values: str) -> np.ndarray:
    return FACES.encode([{name: values.get(name, options[0]) for name, options in FACES.attributes.items()}])


@settings(max_examples=300, deadline=None)
@given(codes_rows, seeds, st.sampled_from(LANGUAGES), st.booleans())
def test_caption_is_true_of_its_face_and_says_something(row, seed, language, held_out):
    caption = draw_caption(FACES, np.random.default_rng(seed), row, language, held_out)

    assert caption.text.strip() == caption.text != ""
    assert caption.language == language
    assert matches(FACES, [caption], row[None])[0, 0]
    assert caption.mentioned.any()
    assert not (caption.allowed & ~FACES.valid).any()


@pytest.mark.parametrize("count", [1, 4, 9])
def test_captions_mention_as_many_attributes_as_asked_for(count):
    rng = np.random.default_rng(0)
    captions = [draw_caption(FACES, rng, row, "en", True, count) for row in FACES.draw_codes(rng, 200)]
    mentioned = np.array([caption.mentioned.sum() for caption in captions])

    # Words such as "boy" speak of two.
    assert np.isin(mentioned, [count, count + 1]).mean() > 0.95


@settings(max_examples=100, deadline=None)
@given(codes_rows, seeds, st.sampled_from(LANGUAGES), st.booleans())
def test_same_seed_gives_the_same_caption_and_leaves_the_face_alone(row, seed, language, held_out):
    before = row.copy()
    first, second = (draw_caption(FACES, np.random.default_rng(seed), row, language, held_out) for _ in range(2))

    assert first.text == second.text
    assert (first.allowed == second.allowed).all()
    assert (row == before).all()


@languages
@pytest.mark.parametrize("held_out", [False, True])
def test_words_say_what_an_independent_reading_says(language, held_out):
    captions = draw_many(language, held_out)
    read = 0
    for caption in captions:
        text = caption.text.lower()
        if re.search(NEGATION[language], text):
            continue
        rest = text
        for pattern, attribute, values in SAYS[language]:
            if re.search(pattern, rest):
                assert allowed_values(caption, attribute) <= set(values.split()), (caption.text, pattern)
                rest = re.sub(pattern, "~", rest) if attribute in ("eyewear", "facial_hair") else rest
                read += 1
    assert read > 2500


@languages
@pytest.mark.parametrize("held_out", [False, True])
def test_negations_say_what_an_independent_reading_says(language, held_out):
    captions = draw_many(language, held_out)
    read = set()
    for caption in captions:
        for pattern, attribute, values in ABSENCE[language]:
            if re.search(pattern, caption.text.lower()):
                assert allowed_values(caption, attribute) <= set(values.split()), (caption.text, pattern)
                read.add((attribute, values))
    assert len(read) == len({(attribute, values) for _, attribute, values in ABSENCE[language]})


@languages
@pytest.mark.parametrize("held_out", [False, True])
def test_nothing_is_restricted_without_a_word_for_it(language, held_out):
    captions = draw_many(language, held_out)
    for attribute, pattern in STEMS[language].items():
        mentioned = [caption.text for caption in captions if caption.mentioned[FACES.names.index(attribute)]]
        assert len(mentioned) > 100
        assert not [text for text in mentioned if not re.search(pattern, text.lower())]


@languages
def test_every_value_is_named_exactly(language):
    captions = draw_many(language, False)
    named = {
        (name, value)
        for caption in captions
        for name in FACES.names
        for value in allowed_values(caption, name)
        if len(allowed_values(caption, name)) == 1
    }
    assert named == {(name, value) for name, values in FACES.attributes.items() for value in values}


@languages
def test_captions_vary_in_length_and_wording(language):
    captions = draw_many(language, False)
    counts = np.array([caption.mentioned.sum() for caption in captions])

    assert len({caption.text for caption in captions}) > 2700
    assert {1, 2, 3, 4, 5} <= set(counts.tolist())
    assert counts.max() >= (9 if language == "en" else 5)


def test_hair_colour_of_a_bald_head_is_never_mentioned():
    rng = np.random.default_rng(2)
    codes = FACES.draw_codes(rng, 3000)
    codes[:, FACES.names.index("hair_style")] = FACES.attributes["hair_style"].index("bald")
    for language in LANGUAGES:
        captions = [draw_caption(FACES, rng, row, language) for row in codes]
        assert not any(caption.mentioned[FACES.names.index("hair_color")] for caption in captions)


def test_each_language_is_pure():
    for held_out in (False, True):
        english = draw_many("en", held_out)
        japanese = draw_many("ja", held_out)
        assert all(caption.text.isascii() for caption in english)
        assert not any(re.search("[A-Za-z]", re.sub("OL|JK", "", caption.text)) for caption in japanese)
        assert all(re.search("[ぁ-んァ-ヶ一-龥0-9]|OL|JK", caption.text) for caption in japanese)


def test_english_is_free_of_leftovers_and_wrong_articles():
    for held_out in (False, True):
        for caption in draw_many("en", held_out):
            assert "THEIR" not in caption.text or caption.text.isupper()
            assert not re.search(r"[{}~]|  | ,|^[,.]", caption.text), caption.text
            assert not re.search(r"\ba [aeio]|\ban [^aeiou]", caption.text.lower()), caption.text


def test_japanese_is_free_of_leftovers():
    for held_out in (False, True):
        for caption in draw_many("ja", held_out):
            assert not re.search(r"[{}~]|ののの|、、|。。|でで|がが|はは(?!げ)", caption.text), caption.text


@languages
@pytest.mark.parametrize("held_out", [False, True])
def test_captions_fit_into_the_context_of_the_faces_clip(language, held_out):
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    captions = draw_many(language, held_out)[:1000]
    lengths = np.array([len(tokenizer.encode(caption.text)) for caption in captions])
    assert (lengths + 2 <= 96).mean() >= 0.995


@languages
def test_templates_and_frames_of_training_and_held_out_captions_are_disjoint(language):
    grammar = GRAMMARS[language]
    training, held_out = (
        {template for template, _ in part} for part in (grammar.TEMPLATES, grammar.HELD_OUT_TEMPLATES)
    )

    assert not training & held_out
    assert not set(grammar.FRAMES) & set(grammar.HELD_OUT_FRAMES)
    assert sum(weight for _, weight in grammar.TEMPLATES) == pytest.approx(1)
    assert sum(weight for _, weight in grammar.HELD_OUT_TEMPLATES) == pytest.approx(1)


@languages
def test_no_training_caption_has_held_out_wording(language):
    grammar = GRAMMARS[language]
    frames = [re.compile("^" + re.escape(frame).replace(r"\{\}", ".+") + r"\W*$") for frame in grammar.HELD_OUT_FRAMES]
    training = {caption.text.lower() for caption in draw_many(language, False)}
    held_out = {caption.text.lower() for caption in draw_many(language, True)}

    assert not training & held_out
    assert not [text for text in training for frame in frames if frame.match(text)]


@settings(max_examples=100, deadline=None)
@given(st.lists(codes_rows, min_size=1, max_size=6), seeds)
def test_matches_agrees_with_its_definition(rows, seed):
    codes = np.stack(rows)
    captions = [
        draw_caption(FACES, np.random.default_rng(seed + i), row, LANGUAGES[i % 2]) for i, row in enumerate(rows)
    ]
    expected = np.zeros((len(captions), len(codes)), dtype=bool)
    for i, caption in enumerate(captions):
        for j, row in enumerate(codes):
            face = {name: FACES.attributes[name][code] for name, code in zip(FACES.names, row, strict=True)}
            fits = all(face[name] in allowed_values(caption, name) for name in FACES.names)
            names_hair = allowed_values(caption, "hair_color") != set(FACES.attributes["hair_color"])
            expected[i, j] = fits and not (names_hair and face["hair_style"] == "bald")

    assert (matches(FACES, captions, codes) == expected).all()


@pytest.mark.parametrize(
    ("meaning", "face", "satisfied"),
    [
        ("hair_color=blonde", {"hair_color": "blonde", "hair_style": "short"}, True),
        ("hair_color=blonde", {"hair_color": "blonde", "hair_style": "bald"}, False),
        ("hair_color!=red", {"hair_color": "blonde", "hair_style": "bald"}, False),
        ("eyewear=none,glasses", {"eyewear": "glasses"}, True),
        ("eyewear=none,glasses", {"eyewear": "sunglasses"}, False),
        ("age=old gender=woman", {"age": "old", "gender": "woman"}, True),
        ("age=old gender=woman", {"age": "old", "gender": "man"}, False),
    ],
)
def test_matches_on_known_cases(meaning, face, satisfied):
    assert matches(FACES, [caption_of(meaning)], face_codes(**face))[0, 0] == satisfied


@languages
@pytest.mark.parametrize("attribute", FACES.names)
def test_zero_shot_prompts_tell_the_values_apart(attribute, language):
    prompts = zero_shot_prompts(FACES, attribute, language)

    assert len(prompts) == len(FACES.attributes[attribute])
    assert all(len(of_value) >= 3 and len(set(of_value)) == len(of_value) for of_value in prompts)
    everything = [prompt for of_value in prompts for prompt in of_value]
    assert len(set(everything)) == len(everything)
    assert not any(re.search("THEIR|[{}~]", prompt) for prompt in everything)


@languages
def test_zero_shot_prompts_mean_their_value_by_an_independent_reading(language):
    for attribute in FACES.names:
        for value, prompts in zip(
            FACES.attributes[attribute], zero_shot_prompts(FACES, attribute, language), strict=True
        ):
            for prompt in (prompt for prompt in prompts if not re.search(NEGATION[language], prompt)):
                said = [
                    set(values.split())
                    for pattern, name, values in SAYS[language]
                    if name == attribute and re.search(pattern, prompt)
                ]
                assert not said or any(value in values for values in said), prompt


def test_unknown_attribute_or_language_is_refused():
    with pytest.raises(ModuleNotFoundError, match="grammar_fr"):
        draw_caption(FACES, np.random.default_rng(0), FACES.draw_codes(np.random.default_rng(0), 1)[0], "fr")
    with pytest.raises(ModuleNotFoundError, match="grammar_fr"):
        zero_shot_prompts(FACES, "eyewear", "fr")
    with pytest.raises(KeyError, match="nose"):
        zero_shot_prompts(FACES, "nose", "en")
