"""Texts that can be prompts: checked before anything is loaded."""

from __future__ import annotations

import unicodedata

from text2latent.common.errors import UsageError

MAX_PROMPT_CHARACTERS = 2000
SHOWN_CHARACTERS = 40
ALLOWED_CONTROLS = frozenset("\t\n\v\f\r")
REFUSED_CATEGORIES = frozenset({"Cc", "Cs"})
INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})


def check_prompt(text: str) -> str:
    """Return the prompt without surrounding whitespace, or refuse it.

    Any script, direction and emoji is welcome, and so are line breaks and tabs. Refused are prompts with nothing
    visible in them, with control characters or broken Unicode (they come from a wrong encoding), and overlong ones.

    Raises:
        UsageError: naming the prompt and what is wrong with it.
    """
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise UsageError(
            f"prompt {shortened(text)}: expected at most {MAX_PROMPT_CHARACTERS} characters, got {len(text)}"
        )
    refused = [char for char in text if _is_refused(char)]
    if refused:
        raise UsageError(f"prompt {shortened(text)}: expected no control characters, got U+{ord(refused[0]):04X}")
    if all(unicodedata.category(char) in INVISIBLE_CATEGORIES for char in text):
        raise UsageError(f"prompt {shortened(text)}: expected some words, got nothing visible")
    return text.strip()


def _is_refused(char: str) -> bool:
    return unicodedata.category(char) in REFUSED_CATEGORIES and char not in ALLOWED_CONTROLS


def shortened(text: str) -> str:
    """A text in quotes for a message, its beginning where it is long."""
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "...")
