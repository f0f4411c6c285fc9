from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text2latent.zoo.faces import grammar_en, grammar_ja
from text2latent.zoo.faces.attributes import ATTRIBUTES, NAMES, SIZES, draw_codes, encode, restrict
from text2latent.zoo.faces.captions import LANGUAGES, Caption, draw_caption, matches, zero_shot_prompts
from text2latent.zoo.faces.lexicon import VALID, parse_meaning

GRAMMARS = {"en": grammar_en, "ja": grammar_ja}

# What single words say, written down independently of the grammar's own tables: pattern, attribute, values.
SAYS = {
    "en": (
        (r"\b(sun ?glasses|shades|dark glasses)\b", "eyewear", "sunglasses"),
        (r"(?<!sun )(?<!dark )\b((eye ?)?glasses|spectacles|specs|be?spectacled)\b", "eyewear", "glasses"),
        (r"\b(moustache|mustache|moustached|mustached|mo?ustachioed)\b", "facial_hair", "moustache"),
        (r"\bbeard(ed)?\b", "facial_hair", "beard"),
        (r"\bfacial hair\b|\bwhiskers\b", "facial_hair", "moustache beard"),
        (r"\bear ?rings?(ed)?\b", "earrings", "yes"),
        (r"\b(hat|cap|headwear|hatted)\b", "headwear", "hat"),
        (r"\b(boy|man|guy|gentleman|grandfather|grandpa|granddad|bloke|male|he|his)\b", "gender", "man"),
        (r"\b(girl|woman|lady|grandmother|grandma|granny|female|she|her|brunette woman)\b", "gender", "woman"),
        (r"\b(boy|girl|kid|child|schoolboy|schoolgirl)\b", "age", "child"),
        (r"\b(man|woman|lady|gentleman|adult)\b", "age", "young middle-aged old"),
        (r"\b(elderly|grandm\w+|granny|grandpa|grandfather|pensioner|wrinkles|eighties)\b", "age", "old"),
        (r"\bold\b", "age", "old"),
        (r"\bmiddle[- ]aged?\b|\bforties\b", "age", "middle-aged"),
        (r"\b(youthful|twenties)\b", "age", "young"),
        (r"\bbald\b|\bhairless\b", "hair_style", "bald"),
        (r"\bcurl(y|s)\b|\bfrizzy\b", "hair_style", "curly"),
        (r"\blong[- ]hair(ed)?\b", "hair_style", "long"),
        (r"\bshort[- ]hair(ed)?\b", "hair_style", "short"),
        (r"\b(blonde?)\b", "hair_color", "blonde"),
        (r"\b(brunette|chestnut)\b", "hair_color", "brown"),
        (r"\b(gr[ae]y)\b", "hair_color", "gray"),
        (r"\b(red|ginger)[- ]hair(ed)?\b|\bredhead", "hair_color", "red"),
        (r"\bblack[- ]hair(ed)?\b|\braven\b", "hair_color", "black"),
        (r"\bwhite[- ]hair(ed)?\b|\bsnow[- ]white\b", "hair_color", "white"),
        (r"\bblue[- ]hair(ed)?\b", "hair_color", "blue"),
        (r"\bsilver\b", "hair_color", "gray white"),
        (r"\b(pale)\b|\b(light|fair)[- ]skin", "skin", "light"),
        (r"\b(tanned|olive|tan)\b", "skin", "medium"),
        (r"\bdark[- ]skin|\bdeep brown\b", "skin", "dark"),
        (r"\b(smil(e|ing)|happy|joyful|laughing|cheerful)\b", "expression", "happy"),
        (r"\b(neutral|serious|emotionless)\b", "expression", "neutral"),
        (r"\b(sad|gloomy|sorrow)\b", "expression", "sad"),
        (r"\b(angry|furious|anger)\b", "expression", "angry"),
        (r"\b(frown|frowning|upset|negative)\b", "expression", "sad angry"),
        (r"\b(sea|ocean|beach|seaside|shore)\b", "background", "sea"),
        (r"\b(forest|woods|trees)\b", "background", "forest"),
        (r"\b(mountains?|peaks|alps)\b", "background", "mountains"),
        (r"\b(city|downtown|skyscrapers|street|buildings)\b", "background", "city"),
        (r"\b(sunset|dusk|sundown)\b", "background", "sunset"),
        (r"\b(studio|plain background|plain wall)\b(?! photo)", "background", "plain"),
        (r"\b(outdoors|outside)\b", "background", "sea forest mountains city sunset"),
    ),
    "ja": (
        ("サングラス|グラサン", "eyewear", "sunglasses"),
        ("眼鏡|メガネ|めがね", "eyewear", "glasses"),
        ("[顎あご]+[髭ひ]", "facial_hair", "beard"),
        ("[口ち][髭ひ]", "facial_hair", "moustache"),
        ("髭|ひげ|ヒゲ", "facial_hair", "moustache beard"),
        ("イヤリング|ピアス|耳飾り", "earrings", "yes"),
        ("帽子|ハット|キャップ", "headwear", "hat"),
        ("男|少年|おじいさん|おじさん", "gender", "man"),
        ("女|おばあさん|おばさん|婦人", "gender", "woman"),
        ("少年|少女|女の子|男の子|子供|子ども", "age", "child"),
        ("おばあさん|おじいさん|老|年配|高齢|年寄り", "age", "old"),
        ("中年|40代|四十", "age", "middle-aged"),
        ("若", "age", "young"),
        ("男性|女性|大人|成人", "age", "young middle-aged old child"),
        ("禿|はげ|ハゲ|スキンヘッド|坊主", "hair_style", "bald"),
        ("長髪|長い髪|ロングヘア|髪の長い", "hair_style", "long"),
        ("短髪|短い髪|ショート|髪の短い", "hair_style", "short"),
        ("巻き毛|カール|縮れ|くせ毛", "hair_style", "curly"),
        ("金髪|金色の髪|ブロンド", "hair_color", "blonde"),
        ("茶|栗|ブラウン", "hair_color", "brown"),
        ("黒髪|黒い髪", "hair_color", "black"),
        ("赤毛|赤い髪", "hair_color", "red"),
        ("灰色|グレー", "hair_color", "gray"),
        ("白髪|しらが|白い髪", "hair_color", "white"),
        ("青い髪|青髪|ブルー", "hair_color", "blue"),
        ("銀", "hair_color", "gray white"),
        ("色白|白い肌|肌の白い", "skin", "light"),
        ("小麦|日焼け|オリーブ", "skin", "medium"),
        ("色黒|黒い肌|褐色", "skin", "dark"),
        ("笑|嬉し|楽し|ポジティブ", "expression", "happy"),
        ("無表情|真顔|真剣", "expression", "neutral"),
        ("悲し|寂し", "expression", "sad"),
        ("怒", "expression", "angry"),
        ("ネガティブ|不機嫌", "expression", "sad angry"),
        ("海|ビーチ|浜", "background", "sea"),
        ("森|林|木々", "background", "forest"),
        ("山|高原", "background", "mountains"),
        ("街|都会|ビル(?!の髪)|町|都市", "background", "city"),
        ("夕", "background", "sunset"),
        ("無地|スタジオ|室内", "background", "plain"),
        ("屋外|野外", "background", "sea forest mountains city sunset"),
    ),
}
NEGATION = {
    "en": r"\b(no|not|without|neither|lacking|bare\w*|un\w+|hatless|beardless|hairless head|clean|nothing)\b|clean",
    "ja": "ない|なし|無し|無帽|裸眼|なく|剃|はない",
}
ABSENCE = {
    "en": (
        (r"\b(no|without|not wearing|not wearing any|without any) (glasses|eyewear|spectacles)\b", "eyewear", "none"),
        (r"\b(no|without|without any|not wearing) ear ?rings\b", "earrings", "no"),
        (r"\b(no|without a|not wearing a) (hat|cap)\b|\bbare-?headed\b|\bhatless\b", "headwear", "none"),
        (r"\bclean[- ]shaven\b(?<!not clean-shaven)|\b(no|without) facial hair\b", "facial_hair", "none"),
        (r"\bnot (happy|smiling)\b|\bno smile\b", "expression", "neutral sad angry"),
        (r"\bnot bald\b", "hair_style", "short long curly"),
        (r"\bno hair\b", "hair_style", "bald"),
        (r"\bwithout sunglasses\b", "eyewear", "none glasses"),
    ),
    "ja": (
        ("(眼鏡|メガネ|めがね)(を(かけ|掛け|し)ていな|なし)", "eyewear", "none"),
        ("(イヤリング|ピアス|耳飾り)(を(付け|着け|し)ていな|なし)", "earrings", "no"),
        ("帽子(を(かぶ|被)っていな|なし)|無帽", "headwear", "none"),
        ("(?<![顎口あちご])(髭|ひげ|ヒゲ)(のない|なし|がな)", "facial_hair", "none"),
        ("笑っていな|微笑んでいな", "expression", "neutral sad angry"),
        ("禿げていな", "hair_style", "short long curly"),
        ("サングラス(を(かけ|し)ていな|なし)", "eyewear", "none glasses"),
    ),
}
BEARDS = {"en": "beard|m(u|ou)stach", "ja": "髭|ひげ|ヒゲ"}
"""A coloured beard tells of the hair as well: that it is of the beard's colour, so that there is some."""
STEMS = {
    "en": {
        "eyewear": "glass|spectacle|shades|specs|eyewear|eyes",
        "facial_hair": "beard|m(u|ou)stach|facial hair|whisker|shav|chin|hair on the face",
        "earrings": "ear ?(ring|jewel|stud)|ears",
        "headwear": "hat|cap|head",
        "hair_color": f"hair|headed|brunette|redhead|ginger|blonde?|locks|{BEARDS['en']}",
        "hair_style": f"hair|bald|head|curl|short|long|{BEARDS['en']}",
        "skin": "skin|pale|complexion|tan",
    },
    "ja": {
        "eyewear": "眼鏡|メガネ|めがね|サングラス|グラサン|裸眼",
        "facial_hair": "髭|ひげ|ヒゲ",
        "earrings": "イヤリング|ピアス|耳飾り",
        "headwear": "帽|ハット|キャップ|かぶ",
        "hair_color": f"髪|毛|ブロンド|ヘア|しらが|{BEARDS['ja']}",
        "hair_style": "髪|毛|ヘア|禿|はげ|ハゲ|スキンヘッド|ショート|坊主|カール|(い|た|グの)(ブロンド|しらが)"
        f"|{BEARDS['ja']}",
        "skin": "肌|色白|色黒|皮膚|小麦|日焼け|色の[白黒]",
    },
}

languages = pytest.mark.parametrize("language", LANGUAGES)
codes_rows = st.tuples(*(st.integers(0, size - 1) for size in SIZES)).map(lambda row: restrict(np.array([row]))[0])
seeds = st.integers(0, 2**32 - 1)


@cache
def draw_many(language: str, held_out: bool) -> list[Caption]:
    rng = np.random.default_rng(0)
    return [draw_caption(rng, row, language, held_out) for row in draw_codes(rng, 3000)]


def allowed_values(caption: Caption, attribute: str) -> set[str]:
    row = caption.allowed[NAMES.index(attribute)]
    return {value for index, value in enumerate(ATTRIBUTES[attribute]) if row[index]}


def caption_of(meaning: str) -> Caption:
    allowed = VALID.copy()
    for name, values in parse_meaning(meaning).items():
        allowed[NAMES.index(name)] = np.isin(np.arange(allowed.shape[1]), values)
    return Caption("", "en", allowed)


def face_codes(**values: str) -> np.ndarray:
    return encode([{name: values.get(name, options[0]) for name, options in ATTRIBUTES.items()}])


@settings(max_examples=300, deadline=None)
@given(codes_rows, seeds, st.sampled_from(LANGUAGES), st.booleans())
def test_caption_is_true_of_its_face_and_says_something(row, seed, language, held_out):
    caption = draw_caption(np.random.default_rng(seed), row, language, held_out)

    assert caption.text.strip() == caption.text != ""
    assert caption.language == language
    assert matches([caption], row[None])[0, 0]
    assert caption.mentioned.any()
    assert not (caption.allowed & ~VALID).any()


@settings(max_examples=100, deadline=None)
@given(codes_rows, seeds, st.sampled_from(LANGUAGES), st.booleans())
def test_same_seed_gives_the_same_caption_and_leaves_the_face_alone(row, seed, language, held_out):
    before = row.copy()
    first, second = (draw_caption(np.random.default_rng(seed), row, language, held_out) for _ in range(2))

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
    assert read > 3000


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
        mentioned = [caption.text for caption in captions if caption.mentioned[NAMES.index(attribute)]]
        assert len(mentioned) > 100
        assert not [text for text in mentioned if not re.search(pattern, text.lower())]


@languages
def test_every_value_is_named_exactly(language):
    captions = draw_many(language, False)
    named = {
        (name, value)
        for caption in captions
        for name in NAMES
        for value in allowed_values(caption, name)
        if len(allowed_values(caption, name)) == 1
    }
    assert named == {(name, value) for name, values in ATTRIBUTES.items() for value in values}


@languages
def test_captions_vary_in_length_and_wording(language):
    captions = draw_many(language, False)
    counts = np.array([caption.mentioned.sum() for caption in captions])

    assert len({caption.text for caption in captions}) > 2700
    assert {1, 2, 3, 4, 5} <= set(counts.tolist())
    assert counts.max() >= (9 if language == "en" else 5)


def test_hair_colour_of_a_bald_head_is_never_mentioned():
    rng = np.random.default_rng(2)
    codes = draw_codes(rng, 3000)
    codes[:, NAMES.index("hair_style")] = ATTRIBUTES["hair_style"].index("bald")
    for language in LANGUAGES:
        captions = [draw_caption(rng, row, language) for row in codes]
        assert not any(caption.mentioned[NAMES.index("hair_color")] for caption in captions)


def test_each_language_is_pure():
    for held_out in (False, True):
        english = draw_many("en", held_out)
        japanese = draw_many("ja", held_out)
        assert all(caption.text.isascii() for caption in english)
        assert not any(re.search("[A-Za-z]", caption.text) for caption in japanese)
        assert all(re.search("[ぁ-んァ-ヶ一-龥]", caption.text) for caption in japanese)


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
def test_nearly_all_captions_fit_into_62_tokens(language, held_out):
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    captions = draw_many(language, held_out)[:1000]
    lengths = np.array([len(tokenizer.encode(caption.text)) for caption in captions])
    assert (lengths + 2 <= 62).mean() >= 0.95
    assert (lengths + 2 <= 96).all()  # the context of the faces CLIP


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
    captions = [draw_caption(np.random.default_rng(seed + i), row, LANGUAGES[i % 2]) for i, row in enumerate(rows)]
    expected = np.zeros((len(captions), len(codes)), dtype=bool)
    for i, caption in enumerate(captions):
        for j, row in enumerate(codes):
            face = {name: ATTRIBUTES[name][code] for name, code in zip(NAMES, row, strict=True)}
            fits = all(face[name] in allowed_values(caption, name) for name in NAMES)
            names_hair = allowed_values(caption, "hair_color") != set(ATTRIBUTES["hair_color"])
            expected[i, j] = fits and not (names_hair and face["hair_style"] == "bald")

    assert (matches(captions, codes) == expected).all()


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
    assert matches([caption_of(meaning)], face_codes(**face))[0, 0] == satisfied


@languages
@pytest.mark.parametrize("attribute", NAMES)
def test_zero_shot_prompts_tell_the_values_apart(attribute, language):
    prompts = zero_shot_prompts(attribute, language)

    assert len(prompts) == len(ATTRIBUTES[attribute])
    assert all(len(of_value) >= 3 and len(set(of_value)) == len(of_value) for of_value in prompts)
    everything = [prompt for of_value in prompts for prompt in of_value]
    assert len(set(everything)) == len(everything)
    assert not any(re.search("THEIR|[{}~]", prompt) for prompt in everything)


@languages
def test_zero_shot_prompts_mean_their_value_by_an_independent_reading(language):
    for attribute in NAMES:
        for value, prompts in zip(ATTRIBUTES[attribute], zero_shot_prompts(attribute, language), strict=True):
            for prompt in (prompt for prompt in prompts if not re.search(NEGATION[language], prompt)):
                said = [
                    set(values.split())
                    for pattern, name, values in SAYS[language]
                    if name == attribute and re.search(pattern, prompt)
                ]
                assert not said or any(value in values for values in said), prompt


def test_unknown_attribute_or_language_is_refused():
    with pytest.raises(KeyError):
        draw_caption(np.random.default_rng(0), draw_codes(np.random.default_rng(0), 1)[0], "fr")
    with pytest.raises(KeyError):
        zero_shot_prompts("eyewear", "fr")
    with pytest.raises(KeyError, match="nose"):
        zero_shot_prompts("nose", "en")
