"""Frames: drawn while somebody watches and something changes, of the moment at which they are drawn."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest
from PIL import Image

from text2latent.apps.serving.batching import Closed, QueueFull
from text2latent.apps.serving.live.changes import Change
from text2latent.apps.serving.live.edits import EditDirections
from text2latent.apps.serving.live.frames import Frame, FrameSource
from text2latent.apps.serving.live.scene import Moment, Scene
from text2latent.common.errors import InputError
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.tests.apps.serving.live.reading import until

PATIENCE = 120.0


class Watcher:
    def __init__(self, source: FrameSource) -> None:
        self.source, self.frames = source, list[Frame]()
        self._news = threading.Condition()

    def __call__(self) -> None:
        with self._news:
            if self.source.latest is not None:
                self.frames.append(self.source.latest)
            self._news.notify_all()

    def wait(self, enough: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(enough, PATIENCE)


class Drawing:
    """Stands for the engine's queue: draws grey at once, and counts."""

    def __init__(self, *failures: Exception) -> None:
        self.moments, self.failures = list[Moment](), list(failures)

    def __call__(self, moment: Moment) -> Future[Image.Image]:
        """A picture that is there already, or what is to go wrong."""
        self.moments.append(moment)
        if self.failures:
            raise self.failures.pop(0)
        future: Future[Image.Image] = Future()
        future.set_result(Image.new("RGB", (4, 4), "gray"))
        return future


@pytest.fixture
def scene(pipeline: Text2LatentPipeline) -> Scene:
    return Scene(pipeline, Change("a man", ease=0.0), EditDirections(pipeline, {}))


def aim(source: FrameSource, **targets: object) -> None:
    source.aim(source.scene.prepare(Change(**targets)))


def test_only_changes_are_drawn_and_only_for_somebody(scene: Scene) -> None:
    drawing = Drawing()
    source = FrameSource(scene, drawing)
    watcher = Watcher(source)
    aim(source, seed=1)
    assert not drawing.moments
    with source.watch(watcher):
        watcher.wait(lambda: len(watcher.frames) == 1)
        for number, seed in ((2, 5), (3, 6)):
            aim(source, seed=seed)
            watcher.wait(lambda number=number: len(watcher.frames) == number)
        # A second one who watches gets what is there.
        with source.watch(lambda: None):
            assert source.latest is watcher.frames[-1]
    aim(source, seed=7)
    source.join()
    assert [moment.state["seed"] for moment in drawing.moments] == [1, 5, 6]
    assert [frame.number for frame in watcher.frames] == [1, 2, 3]
    with source.watch(watcher):
        watcher.wait(lambda: len(watcher.frames) == 4)
    assert watcher.frames[-1].state["seed"] == 7


def test_on_a_slow_machine_frames_follow_the_clock(scene: Scene) -> None:
    """Each drawing takes 0.25 s of a way of 1 s: five frames of it, wherever they are by then."""
    now = 100.0
    drawing = Drawing()

    def slowly(moment: Moment) -> Future[Image.Image]:
        nonlocal now
        now += 0.25
        return drawing(moment)

    source = FrameSource(scene, slowly, fps=25, clock=lambda: now)
    watcher = Watcher(source)
    with source.watch(watcher):
        watcher.wait(lambda: len(watcher.frames) == 1)
        aim(source, truncation=0.0, ease=1.0)
        watcher.wait(lambda: bool(watcher.frames) and watcher.frames[-1].state["truncation"] == 0)
    source.join()
    shown = [frame.state["truncation"] for frame in watcher.frames[1:]]
    assert shown == pytest.approx([1 - share * share * (3 - 2 * share) for share in (0, 0.25, 0.5, 0.75, 1)])
    assert [frame.is_moving for frame in watcher.frames[1:]] == [True] * 4 + [False]
    assert [frame.seconds for frame in watcher.frames] == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1.25])


@pytest.mark.parametrize(("kind", "name"), [("jpeg", "JPEG"), ("png", "PNG")])
def test_frames_are_files(scene: Scene, kind: str, name: str) -> None:
    source = FrameSource(scene, Drawing(), kind=kind)
    watcher = Watcher(source)
    with source.watch(watcher):
        watcher.wait(lambda: bool(watcher.frames))
    opened = Image.open(io.BytesIO(watcher.frames[0].data))
    assert (opened.format, opened.size) == (name, (4, 4))


def test_a_full_queue_costs_a_frame_only(scene: Scene) -> None:
    drawing = Drawing(QueueFull(3, 1), QueueFull(3, 1))
    source = FrameSource(scene, drawing, fps=100)
    watcher = Watcher(source)
    with source.watch(watcher):
        watcher.wait(lambda: bool(watcher.frames))
    assert len(drawing.moments) == 3
    assert source.failure is None


@pytest.mark.parametrize("failure", [InputError("guidance_scale: too much"), Closed(), ZeroDivisionError()])
def test_what_fails_ends_a_stream_of_ones_own(scene: Scene, failure: Exception) -> None:
    source = FrameSource(scene, Drawing(failure))
    watcher = Watcher(source)
    with source.watch(watcher):
        watcher.wait(lambda: source.has_ended)
    assert source.failure is failure
    assert not watcher.frames


def test_what_fails_is_told_once_and_does_not_end_the_shared_one(scene: Scene) -> None:
    told: list[Exception] = []
    failure = InputError("latents: not finite")
    drawing = Drawing(failure)
    source = FrameSource(scene, drawing, on_failure=told.append)
    watcher = Watcher(source)
    with source.watch(watcher):
        until(lambda: told, "nobody is told")
        aim(source, seed=3)
        watcher.wait(lambda: bool(watcher.frames))
    assert told == [failure]
    assert len(drawing.moments) == 2


def test_closing_tells_those_who_watch(scene: Scene) -> None:
    source = FrameSource(scene, Drawing())
    watcher = Watcher(source)
    with source.watch(watcher):
        watcher.wait(lambda: bool(watcher.frames))
        source.close()
        source.join()
        watcher.wait(lambda: source.has_ended)
    with source.watch(watcher):
        assert source.has_ended
    assert len(watcher.frames) <= 2
    assert source.failure is None
