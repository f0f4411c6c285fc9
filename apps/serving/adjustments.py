"""Images moved along several directions at once, each between two texts: what a row of sliders does."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from text2latent.apps.serving.operations import Change, Progress, as_row
from text2latent.apps.serving.passes import Task
from text2latent.apps.serving.recipes import adjust_recipe, edit_recipe
from text2latent.apps.serving.requests import check_whole
from text2latent.apps.serving.results import DrawResult
from text2latent.common.errors import InputError
from text2latent.inference.editing import edit_direction
from text2latent.inference.settings import Settings
from text2latent.inference.writing import edit_label

if TYPE_CHECKING:
    from text2latent.apps.serving.limits import Limits
    from text2latent.apps.serving.results import Drawn, Recipe

MOST_CHANGES = 32
KEPT_DIRECTIONS = 256
"""Of one latent each; of more, those that were used longest ago are computed again."""


@dataclass(frozen=True, eq=False)
class AdjustRequest:
    """An image, and how it is to be changed; changes of strength 0 don't count."""

    start: Drawn
    changes: tuple[Change, ...]

    def check(self, limits: Limits) -> None:
        check_whole("changes", len(self.changes), 1, MOST_CHANGES)
        for change in self.changes:
            change.check(limits)


class Adjuster:
    """Moves images, and keeps the directions, whose drawing takes most of the time."""

    def __init__(self) -> None:
        self._directions: OrderedDict[Hashable, Tensor] = OrderedDict()

    def adjust(self, task: Task, request: AdjustRequest, progress: Progress) -> DrawResult:
        """Draw the image anew, moved by the sum of its changes; the CLIP score is with the last one's target.

        Raises:
            InputError: when the sum isn't finite.
        """
        started = time.perf_counter()
        changes = [change for change in request.changes if change.strength] or [request.changes[-1]]
        # The start has been truncated, and what has been chosen among candidates stays chosen.
        settings = replace(task.settings, truncation=1.0, rerank=1)
        latent, label, start = request.start.latent, request.start.label, request.start
        for done, change in enumerate(changes, start=1):
            latent = latent + change.strength * self._direction(task, change, settings).to(latent)
            label = edit_label(label, *change.words)
            progress(done / len(changes), "editing")
        if not latent.isfinite().all():
            raise InputError("latents: the changes lead to numbers that aren't finite")
        query = changes[-1].ends[1]
        target = task.pipeline.encode([query]).target
        drawn = as_row(task.pipeline.render(latent[None].to(task.pipeline.device), target), label, start.seed)
        seconds = time.perf_counter() - started
        edits: list[Any] = [[*change.words, change.strength] for change in changes]
        recipe = _recipe(task, start, changes, settings)
        return DrawResult([task.serve(drawn, query, seconds, recipe, settings=settings, edits=edits)], task.seconds)

    def _direction(self, task: Task, change: Change, settings: Settings) -> Tensor:
        """`[L, D]`, on the CPU."""
        key = (task.request.model, change.words, settings)
        if key not in self._directions:
            self._directions[key] = edit_direction(task.pipeline, *change.ends, settings).cpu()
        self._directions.move_to_end(key)
        while len(self._directions) > KEPT_DIRECTIONS:
            self._directions.popitem(last=False)
        return self._directions[key]


def _recipe(task: Task, start: Drawn, changes: list[Change], settings: Settings) -> Recipe:
    """With a command line where there is one change, which is all that it takes."""
    if len(changes) == 1:
        return edit_recipe(task.source, start, changes[0].words, changes[0].strength, settings)
    return adjust_recipe(task.source, start, [(*change.words, change.strength) for change in changes], settings)
