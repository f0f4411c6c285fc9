import math
from collections import Counter
from pathlib import Path

import pytest
import torch

from text2latent.inference.wording import (
    MIN_ALIKE,
    SEEN,
    STRONGEST,
    UNKNOWN,
    UNSEEN,
    Wording,
    fit_wording,
    is_latin,
    units_of,
)
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.clip.normalizing import normalizing

KNOWN = ["a man with a hat", "a man with a beard", "a woman with a hat"]
BACKGROUND = ["a dog", "a dog with a ball", "the sea", "犬"]


def evidence(word: str, inside: list[str], outside: list[str]) -> float:
    """By the book: how many times as often as in the background a word stands in texts."""
    counts, others = (Counter(" ".join(texts).split()) for texts in (inside, outside))
    shares = (counts[word] + SEEN) / (counts.total() + 1), (others[word] + UNSEEN) / (others.total() + 1)
    # In so few texts each word is a usual one, which doesn't speak against them.
    least, most = (0.0, STRONGEST) if counts[word] else (-STRONGEST, UNKNOWN)
    return min(max(math.log(shares[0] / shares[1]), least), most)


@pytest.mark.parametrize(
    ("text", "latin"),
    [("a man", True), ("une fille à lunettes", True), ("ａｂｃ", True), ("42!", True), ("男", False), ("a 男", False),
     ("мужчина", False)],
)  # fmt: skip
def test_scripts_are_told_by_their_letters(text: str, latin: bool) -> None:
    assert is_latin(text) == latin


@pytest.mark.parametrize(
    ("text", "count", "same"),
    [
        ("a man, with a HAT!", 5, "a Man with a hat"),
        ("25歳", 4, "２５歳"),
        ("帽子の男", 5, "帽子の男"),
        ("isn't", 1, "isnt"),
        ("a man:2 | a hat:1", 4, "a man a hat"),
        ("...", 0, ""),
    ],
)
def test_units_are_words_digits_and_pairs_of_characters(clip: ClipEncoder, text: str, count: int, same: str) -> None:
    units = units_of(clip, text)
    assert len(units) == count
    if same:
        assert units == units_of(clip, same)
    assert all(0 <= unit < 2**63 for unit in units)


def test_units_are_those_of_the_text_that_clip_reads(clip: ClipEncoder, tiny_world: Path) -> None:
    other = ClipEncoder.from_pretrained(str(tiny_world))
    other.tokenizer = normalizing(other.tokenizer, "japanese")
    assert units_of(other, "黑髮") == units_of(clip, "黒髪") != units_of(clip, "黑髮")


def test_strangeness_is_minus_the_mean_evidence(clip: ClipEncoder) -> None:
    wording = fit_wording(clip, KNOWN, background=BACKGROUND)
    outside = [*BACKGROUND[:-1], "^犬 犬$"]
    for text in ("a man with a dog", "the hat", "a woman"):
        expected = [evidence(word, KNOWN, outside) for word in text.split()]
        assert float(wording.rate(clip, [text])[0]) == pytest.approx(-sum(expected) / len(expected), abs=2e-3)
    assert wording.rate(clip, ["quarterly", "..."]).tolist() == [-UNKNOWN, -UNKNOWN]
    assert wording.rate(clip, ["a man", "a dog", "犬"]).argsort().tolist()[0] == 0
    assert wording.rate(clip, []).shape == (0,)


def test_known_prompts_are_held_against_the_others_only(clip: ClipEncoder) -> None:
    strangeness = fit_wording(clip, ["a beard", *KNOWN], background=["a dog"]).strangeness
    alone = fit_wording(clip, KNOWN, background=["a dog"])
    assert float(strangeness[0]) == pytest.approx(float(alone.rate(clip, ["a beard"])[0]), abs=0.3)
    assert fit_wording(clip, ["hat", "ball"], background=["a dog"]).strangeness.tolist() == [-UNKNOWN, -UNKNOWN]
    assert fit_wording(clip, ["hat", "ball"], ["hat"] * 9, ["a dog"]).strangeness.tolist()[0] < 0


def test_without_a_background_it_is_the_packages_own(clip: ClipEncoder) -> None:
    wording = fit_wording(clip, KNOWN)
    man, dog, unheard = wording.rate(clip, ["a man with a hat", "dog", "qwertz"]).tolist()
    assert man < unheard <= dog


def test_prompts_are_compared_with_their_own_kind_of_script_if_that_has_enough() -> None:
    latin = torch.tensor([True] * MIN_ALIKE + [False] * (MIN_ALIKE - 1))
    wording = Wording(torch.zeros(1, dtype=torch.int64), torch.zeros(1), torch.zeros(len(latin)), latin)
    assert torch.equal(wording.alike(True), latin)
    assert wording.alike(False).all()
