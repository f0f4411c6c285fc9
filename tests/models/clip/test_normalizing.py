from __future__ import annotations

import copy
import json
import shutil
import unicodedata
from pathlib import Path

import pytest
import torch

from text2latent.common.errors import InputError, UsageError
from text2latent.models.clip.arguments import parse_clip_arguments
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.clip.normalizing import (
    NORMALIZATION_KEY,
    OLD_FORMS,
    TO_TODAYS,
    NormalizingTokenizer,
    normalize_japanese,
    normalizing,
    parse_normalization,
    plain,
)

CONFIG = "open_clip_config.json"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("黑髮の女性", "黒髪の女性"),
        ("２５歳", "25歳"),
        ("ﾒｶﾞﾈ", "メガネ"),
        ("國の學校", "国の学校"),
        ("眼鏡をかけた女性", "眼鏡をかけた女性"),
        ("a man, 25", "a man, 25"),
    ],
)
def test_one_spelling_of_several(text: str, normal: str) -> None:
    assert normalize_japanese(text) == normal
    assert normalize_japanese(normal) == normal


def test_table_leads_from_kanji_to_other_kanji_in_one_step() -> None:
    assert len(TO_TODAYS) == len(OLD_FORMS) // 2 > 300
    old, todays = {chr(number) for number in TO_TODAYS}, set(TO_TODAYS.values())
    assert not old & todays
    assert all(unicodedata.name(char).startswith("CJK ") for char in old | todays)


@pytest.fixture
def asking(tiny_world: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "clip"
    shutil.copytree(tiny_world / "clip", folder)
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, NORMALIZATION_KEY: "japanese"}))
    return folder


def test_clip_that_asks_for_it_reads_normalised_texts(tiny_world: Path, asking: Path) -> None:
    clip, before = (ClipEncoder.from_pretrained(str(path)) for path in (asking, tiny_world / "clip"))
    assert torch.equal(clip.encode_text(["黑髮", "a man"]), before.encode_text(["黒髪", "a man"]))
    assert not torch.equal(before.encode_text(["黑髮"]), before.encode_text(["黒髪"]))


def test_it_is_a_part_of_the_identity(tiny_world: Path, asking: Path) -> None:
    said = ClipEncoder.from_pretrained(str(tiny_world / "clip"), {NORMALIZATION_KEY: "japanese"})
    clip, before = (ClipEncoder.from_pretrained(str(path)) for path in (asking, tiny_world / "clip"))
    assert said.identity is not None
    assert clip.identity is not None
    assert before.identity is not None
    assert said.identity.settings == clip.identity.settings
    assert clip.identity.settings == {**before.identity.settings, NORMALIZATION_KEY: "japanese"}
    assert said.identity.arguments == {NORMALIZATION_KEY: "japanese"}


def test_what_is_not_known_is_refused(asking: Path) -> None:
    with pytest.raises(UsageError, match="text_normalization: expected japanese, got 'klingon'"):
        parse_clip_arguments({NORMALIZATION_KEY: "klingon"})
    with pytest.raises(InputError, match=f"{CONFIG}: text_normalization: expected japanese, got 3"):
        parse_normalization({NORMALIZATION_KEY: 3}, asking / CONFIG)


def test_tokenizer_is_else_as_it_was(tiny_world: Path) -> None:
    tokenizer = ClipEncoder.from_pretrained(str(tiny_world)).tokenizer
    wrapped = normalizing(tokenizer, "japanese")
    assert isinstance(copy.deepcopy(wrapped), NormalizingTokenizer)
    assert (wrapped.context_length, plain(wrapped)) == (tokenizer.context_length, tokenizer)
    assert normalizing(tokenizer, None) is plain(tokenizer) is tokenizer
    assert torch.equal(wrapped(["髮"], 8), tokenizer(["髪"], 8))
