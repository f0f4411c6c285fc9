r"""Prompts: the grammar of weighted ones, and files of many.

Grammar of a prompt::

    prompt  =  part  { "|"  part }
    part    =  text  [ ":"  weight ]
    weight  =  [ "+" | "-" ]  digits  [ "."  digits ]         between -100 and 100

`blonde woman:1.0 | glasses:0.5` asks for a blonde woman and, half as much, for glasses; a negative weight moves away
from its text. Parts without a weight are read together, as one text of weight 1 with commas: CLIP understands
`blonde woman, glasses` better than the sum of two embeddings. The full-width forms `｜`, `：`, `．`, `－`, `＋` and
digits mean the same: `金髪の女性：１．０｜眼鏡：０．５`. White space around parts, colons and weights doesn't count. A
colon weighs only where a number and nothing else follows it to the end of its part, and only in a prompt of several
parts: `a clock at 10:30` is a text as it stands.

A backslash before `|`, `:`, their full-width forms or another backslash makes that character a plain one: `a \| b` is
one part, and `a clock at 10\:30 | a man` has no weight of 30. Before any other character a backslash is itself.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from text2latent.common.errors import InputError, UsageError
from text2latent.common.prompt_text import check_prompt

MAX_WEIGHT = 100.0
ESCAPE = re.compile(r"\\([|｜:：\\])")
# A backslash before a special character is never read alone, so that each text is read in one way only.
CHARACTERS = r"(?:\\[|｜:：\\]|\\(?![|｜:：\\])|[^\\{}])*"
PART = re.compile(CHARACTERS.format("|｜"))
SIGN, POINT = "[+＋－-]?", "[.．]"
WEIGHT = re.compile(
    rf"(?P<text>{CHARACTERS.format('')})[:：]\s*(?P<weight>{SIGN}\s*(?:\d+(?:{POINT}\d*)?|{POINT}\d+))\s*"
)


@dataclass(frozen=True)
class WeightedText:
    """A part of a prompt: a text, and how much it counts (negative: away from it)."""

    text: str
    weight: float = 1.0


class Prompt(str):
    """A text that has been checked and taken apart; this is done once, however many places ask for a `Prompt` of it.

    It is the text without surrounding whitespace. Unlike other strings it is none that CLIP cannot take.

    Attributes:
        parts: what it consists of, see `parse_prompt`.

    Raises:
        UsageError: for an unusable prompt or part of one, naming it.
    """

    parts: tuple[WeightedText, ...]

    def __new__(cls, text: str) -> Prompt:
        if isinstance(text, Prompt):
            return text
        prompt = super().__new__(cls, check_prompt(text))
        prompt.parts = parse_prompt(prompt)
        for part in prompt.parts:
            check_prompt(part.text)
        return prompt


def parts_of(text: str) -> tuple[WeightedText, ...]:
    """Parts of a prompt, which one that has been checked knows already."""
    return text.parts if isinstance(text, Prompt) else parse_prompt(text)


def parse_prompt(prompt: str) -> tuple[WeightedText, ...]:
    """Take a prompt apart as the grammar of this module says; at least one part.

    Raises:
        UsageError: for a part without a text, a weight beyond 100, or weights whose sum isn't positive.
    """
    parts = split_parts(prompt)
    if len(parts) == 1:
        return (WeightedText(_plain(prompt)),)
    weighted = _join_unweighted([_parse_part(part, prompt) for part in parts])
    if not sum(part.weight for part in weighted) > 0:
        raise UsageError(f"prompt {prompt!r}: expected weights whose sum is positive")
    return weighted


def split_parts(prompt: str) -> list[str]:
    """Parts between the separators of a prompt, with their weights and escapes as they stand."""
    parts, start = [], 0
    while start <= len(prompt):
        match = PART.match(prompt, start)
        assert match is not None
        parts.append(match[0])
        start = match.end() + 1
    return parts


def _plain(text: str) -> str:
    return ESCAPE.sub(r"\1", text)


def _join_unweighted(parts: Sequence[tuple[str, float | None]]) -> tuple[WeightedText, ...]:
    """One text of the parts without a weight, if there are any, and then the others."""
    weighted = [WeightedText(text, weight) for text, weight in parts if weight is not None]
    texts = [text for text, weight in parts if weight is None]
    comma = "、" if any(map(_is_wide, "".join(texts))) else ", "
    return (*([WeightedText(comma.join(texts))] if texts else []), *weighted)


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in ("W", "F")


def _parse_part(part: str, prompt: str) -> tuple[str, float | None]:
    match = WEIGHT.fullmatch(part)
    text = _plain((match["text"] if match else part).strip())
    weight = float("".join(unicodedata.normalize("NFKC", match["weight"]).split())) if match else None
    if not text:
        raise UsageError(f"prompt {prompt!r}: expected a text in each part between | and |")
    if weight is not None and abs(weight) > MAX_WEIGHT:
        raise UsageError(f"prompt {prompt!r}: expected weights between -100 and 100, got {weight:g}")
    return text, weight


@dataclass(frozen=True)
class PromptLine:
    """A line of a prompt file.

    Attributes:
        want: attributes that its images should show, and their values; a list of values allows any of them.
    """

    text: str
    want: Mapping[str, Any] = field(default_factory=dict)


def read_prompt_file(path: str | Path, flag: str = "--prompts") -> list[PromptLine]:
    """Read a file of prompts: a text per line, or, where its name ends in `.jsonl`, a JSON object per line.

    An object has `text` and, for evaluation, `want` (attribute -> value); other keys may be there for others' use.
    Empty lines don't count.

    Raises:
        InputError: when the file can't be read, holds no prompt, or has a line that is no such object, naming it.
        UsageError: for an unusable prompt, naming its line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(f"{flag}: cannot read {path}: {reason}; expected a text or JSON lines file") from error
    is_json = str(path).lower().endswith((".jsonl", ".ndjson"))
    filled = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    read = [_read_line(line, is_json, f"{flag}: {path}: line {number}") for number, line in filled]
    if not read:
        raise InputError(f"{flag}: {path}: expected at least one prompt, the file has none")
    return read


def _read_line(line: str, is_json: bool, place: str) -> PromptLine:
    read = _read_object(line, place) if is_json else PromptLine(line)
    try:
        return PromptLine(Prompt(read.text), read.want)
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from None


def _read_object(line: str, place: str) -> PromptLine:
    expected = 'expected an object as {"text": "a man", "want": {"gender": "man"}}'
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError(f"{place}: {expected}, got {line[:60]!r}") from None
    if not isinstance(data, dict) or not isinstance(data.get("text"), str):
        raise InputError(f"{place}: {expected}, got {line[:60]!r}")
    want = data.get("want") or {}
    if not isinstance(want, dict) or not all(_is_wanted(value) for value in want.values()):
        raise InputError(f"{place}: want: expected attributes and their values (texts), got {want!r}")
    return PromptLine(data["text"], want)


def _is_wanted(value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(isinstance(one, str) for one in values)
