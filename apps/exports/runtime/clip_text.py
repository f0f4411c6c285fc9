"""open_clip's tokenizer without open_clip: needs `numpy` and `tokenizers`."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

ENTITY = re.compile(r"&#?[0-9A-Za-z]{1,24};")


class ClipText:
    """Token ids as open_clip's `SimpleTokenizer` gives them.

    The one thing it leaves out is the repair of text that was decoded wrongly ("schÃ¶n"), which open_clip leaves to
    ftfy.

    Args:
        folder: with `tokenizer.json`, for the tokenizers library, and `cleaning.json`.
    """

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        cleaning = json.loads((folder / "cleaning.json").read_text(encoding="utf-8"))
        self.characters = str.maketrans(cleaning["characters"])
        self.entities: dict[str, str] = cleaning["entities"]

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Ids, int64 `[N, context_length]`, of texts; a text that is too long is cut."""
        encoded = self.tokenizer.encode_batch([self.clean(text) for text in texts])
        return np.array([one.ids for one in encoded], dtype=np.int64)

    def clean(self, text: str) -> str:
        """Text without entities, typographic variants of characters, repeated whitespace and capitals."""
        before, is_markup = None, "<" in text
        while text != before:
            before = text
            text = text if is_markup else ENTITY.sub(self._entity, text)
            text = unicodedata.normalize("NFC", text.translate(self.characters))
        return " ".join(html.unescape(html.unescape(text)).split()).lower()

    def _entity(self, match: re.Match[str]) -> str:
        if match[0].startswith("&#"):
            character = html.unescape(match[0])
            return match[0] if ";" in character else character
        return self.entities.get(match[0], match[0])
