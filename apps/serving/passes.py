"""One pass through prior and generator for the draws of several requests, and images with their metadata."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from text2latent.apps.serving.recipes import draw_recipe
from text2latent.apps.serving.requests import DrawRequest
from text2latent.apps.serving.results import DrawResult, Recipe, ServedImage
from text2latent.inference.drawing import describe, draw_pairs
from text2latent.inference.query import Query
from text2latent.inference.result import Draw
from text2latent.inference.settings import Settings

if TYPE_CHECKING:
    from text2latent.inference.pipeline import Text2LatentPipeline


@dataclass(frozen=True, eq=False)
class Task:
    """A request on its way.

    Attributes:
        request: with its seed and the model's name filled in.
        query: what the images of it are to show.
        source: what a user elsewhere calls the model, see `ModelLibrary.public_source`.
        submitted: when it came, by `time.perf_counter`.
    """

    request: DrawRequest
    query: Query
    settings: Settings
    pipeline: Text2LatentPipeline
    source: str
    submitted: float

    @property
    def key(self) -> Hashable:
        """Draws of one key can share a pass: texts, images and seeds may differ, model and settings may not."""
        return self.request.model, self.settings

    @property
    def size(self) -> int:
        """Images in the pass, candidates included."""
        return self.request.n * self.request.rerank

    @property
    def seed(self) -> int:
        assert self.request.seed is not None
        return self.request.seed

    @property
    def seconds(self) -> float:
        """Time since the request came."""
        return time.perf_counter() - self.submitted

    def serve(
        self,
        drawn: Draw,
        query: Query,
        seconds: float,
        recipe: Recipe,
        origin: DrawRequest | None = None,
        settings: Settings | None = None,
        description: dict[str, Any] | None = None,
        **further: Any,
    ) -> ServedImage:
        """An image of this task as the server gives it.

        Its `description`, which is JSON-ready and goes into its file, is that of its settings and `further` ones unless
        it is given.
        """
        assert self.request.model is not None
        settings = settings or self.settings
        described = describe(self.pipeline, settings, **further) if description is None else description
        num_ws = self.pipeline.generator.num_ws
        return ServedImage(drawn, query, self.request.model, settings, described, num_ws, seconds, recipe, origin)


def draw_together(tasks: Sequence[Task]) -> list[DrawResult]:
    """Draw the requests of several tasks, whose keys are equal, in one pass; a result for each, in order.

    An image depends on its own request and seed only, not on what is drawn with it.
    """
    started = time.perf_counter()
    pairs = [(task.query, task.seed + i) for task in tasks for i in range(task.request.n)]
    drawn = iter(list(draw_pairs(tasks[0].pipeline, pairs, tasks[0].settings)))
    share = (time.perf_counter() - started) / len(pairs)
    results = []
    for task in tasks:
        images = [_serve_drawn(task, next(drawn), share) for _ in range(task.request.n)]
        results.append(DrawResult(images, task.seconds))
    return results


def _serve_drawn(task: Task, drawn: Draw, seconds: float) -> ServedImage:
    origin = replace(task.request, n=1, seed=drawn.seeds[0])
    mixed = origin.image is not None and origin.prompt is not None
    return task.serve(
        drawn,
        task.query,
        seconds,
        draw_recipe(task.source, origin, task.settings),
        origin,
        negative_text=origin.negative,
        image=None if origin.image is None else [origin.image_name],
        image_weight=origin.image_weight if mixed else None,
    )
