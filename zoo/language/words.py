"""The words of a language of a world, read from its `language/en.yaml` or `ja.yaml`.

Such a file has these parts:

- `names` (optional): alternatives `a|b|c` by a name. `<NAME>` in any text below stands for them.
- `patterns`: word tables of their own, with placeholders. An entry `PATTERN VALUE` of the words is the pattern's table
  with `<value>` and each `<FIELD>` filled in. `<FIELD, each>` makes a text of each alternative, `<FIELD, first>` takes
  the first.
- `lists`: texts without a meaning of their own, parted by `; `.
- `words`: sections of a word table, see `lexicon`; their order is that in which a grammar chooses among the texts. What
  a later section has of a meaning and slot is added to what earlier ones have.
- `spellings` (optional): other spellings of words, `a|b`; see `noise`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from text2latent.zoo.language.lexicon import WordTable, phrases

PLACEHOLDER = re.compile(r"<(\w+)(?:, (each|first))?>")


@dataclass(frozen=True, eq=False)
class Words:
    """What a language says things with.

    Attributes:
        table: texts by meaning and slot, for a `Lexicon`.
        lists: texts by the name of their list.
        spellings: other spellings of words, parted by `|`.
    """

    table: WordTable
    lists: Mapping[str, tuple[str, ...]]
    spellings: Mapping[str, str]


def load_words(path: Path) -> Words:
    """Read the words of a language.

    Raises:
        KeyError: for a placeholder or a pattern without a definition.
    """
    kept = yaml.safe_load(path.read_text(encoding="utf-8"))
    names, patterns = kept.get("names", {}), kept["patterns"]
    table: dict[str, dict[str, str]] = {}
    for section in kept["words"].values():
        for meaning, slots in section.items():
            if "=" in meaning:
                _add(table, _filled({meaning: slots}, names))
            else:
                pattern, value = meaning.split(" ", 1)
                _add(table, _filled(patterns[pattern], names | slots | {"value": value}))
    lists = {name: phrases(_fill(texts, names)) for name, texts in kept["lists"].items()}
    return Words(table, lists, kept.get("spellings", {}))


def _add(table: dict[str, dict[str, str]], further: WordTable) -> None:
    """Put texts behind those that a table has of the same meaning and slot."""
    for meaning, slots in further.items():
        known = table.setdefault(meaning, {})
        for slot, texts in slots.items():
            known[slot] = f"{known[slot]}; {texts}" if slot in known else texts


def _filled(table: WordTable, values: Mapping[str, str]) -> WordTable:
    return {
        _fill(meaning, values): {slot: _fill(text, values) for slot, text in slots.items()}
        for meaning, slots in table.items()
    }


def _fill(text: str, values: Mapping[str, str]) -> str:
    """Put values in the place of the placeholders, and of those within these values."""
    for _ in range(2):
        text = PLACEHOLDER.sub(lambda found: _alternatives(values[found[1]], found[2]), text)
    return text


def _alternatives(texts: str, form: str | None) -> str:
    if form == "each":
        return texts.replace("|", "; ")
    return texts.split("|")[0] if form == "first" else texts
