"""A visitor's picture, found in the latent space, so that it can be edited like one that was drawn."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from text2latent.apps.serving.operations import Progress, as_row
from text2latent.apps.serving.passes import Task
from text2latent.apps.serving.recipes import project_recipe
from text2latent.apps.serving.requests import DrawRequest, check_whole
from text2latent.apps.serving.results import DrawResult
from text2latent.inference.query import Query

if TYPE_CHECKING:
    from PIL import Image

    from text2latent.apps.serving.limits import Limits

DEFAULT_SEARCH = 100


@dataclass(frozen=True, eq=False)
class ProjectRequest:
    """A picture to find.

    Attributes:
        picture: of any size and mode; its middle is taken.
        name: of its file, without suffix.
        iterations: gradient steps.
        how: model and seed; nothing else of it counts.
    """

    picture: Image.Image
    name: str
    iterations: int = DEFAULT_SEARCH
    how: DrawRequest = field(default_factory=DrawRequest)

    @cached_property
    def query(self) -> Query:
        return Query(image=self.picture, name=self.name)

    def check(self, limits: Limits) -> None:
        check_whole("iterations", self.iterations, 1, limits.max_iterations)


def project(task: Task, request: ProjectRequest, progress: Progress) -> DrawResult:
    """Find the picture's latents; the result's one image is what the generator draws of them."""
    from text2latent.inference.projection.projector import ProjectionSettings

    started = time.perf_counter()
    pipeline, steps = task.pipeline, request.iterations
    found = pipeline.project(
        request.picture,
        ProjectionSettings(steps=steps),
        task.seed,
        on_step=lambda step, losses: progress(step / steps, "looking for the picture"),
    )
    draw = pipeline.render(found.latents, pipeline.encode([request.query]).target)
    recipe = project_recipe(task.source, request.name, task.seed, steps)
    seconds = time.perf_counter() - started
    row = as_row(draw, request.query.label, task.seed)
    image = task.serve(row, request.query, seconds, recipe, project=request.name, iterations=steps)
    return DrawResult([image], task.seconds)
