"""Edits by name: pairs of texts that a strength leads between."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from text2latent.apps.serving.controls import read_controls
from text2latent.common.errors import UsageError
from text2latent.inference.editing import edit_direction
from text2latent.inference.prompts import Prompt
from text2latent.inference.query import Query
from text2latent.inference.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from text2latent.inference.pipeline import Text2LatentPipeline

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


def own_edits(source: str) -> dict[str, tuple[str, str]]:
    """The English pairs of the sliders that come with a world of the zoo, by their keys; none for other models."""
    sliders = read_controls(source).get("sliders", [])
    return {slider["key"]: (slider["from"]["en"], slider["to"]["en"]) for slider in sliders}


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
