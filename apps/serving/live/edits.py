"""Edits by name: pairs of texts that a strength leads between."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from text2latent.common.errors import InputError, UsageError
from text2latent.inference.editing import edit_direction
from text2latent.inference.prompts import Prompt
from text2latent.inference.query import Query
from text2latent.inference.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from text2latent.inference.pipeline import Text2LatentPipeline

FOLDER = Path(__file__).parent / "controls"
NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
Pairs = Mapping[str, tuple[str, str]]
"""What an edit leads from and to, by its name."""


def read_edits(given: Sequence[Sequence[str]]) -> dict[str, tuple[str, str]]:
    """Pairs of the flag `--live-edit`, each a name and two texts.

    Raises:
        UsageError: for a name that can't stand in an address, one that comes twice, or an unusable text.
    """
    pairs: dict[str, tuple[str, str]] = {}
    for name, start, end in given:
        if NAME.fullmatch(name) is None:
            raise UsageError(f"--live-edit: expected a name of up to 40 letters, digits, - and _, got {name[:80]!r}")
        if name in pairs:
            raise UsageError(f"--live-edit: expected names that differ, got {name!r} twice")
        try:
            pairs[name] = (Prompt(start), Prompt(end))
        except UsageError as error:
            raise UsageError(f"--live-edit {name}: {error}") from None
    return pairs


def own_edits(source: str, folder: Path = FOLDER) -> dict[str, tuple[str, str]]:
    """The pairs that come with a world of the zoo, of its file `NAME.yaml`; none for other models.

    Raises:
        InputError: for a file that isn't as `sliders: {NAME: {en: [from, to]}}`.
    """
    file = folder / f"{source}.yaml"
    if NAME.fullmatch(source) is None or not file.is_file():
        return {}
    data: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    try:
        named = {name: tuple(languages["en"]) for name, languages in data["sliders"].items()}
        return {name: (start, end) for name, (start, end) in named.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(f"{file}: expected sliders: {{NAME: {{en: [from, to]}}}}") from None


class EditDirections:
    """The directions of named edits in a model's latent space, each found when it is first asked for, and kept.

    They are found with the default settings, whatever a picture is drawn with.
    """

    def __init__(self, pipeline: Text2LatentPipeline, pairs: Pairs) -> None:
        self.pairs = pairs
        self._pipeline = pipeline
        self._found: dict[str, Tensor] = {}
        self._lock = threading.Lock()

    def __call__(self, name: str) -> Tensor:
        """`[L, D]`, on the CPU; KeyError for a name that there isn't."""
        start, end = self.pairs[name]
        with self._lock:
            if name not in self._found:
                self._found[name] = edit_direction(self._pipeline, Query(start), Query(end), Settings()).cpu()
            return self._found[name]
