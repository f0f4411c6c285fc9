"""CLIP's tokenizer, against open_clip's."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import open_clip
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from text2latent.models.clip import tokenizer as module
from text2latent.models.clip.building import read_tokenizer
from text2latent.models.clip.files import locate
from text2latent.models.clip.normalizing import plain
from text2latent.models.clip.tokenizer import BytePairTokenizer, clean, find_vocabulary
from text2latent.models.sources.zoo import ZOO

PIECES = [
    "I'll",
    "DON'T",
    "&amp;",
    "&lt;b&gt;",
    "“it’s”",
    "schÃ¶n",
    "ﬁne",
    "ＡＢＣ",
    "😀",
    "眼鏡",
    "\t",
    "\n",
    " ",
    "<end_of_text>",
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=20), max_size=6).map("".join)


@pytest.fixture(scope="module")
def theirs() -> open_clip.SimpleTokenizer:
    return open_clip.SimpleTokenizer()


@pytest.fixture(scope="module")
def ours() -> BytePairTokenizer:
    vocabulary = find_vocabulary()
    assert vocabulary is not None
    return BytePairTokenizer(vocabulary, 77)


def test_vocabularies_are_equal(ours: BytePairTokenizer, theirs: open_clip.SimpleTokenizer) -> None:
    assert ours.encoder == theirs.encoder
    assert ours.decoder == theirs.decoder
    assert ours.bpe_ranks == theirs.bpe_ranks
    assert ours.all_special_ids == theirs.all_special_ids


@settings(max_examples=400, deadline=None)
@given(texts)
@example("blonde woman with glasses")
@example("")
@example("'ſ ǅ İ a\u0345b Ⅷ ② \x1b[31mred \x00 \r\n 1234 \u2028")
@example("aaaaaaaaaaaaaaaaaaaa !!!!!!!!!! ''''s")
@example("<start_of_text> a <END_OF_TEXT>")
@example("word " * 100)
def test_tokens_are_those_of_open_clip(ours: BytePairTokenizer, theirs: open_clip.SimpleTokenizer, text: str) -> None:
    assert ours.encode(text) == theirs.encode(text)
    assert torch.equal(ours([text, "a"]), theirs([text, "a"]))
    assert torch.equal(ours([text], context_length=5), theirs([text], context_length=5))


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(max_codepoint=127)))
def test_cleaning_plain_text_is_what_ftfy_would_do(theirs: open_clip.SimpleTokenizer, text: str) -> None:
    assert clean(text) == theirs.clean_fn(text)


def test_what_is_remembered_is_bounded_and_changes_nothing(
    ours: BytePairTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_CACHED", 3)
    text = "one two three four five six <end_of_text> one two"
    first = ours.encode(text)
    assert len(ours.cache) <= 5
    assert ours.encode(text) == first


def test_without_the_vocabulary_open_clip_tokenizes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = locate(str(ZOO / "faces" / "weights" / "clip"))
    expected = read_tokenizer(source)(["an old man"])
    monkeypatch.setattr(module, "VOCABULARY", "no-such-file")
    assert find_vocabulary() is None
    found = read_tokenizer(source)
    assert isinstance(plain(found), open_clip.SimpleTokenizer)
    assert torch.equal(found(["an old man"]), expected)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert find_vocabulary() is None
