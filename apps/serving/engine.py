"""The engine under page and API: checks requests, joins them into passes, and draws with the parts of `models`.

Draws share passes through prior and generator, see `BatchQueue`. Each kind that takes longer has a queue and a thread
of its own (edits and interpolations; refinements; comparisons), so that none holds up what is done sooner. So have live
frames, which share one thread however many streams there are, and what changes of them need before.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from text2latent.apps.serving.adjustments import Adjuster, AdjustRequest
from text2latent.apps.serving.batching import BatchQueue, Closed
from text2latent.apps.serving.library import ModelInfo, ModelLibrary
from text2latent.apps.serving.limits import Batching, Limits
from text2latent.apps.serving.live.moments import MomentTask, draw_moments
from text2latent.apps.serving.operations import (
    CompareRequest,
    Comparison,
    EditRequest,
    EditResult,
    MixRequest,
    MixResult,
    Progress,
    RefineRequest,
    RefineResult,
    Watch,
    compare,
    edit,
    mix,
    refine,
)
from text2latent.apps.serving.passes import Task, draw_together
from text2latent.apps.serving.projections import ProjectRequest, project
from text2latent.apps.serving.requests import DrawRequest
from text2latent.apps.serving.results import Drawn, DrawResult

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from text2latent.inference.domain import DomainScore
    from text2latent.inference.query import Query
    from text2latent.models.acceleration import Acceleration

R = TypeVar("R")
SEED_LIMIT = 2**32
"""Seeds that nobody chose stay below it, so that people can read and type them."""


def ignore(share: float, what: str) -> None:
    """Take progress and do nothing."""


class Engine:
    """Draws for many threads at once; use as a context manager, or call `close`.

    The methods that draw check a request and load its model, and then return a future. They take the client, who
    may have a limited number of requests waiting. They, or their futures, raise:

    - `UsageError` for a request that is unusable or beyond the limits, naming the field,
    - `UnknownModel` (a `UsageError`) and `ModelUnavailable`,
    - `QueueFull` when too many wait already, or too many of the client's,
    - `InputError` when the result isn't finite.

    None of these messages names a file of the server.

    Args:
        models: the models to offer, see `ModelLibrary`; None offers the worlds of the zoo.
        limits: what a request may ask for.
        batching: how requests are joined and how many may wait.
        acceleration: how the models are made faster; graphs are kept for each number of images in a pass.
    """

    def __init__(
        self,
        models: Sequence[str] | None = None,
        device: str | torch.device = "cpu",
        limits: Limits | None = None,
        batching: Batching | None = None,
        acceleration: Acceleration | None = None,
    ) -> None:
        self.library = ModelLibrary(models, device, acceleration)
        self.limits = limits or Limits()
        self.batching = batching or Batching()
        self._closing = threading.Event()
        self._adjuster = Adjuster()
        self._draws: BatchQueue[Task, DrawResult] = BatchQueue(
            draw_together,
            lambda task: task.key,
            lambda task: task.size,
            self.batching.max_images,
            self.batching.max_wait_seconds,
            self.batching.max_waiting,
            "draws",
            self.batching.max_of_client,
        )
        self._changes, self._refinements, self._comparisons, self._preparations = (
            _one_by_one(self.batching, name) for name in ("changes", "refinements", "comparisons", "preparations")
        )
        self._moments: BatchQueue[MomentTask, Image.Image] = BatchQueue(
            draw_moments,
            lambda task: task.key,
            lambda task: 1,
            self.batching.max_images,
            0.0,
            self.batching.max_waiting,
            "moments",
        )

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Refuse what waits, let a draw that runs end, stop what takes long at its next step, and end the threads."""
        self._closing.set()
        for queue in self._queues:
            queue.close()

    @property
    def models(self) -> list[ModelInfo]:
        """The models that requests can name, the default one first."""
        return self.library.infos

    @property
    def num_waiting(self) -> int:
        """Requests of all queues whose work has not begun."""
        return sum(queue.num_waiting for queue in self._queues)

    @property
    def _queues(self) -> tuple[BatchQueue[Any, Any], ...]:
        slow = (self._changes, self._refinements, self._comparisons)
        return self._draws, *slow, self._preparations, self._moments

    def domain_score(self, prompt: str, model: str | None = None) -> DomainScore | None:
        """How far a prompt is from what a model draws, without drawing; None where the model has no domain."""
        request = DrawRequest(prompt, model)
        request.check(self.limits)
        pipeline = self.library.get(model)
        return pipeline.score_domain([request.query])[0] if pipeline.domain else None

    def submit_draw(self, request: DrawRequest, client: str | None = None) -> Future[DrawResult]:
        """Draw images of a text, variations of an image, or both mixed."""
        return self._draws.submit(self._prepare(request), client)

    def submit_mix(
        self, request: MixRequest, progress: Progress = ignore, client: str | None = None
    ) -> Future[MixResult]:
        """Draw the way between two texts."""
        request.check(self.limits)
        how = replace(request.how, prompt=request.start, image=None, n=1, rerank=1)
        task = self._prepare(how, request.ends[0])
        return self._submit_long(self._changes, lambda report: mix(task, request, report), progress, client)

    def submit_edit(
        self, request: EditRequest, progress: Progress = ignore, client: str | None = None
    ) -> Future[EditResult]:
        """Move images along the direction between two texts."""
        request.check(self.limits)
        base = request.base
        task = self._prepare(base) if isinstance(base, DrawRequest) else self._prepare_from(base[0])
        return self._submit_long(self._changes, lambda report: edit(task, request, report), progress, client)

    def submit_adjust(
        self, request: AdjustRequest, progress: Progress = ignore, client: str | None = None
    ) -> Future[DrawResult]:
        """Move an image along several directions at once."""
        request.check(self.limits)
        task = self._prepare_from(request.start)
        return self._submit_long(
            self._changes, lambda report: self._adjuster.adjust(task, request, report), progress, client
        )

    def submit_refine(
        self, request: RefineRequest, progress: Progress = ignore, client: str | None = None
    ) -> Future[RefineResult]:
        """Move an image by CLIP-guided gradient descent."""
        request.check(self.limits)
        task = self._prepare_from(request.image)
        return self._submit_long(self._refinements, lambda report: refine(task, request, report), progress, client)

    def submit_project(
        self, request: ProjectRequest, progress: Progress = ignore, client: str | None = None
    ) -> Future[DrawResult]:
        """Find a picture in the latent space."""
        request.check(self.limits)
        task = self._prepare(replace(request.how, prompt=None, image=None, n=1, rerank=1), request.query)
        return self._submit_long(self._refinements, lambda report: project(task, request, report), progress, client)

    def submit_compare(
        self,
        request: CompareRequest,
        progress: Progress = ignore,
        watch: Watch = lambda halfway: None,
        client: str | None = None,
    ) -> Future[Comparison]:
        """Draw a text with the prior, and look for it by optimisation; `watch` sees it grow."""
        request.check(self.limits)
        task = self._prepare(replace(request.how, prompt=request.prompt, image=None, n=1), request.query)
        return self._submit_long(
            self._comparisons, lambda report: compare(task, request, report, watch), progress, client
        )

    def submit_moment(self, task: MomentTask) -> Future[Image.Image]:
        """Draw a frame of a live stream, with those of others that wait."""
        return self._moments.submit(task)

    def submit_preparation(self, work: Callable[[], R], client: str | None = None) -> Future[R]:
        """Do what a live stream needs before frames can show it: texts embedded, directions found."""
        return self._preparations.submit(work, client)

    def _prepare(self, request: DrawRequest, query: Query | None = None) -> Task:
        """Check a request, of which `query` may have been made already, and fill in its model, loaded, and its seed."""
        submitted = time.perf_counter()
        if query is None:
            request.check(self.limits)
            query = request.query
        else:
            request.check_numbers(self.limits)
        name = self.library.check(request.model)
        seed = secrets.randbelow(SEED_LIMIT) if request.seed is None else request.seed
        request = replace(request, model=name, seed=seed)
        settings = request.settings(self.batching.max_images)
        return Task(request, query, settings, self.library.get(name), self.library.public_source(name), submitted)

    def _prepare_from(self, image: Drawn) -> Task:
        name, request = image.model, DrawRequest(image.label, image.model, seed=image.seed)
        source = self.library.public_source(name)
        return Task(request, image.query, image.settings, self.library.get(name), source, time.perf_counter())

    def _submit_long(
        self,
        queue: BatchQueue[Callable[[], Any], Any],
        work: Callable[[Progress], R],
        progress: Progress,
        client: str | None,
    ) -> Future[R]:
        """Have a queue do work that ends at its next report once the engine closes."""

        def report(share: float, what: str) -> None:
            if self._closing.is_set():
                raise Closed
            progress(share, what)

        return queue.submit(lambda: work(report), client)


def _one_by_one(batching: Batching, name: str) -> BatchQueue[Callable[[], Any], Any]:
    """A queue of work that isn't joined."""
    most, of_client = batching.max_waiting_long, batching.max_long_of_client
    return BatchQueue(lambda tasks: [task() for task in tasks], id, lambda task: 1, 1, 0.0, most, name, of_client)
