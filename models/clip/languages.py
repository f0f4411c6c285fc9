"""Texts in the language that a tokenizer such as NLLB's is told: one that is said, or that of each text's script."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from text2latent.common.errors import UsageError

FLAG = "--clip-language"
DEFAULT = "eng_Latn"
SCRIPTS = {
    "jpn_Jpan": r"[\u3041-\u30ff\uff66-\uff9f]",
    "kor_Hang": r"[\uac00-\ud7a3\u1100-\u11ff]",
    "rus_Cyrl": r"[\u0400-\u04ff]",
    "ell_Grek": r"[\u0370-\u03ff]",
    "arb_Arab": r"[\u0600-\u06ff]",
    "heb_Hebr": r"[\u05d0-\u05ea]",
    "hin_Deva": r"[\u0900-\u097f]",
    "ben_Beng": r"[\u0980-\u09ff]",
    "tam_Taml": r"[\u0b80-\u0bff]",
    "tel_Telu": r"[\u0c00-\u0c7f]",
    "tha_Thai": r"[\u0e00-\u0e7f]",
    "hye_Armn": r"[\u0531-\u058f]",
    "kat_Geor": r"[\u10a0-\u10ff]",
}
"""Languages, as NLLB calls them, with the characters of a script; the most widespread of those that share one."""
HAN, OF_HAN = re.compile(r"[\u4e00-\u9fff\u3400-\u4dbf]"), "jpn_Jpan"
"""Characters that Chinese and Japanese share, and as which of the two a text of nothing else is read."""


def language_of(text: str) -> str:
    """The language, as NLLB calls it, that a text's script suggests; English where it is Latin or unknown."""
    counts = {language: len(re.findall(characters, text)) for language, characters in SCRIPTS.items()}
    found = max(counts, key=lambda language: counts[language])
    if counts[found]:
        return found
    return OF_HAN if HAN.search(text) else DEFAULT


def has_languages(tokenizer: Any) -> bool:
    """Whether open_clip's wrapper of a tokenizer has one inside that is told the language of its texts."""
    inner = getattr(tokenizer, "tokenizer", None)
    return hasattr(inner, "src_lang") and knows(inner, DEFAULT)


def knows(inner: Any, language: str) -> bool:
    """Whether a tokenizer of the transformers library has a token for a language."""
    return inner.convert_tokens_to_ids(language) not in (None, inner.unk_token_id)


class LanguageTokenizer:
    """A tokenizer that tells the one inside the language of each text.

    Args:
        tokenizer: open_clip's wrapper of one of the transformers library, for which `has_languages` holds.

    Attributes:
        language: of all texts; None takes that of each one's script.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._wrapped = tokenizer
        self.tokenizer, self.context_length = tokenizer.tokenizer, tokenizer.context_length
        self.clean_fn, self.tokenizer_mode = tokenizer.clean_fn, tokenizer.tokenizer_mode
        self.language: str | None = None

    def say(self, language: str) -> None:
        """Fix the language of all texts.

        Raises:
            UsageError: for one that the tokenizer doesn't know.
        """
        if not re.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}", language) or not knows(self.tokenizer, language):
            raise UsageError(f"{FLAG}: expected a language as NLLB calls it, such as jpn_Jpan, got {language!r:.80}")
        self.language = language

    def __call__(self, texts: Sequence[str], context_length: int | None = None) -> Tensor:
        """Tokens of texts, int64 `[N, L]`."""
        languages = [self.language or self._known(language_of(text)) for text in texts]
        rows = torch.zeros(len(texts), context_length or self.context_length, dtype=torch.long)
        for language in dict.fromkeys(languages):
            mine = [row for row, one in enumerate(languages) if one == language]
            self.tokenizer.src_lang = language
            rows[mine] = self._wrapped([texts[row] for row in mine], context_length)
        return rows

    def _known(self, language: str) -> str:
        return language if knows(self.tokenizer, language) else DEFAULT

    def save_pretrained(self, folder: Any) -> None:
        """Write the tokenizer's files, set to English as they came."""
        self.tokenizer.src_lang = DEFAULT
        self.tokenizer.save_pretrained(folder)
