"""What takes longer than a draw: ways between texts, edits, refinements, and comparisons with optimisation."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from PIL import Image
from torch import Tensor

from text2latent.apps.serving.passes import Task, draw_together
from text2latent.apps.serving.recipes import edit_recipe, mix_recipe, optimize_recipe, refine_recipe
from text2latent.apps.serving.requests import DrawRequest, check_length, check_number, check_whole, read_text
from text2latent.apps.serving.results import Drawn, ServedImage
from text2latent.inference.animation import save_animation
from text2latent.inference.drawing import draw_frames, draw_latents
from text2latent.inference.editing import Edit
from text2latent.inference.images import make_grid
from text2latent.inference.query import Query
from text2latent.inference.result import Draw
from text2latent.inference.settings import DEFAULT_FRAMES, DEFAULT_STRENGTH, MAX_STRENGTH
from text2latent.inference.writing import edit_label

if TYPE_CHECKING:
    from text2latent.apps.optimize.run import Point
    from text2latent.apps.serving.limits import Limits

T = TypeVar("T")
Progress = Callable[[float, str], object]
"""Called with a share in [0, 1] and what is being done; whatever it raises ends the work."""
OPTIMIZER = "adam"
DEFAULT_REFINE = 30
DEFAULT_ITERATIONS = 100


@dataclass(frozen=True, eq=False)
class MixRequest:
    """The way from one text to another.

    Attributes:
        start: the first frame's text.
        end: the last frame's.
        frames: at least 2.
        how: model, seed, guidance and all else; its prompt, image, `n` and `rerank` don't count.
    """

    start: str
    end: str
    frames: int = DEFAULT_FRAMES
    how: DrawRequest = field(default_factory=DrawRequest)

    @cached_property
    def ends(self) -> tuple[Query, Query]:
        """Start and end, as the pipeline takes them; errors are as for `DrawRequest.query`."""
        start, end = read_text("start", self.start), read_text("end", self.end)
        negative = self.how.read_negative()
        return Query(start, negative=negative), Query(end, negative=negative)

    def check(self, limits: Limits) -> None:
        check_length("start", self.start, limits)
        check_length("end", self.end, limits)
        check_length("negative_prompt", self.how.negative, limits)
        _ = self.ends
        check_whole("frames", self.frames, 2, limits.max_frames)


@dataclass(frozen=True, eq=False)
class MixResult:
    """The way between two texts; `frames` are its images, and `seconds` the time from the request to the result."""

    frames: list[ServedImage]
    seconds: float

    def strip(self) -> Image.Image:
        """All frames side by side."""
        return make_grid([frame.picture for frame in self.frames], len(self.frames))

    def animation(self, suffix: str = ".gif", fps: float = 8.0) -> bytes:
        """A `.gif` or `.mp4` file that goes there and back.

        Raises:
            InputError: for `.mp4` without imageio-ffmpeg.
        """
        pictures = [frame.picture for frame in self.frames]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"mix{suffix}"
            save_animation(pictures + pictures[-2:0:-1], path, self.frames[0].label, fps)
            return path.read_bytes()


def mix(task: Task, request: MixRequest, progress: Progress) -> MixResult:
    """Draw the frames of the way between two texts, all with the task's seed."""
    started = time.perf_counter()
    ends, negative = request.ends, task.request.negative
    texts = ends[0].label, ends[1].label
    drawing = draw_frames(task.pipeline, ends, request.frames, [task.seed], task.settings)
    drawn = list(_reported(drawing, request.frames, "drawing frames", progress))
    share = (time.perf_counter() - started) / len(drawn)
    further: dict[str, Any] = {"interpolate": list(texts), "frames": request.frames, "negative_text": negative}
    frames = [
        task.serve(
            image,
            ends[0] if index < len(drawn) / 2 else ends[1],
            share,
            mix_recipe(task.source, texts, task.request, task.settings, index, request.frames),
            **further,
        )
        for index, image in enumerate(drawn)
    ]
    return MixResult(frames, task.seconds)


@dataclass(frozen=True)
class Change:
    """How an image is to be moved: what one slider does.

    Attributes:
        source: what is to go, or what the image shows.
        target: what is to come.
        strength: 1 moves by the difference between the texts, 0 not at all, -1 the other way.
    """

    source: str
    target: str
    strength: float

    @cached_property
    def ends(self) -> tuple[Query, Query]:
        """Source and target, as the pipeline takes them.

        Raises:
            UsageError: naming the field, what came and what was expected.
        """
        return Query(read_text("source", self.source)), Query(read_text("target", self.target))

    @property
    def words(self) -> tuple[str, str]:
        """Source and target as labels have them."""
        return self.ends[0].label, self.ends[1].label

    def check(self, limits: Limits) -> None:
        check_length("source", self.source, limits)
        check_length("target", self.target, limits)
        _ = self.ends
        check_number("strength", self.strength, -MAX_STRENGTH, MAX_STRENGTH)


@dataclass(frozen=True, eq=False)
class EditRequest:
    """Images moved along the direction from one text to another.

    Attributes:
        base: what to draw first, or images that have been drawn; the rest is as for `Change`.
    """

    base: DrawRequest | tuple[ServedImage, ...]
    source: str
    target: str
    strength: float = DEFAULT_STRENGTH

    @cached_property
    def change(self) -> Change:
        return Change(self.source, self.target, self.strength)

    def check(self, limits: Limits) -> None:
        self.change.check(limits)
        if isinstance(self.base, DrawRequest):
            self.base.check(limits)
        else:
            check_whole("images", len(self.base), 1, limits.max_images)


@dataclass(frozen=True, eq=False)
class EditResult:
    """Images before and after an edit, in the same order; `seconds` is the time from the request to the result."""

    before: list[ServedImage]
    after: list[ServedImage]
    seconds: float


def edit(task: Task, request: EditRequest, progress: Progress) -> EditResult:
    """Move images along the direction between two texts, whose noise and mean depend on the texts only."""
    progress(0.0, "drawing the start")
    before = draw_together([task])[0].images if isinstance(request.base, DrawRequest) else list(request.base)
    started = time.perf_counter()
    texts = request.change.words
    # The start has been truncated, and what has been chosen among candidates stays chosen.
    settings = replace(task.settings, truncation=1.0, rerank=1)
    change = Edit(*request.change.ends, request.strength)
    starts = [(edit_label(image.label, *texts), image.seed, image.latent) for image in before]
    drawing = draw_latents(task.pipeline, starts, settings, change)
    drawn = list(_reported(drawing, len(starts), "editing", progress))
    share = (time.perf_counter() - started) / len(drawn)
    after = [
        task.serve(
            image,
            change.target,
            share,
            edit_recipe(task.source, start, texts, request.strength, settings),
            settings=settings,
            edit=list(texts),
            strength=request.strength,
        )
        for start, image in zip(before, drawn, strict=True)
    ]
    return EditResult(before, after, task.seconds)


@dataclass(frozen=True, eq=False)
class RefineRequest:
    """CLIP-guided gradient descent from an image that has been drawn.

    Attributes:
        iterations: gradient steps.
        prompt: what to come near to; None takes what the image was drawn from.
    """

    image: Drawn
    iterations: int = DEFAULT_REFINE
    prompt: str | None = None

    @cached_property
    def query(self) -> Query:
        """What to come near to, as the pipeline takes it; errors are as for `DrawRequest.query`."""
        return self.image.query if self.prompt is None else Query(read_text("prompt", self.prompt))

    def check(self, limits: Limits) -> None:
        check_length("prompt", self.prompt, limits)
        _ = self.query
        check_whole("iterations", self.iterations, 1, limits.max_refine)


@dataclass(frozen=True, eq=False)
class RefineResult:
    """An image before and after its refinement; `seconds` is the time from the request to the result."""

    before: Drawn
    after: ServedImage
    seconds: float


def refine(task: Task, request: RefineRequest, progress: Progress) -> RefineResult:
    """Move an image's latent by gradient descent, as `--refine` does after drawing."""
    from text2latent.inference.optimization.refine import Optimization, optimize_latents

    started = time.perf_counter()
    pipeline, start = task.pipeline, request.image
    query = request.query
    target = pipeline.encode([query]).target
    latents = optimize_latents(
        pipeline.generator,
        pipeline.clip,
        target,
        start.latent[None].to(pipeline.device),
        pipeline.latent_distribution,
        Optimization(request.iterations),
        [start.seed],
        lambda step, *_: progress(step / request.iterations, "refining"),
    )
    draw = pipeline.render(latents, target)
    label = start.label if request.prompt is None else query.label
    drawn = as_row(draw, label, start.seed)
    recipe = refine_recipe(task.source, start, request.prompt, request.iterations)
    settings = replace(task.settings, refine=request.iterations)
    after = task.serve(drawn, query, time.perf_counter() - started, recipe, settings=settings)
    return RefineResult(start, after, task.seconds)


@dataclass(frozen=True, eq=False)
class CompareRequest:
    """One text drawn by the prior, and searched for by optimisation.

    Attributes:
        iterations: gradient steps of the optimisation.
        how: model, seed and how the prior draws; its prompt, image and `n` don't count.
    """

    prompt: str
    iterations: int = DEFAULT_ITERATIONS
    how: DrawRequest = field(default_factory=DrawRequest)

    @cached_property
    def query(self) -> Query:
        """The text, as the pipeline takes it; errors are as for `DrawRequest.query`."""
        return Query(read_text("prompt", self.prompt), negative=self.how.read_negative())

    def check(self, limits: Limits) -> None:
        check_length("prompt", self.prompt, limits)
        check_length("negative_prompt", self.how.negative, limits)
        _ = self.query
        check_whole("iterations", self.iterations, 1, limits.max_iterations)


@dataclass(frozen=True, eq=False)
class Comparison:
    """One text, two ways.

    Attributes:
        amortised: what the prior draws; its `seconds` are those of this one image.
        optimised: the image of the highest CLIP score on the optimisation's way; its `seconds` are the whole way's.
        points: that way, an entry per iteration.
        seconds: from the request to the result.
    """

    amortised: ServedImage
    optimised: ServedImage
    points: Sequence[Point]
    seconds: float


@dataclass(frozen=True, eq=False)
class Halfway:
    """A comparison that goes on.

    Attributes:
        amortised: what the prior has drawn.
        points: the optimisation's way so far; a list that grows.
        best: its image of the highest CLIP score so far, `[3, H, W]` in [-1, 1]; None before its first step.
    """

    amortised: ServedImage
    points: Sequence[Point] = ()
    best: Tensor | None = None


Watch = Callable[[Halfway], object]
"""Called when the prior has drawn, and then at each step."""


def compare(task: Task, request: CompareRequest, progress: Progress, watch: Watch = lambda halfway: None) -> Comparison:
    """Draw a text with the prior, and look for it by optimisation from a random latent, as `text2latent optimize`."""
    draw_together([task])  # the first draw of a process takes longer than others
    amortised = draw_together([task])[0].images[0]
    watch(Halfway(amortised))
    optimised, points = _optimise(task, request, progress, lambda way, best: watch(Halfway(amortised, way, best)))
    return Comparison(amortised, optimised, points, task.seconds)


def _optimise(
    task: Task, request: CompareRequest, progress: Progress, watch: Callable[[Sequence[Point], Tensor], object]
) -> tuple[ServedImage, list]:
    from text2latent.apps.optimize.job import Job
    from text2latent.apps.optimize.task import Networks
    from text2latent.configs.optimization import OptimizeConfig

    text, avoid, pipeline = request.query.label, task.request.negative, task.pipeline
    job = Job(OptimizeConfig(text=text, avoid=avoid, seed=task.seed, iterations=request.iterations))
    job.networks = Networks(pipeline.generator, pipeline.clip, pipeline)
    with tempfile.TemporaryDirectory() as folder:
        run = job.open_run(Path(folder) / "run", job.goals[0], task.seed, OPTIMIZER)

        def report(point: Point) -> None:
            assert run.best is not None
            progress(point.iteration / request.iterations, "optimising")
            watch(run.points, run.best.image)

        run.advance(request.iterations, request.iterations, report)
    assert run.best is not None
    best = Draw(run.best.image[None], run.best.latents[None], torch.tensor([run.best.clip_score]))
    drawn = as_row(best, text, task.seed)
    recipe = optimize_recipe(task.source, text, avoid, task.seed, request.iterations, OPTIMIZER)
    description = job.describe(job.goals[0], task.seed, OPTIMIZER)
    seconds = run.points[-1].seconds
    return task.serve(drawn, request.query, seconds, recipe, description=description), run.points


def _reported(images: Iterator[T], total: int, what: str, progress: Progress) -> Iterator[T]:
    """The same images; reports after each how many of `total` there are."""
    for done, image in enumerate(images, start=1):
        progress(done / total, what)
        yield image


def as_row(draw: Draw, label: str, seed: int) -> Draw:
    return next(draw.named([(label, seed, None)]).rows())
