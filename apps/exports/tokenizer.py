"""open_clip's tokenizer as files that need no open_clip: `tokenizer.json` (of tokenizers), and its cleaning."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

from text2latent.common.errors import InputError
from text2latent.models.clip.normalizing import plain
from text2latent.models.clip.tokenizer import WORD_END, BytePairTokenizer

PIECES = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}\x{0345}]+"
"""How open_clip splits a text into words, but for its special tokens.

Its expression ignores case and, by that, leaves out the combining iota U+0345, which is no letter but a case of one.
"""
TOKENIZER_FOLDER = "tokenizer"
PLANE_0_END = 0x10000
SURROGATES = range(0xD800, 0xE000)


def write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write `tokenizer.json` and `cleaning.json` into a new folder.

    Args:
        tokenizer: open_clip's `SimpleTokenizer` in its usual settings, or a `BytePairTokenizer`.
        folder: made where it is missing.

    Raises:
        InputError: for a tokenizer of another kind.
    """
    require_simple(tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("tokenizer", tokenizer_json(tokenizer)), ("cleaning", cleaning_json(tokenizer))):
        text = json.dumps(content, ensure_ascii=False, indent=1 if name == "cleaning" else None)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def require_simple(tokenizer: Any) -> None:
    """Refuse tokenizers other than open_clip's `SimpleTokenizer` with lower-casing and plain truncation."""
    tokenizer = plain(tokenizer)
    if isinstance(tokenizer, BytePairTokenizer):
        return

    from open_clip.tokenizer import SimpleTokenizer, get_clean_fn

    simple = isinstance(tokenizer, SimpleTokenizer)
    if not simple or tokenizer.clean_fn is not get_clean_fn("lower") or tokenizer.reduction_fn is not None:
        kind = type(tokenizer).__name__
        raise InputError(f"CLIP tokenizer {kind}: expected open_clip's SimpleTokenizer with its usual cleaning")


def tokenizer_json(tokenizer: Any) -> dict[str, Any]:
    """The tokenizer as the tokenizers library describes one: the same vocabulary, merges, cut and padding."""
    start, end = tokenizer.all_special_ids[:2]
    special = {tokenizer.decoder[number]: number for number in tokenizer.all_special_ids}
    first, last = tokenizer.decoder[start], tokenizer.decoder[end]
    length = tokenizer.context_length
    return {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": length, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": length},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": tokenizer.decoder[0],
        },
        "added_tokens": [_added_token(text, number) for text, number in special.items()],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
                {"type": "Strip", "strip_left": True, "strip_right": True},
                {"type": "Lowercase"},
            ],
        },
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": PIECES}, "behavior": "Removed", "invert": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [_special(first), {"Sequence": {"id": "A", "type_id": 0}}, _special(last)],
            "pair": [_special(first), *({"Sequence": {"id": one, "type_id": 0}} for one in "AB"), _special(last)],
            "special_tokens": {
                text: {"id": text, "ids": [number], "tokens": [text]} for text, number in ((first, start), (last, end))
            },
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": WORD_END,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": tokenizer.encoder,
            "merges": [list(pair) for pair in sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)],
        },
    }


def _added_token(text: str, number: int) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": text, **flags}


def _special(text: str) -> dict[str, Any]:
    return {"SpecialToken": {"id": text, "type_id": 0}}


def cleaning_json(tokenizer: Any) -> dict[str, Any]:
    """What ftfy, which open_clip cleans texts with, makes of single characters and of HTML entities.

    Args:
        tokenizer: which normalises characters before that, if it is a `NormalizingTokenizer`.

    Returns:
        `characters`, such as curly quotes, ligatures and wide letters, to their replacements, and `entities` likewise.
    """
    import ftfy
    from ftfy.chardata import HTML_ENTITIES

    normalize = getattr(tokenizer, "normalize", str)

    def fixed(char: str) -> str:
        return ftfy.fix_text(normalize(char), fix_encoding=False, unescape_html=False)

    fixes = {chr(number): fixed(chr(number)) for number in range(PLANE_0_END) if number not in SURROGATES}
    characters = {char: fix for char, fix in fixes.items() if fix != unicodedata.normalize("NFC", char)}
    return {"characters": characters, "entities": dict(HTML_ENTITIES)}
