"""The tokenizer that travels with exports, against open_clip's."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from types import SimpleNamespace

import ftfy
import numpy as np
import open_clip
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from text2latent.apps.exports.runtime.clip_text import ClipText
from text2latent.apps.exports.tokenizer import require_simple, write_tokenizer
from text2latent.common.errors import InputError
from text2latent.models.clip.normalizing import normalizing
from text2latent.models.clip.tokenizer import BytePairTokenizer, find_vocabulary

ENTITIES = ["&amp;", "&lt;", "&#39;", "&#x2019;", "&eacute;", "&EACUTE;", "&notit;", "&amp;amp;lt;", "&amp", "&"]
WORDS = [
    "<b>",
    " ",
    "\t",
    "\n",
    "　",
    "I'll",
    "DON'T",
    "“it’s”",
    "ﬁne",
    "ＡＢＣ",
    "ﾒｶﾞﾈ",
    "😀",
    "👩‍🦰",
    "眼鏡をかけた",
    "女性",
]
ODD = "ǅ İ J̌ ΟΔΟΣ 'ſ a\u0345b Ⅷ ② ½ ﷽ \u200bwide\u200d \ufeff ''s !!!'s 1234 x̂ Å"


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory):
    theirs = open_clip.SimpleTokenizer(context_length=24)
    folder = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    write_tokenizer(theirs, folder)
    return theirs, ClipText(folder)


def is_visible(char: str) -> bool:
    """Whether prompts may have it, see `text2latent.common.prompt_text.check_prompt`."""
    return unicodedata.category(char) not in ("Cc", "Cs", "Cn")


def assert_same_ids(tokenizers, text: str) -> None:
    theirs, ours = tokenizers
    np.testing.assert_array_equal(ours([text])[0], theirs([text])[0].numpy(), err_msg=ascii(text))


any_text = st.text(st.characters(max_codepoint=0x1FAFF).filter(is_visible), max_size=30)
prompts = st.lists(st.sampled_from(ENTITIES + WORDS) | any_text, max_size=6).map("".join)


@settings(max_examples=300, deadline=None)
@given(prompts)
@example("blonde woman with glasses")
@example("眼鏡をかけた金髪の女性、森の中")
@example(ODD)
@example("word " * 100)
@example("&lt;b&gt; <b> &amp;lt;")
@example("")
def test_ids_are_those_of_open_clip(tokenizers, text: str) -> None:
    # What ftfy does to text that was decoded wrongly is left out, as the documentation says.
    plain, repaired = (ftfy.fix_text(text, fix_encoding=fix) for fix in (False, True))
    assume(plain == repaired)
    # open_clip overlooks its special tokens behind punctuation.
    assume("_of_text>" not in text)
    assert_same_ids(tokenizers, text)


def test_special_tokens_have_their_ids(tokenizers) -> None:
    assert_same_ids(tokenizers, "a <start_of_text> b <end_of_text>")


def test_several_texts_are_rows(tokenizers) -> None:
    theirs, ours = tokenizers
    texts = ["a cat", "a much longer text about a dog", "猫"]
    np.testing.assert_array_equal(ours(texts), theirs(texts).numpy())
    assert ours(texts).dtype == np.int64


def test_the_files_of_either_tokenizer_are_the_same(tokenizers, tmp_path: Path) -> None:
    vocabulary = find_vocabulary()
    assert vocabulary is not None
    write_tokenizer(tokenizers[0], tmp_path / "theirs")
    write_tokenizer(BytePairTokenizer(vocabulary, 24), tmp_path / "ours")
    for name in ("tokenizer.json", "cleaning.json"):
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


def test_normalised_texts_are_normalised_without_the_package_too(tokenizers, tmp_path: Path) -> None:
    theirs = normalizing(tokenizers[0], "japanese")
    write_tokenizer(theirs, tmp_path)
    ours = ClipText(tmp_path)
    for text in ("黑髮の女性", "２５歳のﾒｶﾞﾈ", "㌔ ① ㈱ ﬁne", "a man", *WORDS):
        assert_same_ids((theirs, ours), text)
    assert not np.array_equal(ours(["黑髮"]), tokenizers[1](["黑髮"]))
    assert np.array_equal(ours(["黑髮"]), tokenizers[1](["黒髪"]))


@pytest.mark.parametrize(
    "tokenizer",
    [
        SimpleNamespace(),
        open_clip.SimpleTokenizer(clean="canonicalize"),
        open_clip.SimpleTokenizer(reduction_mask="simple"),
    ],
)
def test_other_tokenizers_are_refused(tokenizer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"CLIP tokenizer .*: expected open_clip's SimpleTokenizer"):
        require_simple(tokenizer)
