"""The language that NLLB's tokenizer is told: by each text's script, or as the user says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from text2latent.common.errors import UsageError
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.clip.languages import language_of
from text2latent.tests.models.clip.small_clips import nllb_config, save_clip, small

pytest.importorskip("transformers")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("a woman with glasses", "eng_Latn"),
        ("眼鏡をかけた女性", "jpn_Jpan"),
        ("眼鏡", "jpn_Jpan"),
        ("안경을 쓴 여자", "kor_Hang"),
        ("женщина в очках", "rus_Cyrl"),
        ("امرأة ترتدي نظارات", "arb_Arab"),
        ("ผู้หญิงใส่แว่น", "tha_Thai"),
        ("γυναίκα με γυαλιά", "ell_Grek"),
        ("1234 !?", "eng_Latn"),
        ("JOJO風の髪型", "jpn_Jpan"),
    ],
)
def test_a_text_is_of_the_language_of_its_script(text: str, language: str) -> None:
    assert language_of(text) == language


@pytest.fixture(scope="module")
def nllb(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """A folder of an NLLB CLIP with its own kind of tokenizer, and tokenizer and model of the libraries."""
    from transformers import NllbTokenizer

    folder = tmp_path_factory.mktemp("nllb")
    pieces = [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        *(f"▁{word}" for word in ("a", "old", "man")),
        "眼",
        "鏡",
        "の",
        "女",
        "性",
    ]
    tokenizer = NllbTokenizer(
        vocab={piece: index for index, piece in enumerate(pieces)}, merges=[], src_lang="eng_Latn"
    )
    tokenizer.save_pretrained(folder)
    config = nllb_config()
    config.vocab_size = len(tokenizer)
    model = save_clip(folder, small("nllb-clip-base", context_length=12), config)
    return folder, tokenizer, model


def test_each_text_is_told_by_its_script(nllb: tuple[Path, Any, Any]) -> None:
    folder, tokenizer, model = nllb
    encoder = ClipEncoder.from_pretrained(str(folder))
    texts = ["old man", "眼鏡の女性", "a man"]
    found = encoder.tokenize(texts)
    for row, text, language in zip(found, texts, ("eng_Latn", "jpn_Jpan", "eng_Latn"), strict=True):
        tokenizer.src_lang = language
        expected = tokenizer(text, padding="max_length", max_length=12, truncation=True).input_ids
        assert row.tolist() == expected
        assert expected[0] == tokenizer.convert_tokens_to_ids(language)
    with torch.no_grad():
        torch.testing.assert_close(encoder.encode_text(texts), model.encode_text(found, normalize=True))


def test_a_language_is_said_for_all_and_changes_no_identity(nllb: tuple[Path, Any, Any]) -> None:
    folder, tokenizer, _ = nllb
    usual = ClipEncoder.from_pretrained(str(folder))
    french = ClipEncoder.from_pretrained(str(folder), {"language": "fra_Latn"})
    assert french.tokenize(["眼鏡", "old man"])[:, 0].tolist() == [tokenizer.convert_tokens_to_ids("fra_Latn")] * 2
    assert usual.identity.differences(french.identity) == []
    for language in ("xxx_Xxxx", "fr", "<pad>"):
        with pytest.raises(UsageError, match="--clip-language: expected a language as NLLB calls it"):
            ClipEncoder.from_pretrained(str(folder), {"language": language})


def test_other_clips_are_told_no_language() -> None:
    with pytest.raises(UsageError, match="--clip-language: expected a CLIP whose tokenizer is told the language"):
        ClipEncoder.from_pretrained("faces", {"language": "jpn_Jpan"})
