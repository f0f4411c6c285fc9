from pathlib import Path

import pytest
import torch

from text2latent.inference.wording import MIN_ALIKE, Wording, fit_wording, is_latin, token_runs
from text2latent.models.clip.encoder import ClipEncoder

KNOWN = ["a man with a hat", "a man with a beard", "a woman with a hat"]


@pytest.fixture(scope="module")
def clip(tiny_world: Path) -> ClipEncoder:
    return ClipEncoder.from_pretrained(str(tiny_world))


def trigrams(clip: ClipEncoder, text: str) -> set[tuple[int, ...]]:
    """By the book: of the tokens without padding, the first of them twice."""
    tokens = clip.tokenize([text])[0].tolist()
    while tokens[-1] == clip.padding_token:
        tokens.pop()
    tokens = tokens[:1] + tokens
    return {tuple(tokens[i : i + 3]) for i in range(len(tokens) - 2)}


@pytest.mark.parametrize(
    ("text", "latin"),
    [("a man", True), ("une fille à lunettes", True), ("ａｂｃ", True), ("42!", True), ("男", False), ("a 男", False),
     ("мужчина", False)],
)  # fmt: skip
def test_scripts_are_told_by_their_letters(text: str, latin: bool) -> None:
    assert is_latin(text) == latin


def test_runs_are_trigrams_of_tokens(clip: ClipEncoder) -> None:
    for text in ("a man with a hat", "man", "眼鏡の男"):
        assert len(token_runs(clip, text).unique()) == len(trigrams(clip, text))
    shared = set(token_runs(clip, KNOWN[0]).tolist()) & set(token_runs(clip, KNOWN[1]).tolist())
    assert len(shared) == len(trigrams(clip, KNOWN[0]) & trigrams(clip, KNOWN[1]))
    parts = torch.cat([token_runs(clip, "a man"), token_runs(clip, "a hat")])
    assert torch.equal(token_runs(clip, "a man:2 | a hat:1"), parts)


def test_unfamiliar_is_what_no_known_prompt_has(clip: ClipEncoder) -> None:
    wording = fit_wording(clip, KNOWN)
    new = "a beard with a man"
    known = set().union(*(trigrams(clip, text) for text in KNOWN))
    expected = len(trigrams(clip, new) - known) / len(trigrams(clip, new))
    shares = wording.unfamiliar(clip, [KNOWN[0], new, "quarterly report"])
    assert shares.tolist() == pytest.approx([0, expected, 1])
    assert 0 < expected < 1
    assert wording.unfamiliar(clip, []).shape == (0,)


def test_known_prompts_are_held_against_the_others_only(clip: ClipEncoder) -> None:
    shares = fit_wording(clip, KNOWN).shares
    for row, text in enumerate(KNOWN):
        others = set().union(*(trigrams(clip, other) for other in KNOWN if other != text))
        assert shares[row] == pytest.approx(len(trigrams(clip, text) - others) / len(trigrams(clip, text)))
    assert fit_wording(clip, ["a man", "a man"]).shares.tolist() == [0, 0]


def test_prompts_are_compared_with_their_own_kind_of_script_if_that_has_enough() -> None:
    latin = torch.tensor([True] * MIN_ALIKE + [False] * (MIN_ALIKE - 1))
    wording = Wording(torch.zeros(0, dtype=torch.int64), torch.zeros(len(latin)), latin)
    assert torch.equal(wording.alike(True), latin)
    assert wording.alike(False).all()
