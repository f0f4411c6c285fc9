"""What the English grammars of all worlds share: lists, articles, case and punctuation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from text2latent.zoo.language.lexicon import Draft


def join(items: Sequence[str], draft: Draft) -> str:
    """Join phrases by commas and "and", or by "and" or commas alone."""
    if len(items) == 1:
        return items[0]
    if len(items) > 2 and draft.chance(0.15):
        return ", ".join(items)
    if draft.chance(0.2):
        return " and ".join(items)
    return ", ".join(items[:-1]) + draft.pick((" and ", " and ", ", and ")) + items[-1]


def bare(draft: Draft, things: Sequence[str]) -> list[str]:
    """Perhaps drop the articles: "with beard and hat"."""
    return [text.removeprefix("a ") for text in things] if draft.chance(0.15) else list(things)


def merged(draft: Draft, texts: list[str]) -> list[str]:
    """Perhaps make one of all that is absent: "without glasses or earrings"."""
    absent = [text.removeprefix("without ") for text in texts if text.startswith("without ")]
    if len(absent) < 2 or draft.chance(0.3):
        return texts
    conjunction = draft.pick((" or ", " and "))
    return [f"without {conjunction.join(absent)}"] + [text for text in texts if not text.startswith("without ")]


def with_articles(text: str) -> str:
    """Put "an" for "a" before vowels."""
    return re.sub(r"\ba (?=[aeiou])", "an ", text)


def present(draft: Draft, text: str, qualities: Sequence[str]) -> str:
    """Perhaps add a word on quality to a text; settle its case and full stop."""
    if draft.chance(0.04):
        text = f"{text}, {draft.pick(qualities)}"
    style = draft.uniform()
    if style < 0.35:
        text = re.sub(r"(^|\. )([a-z])", lambda match: match[1] + match[2].upper(), text)
    elif style < 0.37:
        text = text.upper()
    elif style < 0.39:
        text = text.title()
    return text + "." if text[-1].isalnum() and draft.chance(0.2) else text
