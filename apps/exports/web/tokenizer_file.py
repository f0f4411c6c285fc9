"""open_clip's tokenizer as one file for JavaScript, which has no library for it: merges, and tables to clean texts."""

from __future__ import annotations

import html.entities
import json
import sys
import unicodedata
from typing import Any

from text2latent.apps.exports.tokenizer import cleaning_json, require_simple


def tokenizer_file(tokenizer: Any) -> bytes:
    """JSON with all that `scripts/tokenizer.js` needs.

    `merges` are the pairs that become one token, a line each, in their order. The numbers of tokens follow from it:
    bytes, bytes at a word's end, merged ones, start and end. `characters` and `entities` are those of `cleaning_json`;
    `references` are HTML's named characters, with and without their semicolon. `wide` has the first and last number of
    each run of wide characters.

    Args:
        tokenizer: open_clip's `SimpleTokenizer` in its usual settings, or a `BytePairTokenizer`.

    Raises:
        InputError: for a tokenizer of another kind.
    """
    require_simple(tokenizer)
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    content = {
        "merges": "\n".join(" ".join(pair) for pair in merges),
        **cleaning_json(tokenizer),
        "references": html.entities.html5,
        "wide": wide_runs(),
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def wide_runs() -> list[list[int]]:
    """First and last number of each run of characters that are as wide as two others (Unicode's annex 11)."""
    runs: list[list[int]] = []
    for number in range(sys.maxunicode + 1):
        if unicodedata.east_asian_width(chr(number)) in ("W", "F"):
            if runs and runs[-1][1] == number - 1:
                runs[-1][1] = number
            else:
                runs.append([number, number])
    return runs
