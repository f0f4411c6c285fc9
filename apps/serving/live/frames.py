"""Frames of a scene at a steady rate, drawn as long as somebody watches and something changes."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from text2latent.apps.serving.batching import Closed, QueueFull
from text2latent.apps.serving.limits import DEFAULT_FPS
from text2latent.inference.images import on_white

if TYPE_CHECKING:
    from text2latent.apps.serving.live.scene import Moment, Prepared, Scene

FrameFormat = Literal["jpeg", "png"]
JPEG_QUALITY, PNG_LEVEL = 90, 1
MAKE_UP = 0.9
"""Least time between two frames as a share of the usual one: what a late frame has lost is made up for bit by bit."""
Draw = Callable[["Moment"], "Future[Image.Image]"]


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture on its way out.

    Attributes:
        number: counts from 1; numbers that a reader misses were skipped.
        data: the file.
        seconds: since the source began, at the moment that is shown.
        state: see `Moment`.
        is_moving: likewise.
    """

    number: int
    picture: Image.Image
    data: bytes
    seconds: float
    state: dict[str, Any]
    is_moving: bool


class FrameSource:
    """Draws a scene, again and again, in a thread that lives as long as somebody watches.

    Between two frames lie `1 / fps` seconds, or the time that drawing takes where that is longer. Each shows the scene
    at the moment when its drawing begins, so a slow machine shows fewer frames of the same way. Nothing is drawn while
    nobody watches, nor while nothing moves: the latest frame stays.

    Args:
        draw: begins to draw a moment.
        fps: frames per second at most.
        kind: of the frames' files.
        on_failure: is told why a frame couldn't be drawn, and the source goes on; without it, the source ends.
        clock: seconds, only forward.
    """

    def __init__(
        self,
        scene: Scene,
        draw: Draw,
        fps: float = DEFAULT_FPS,
        kind: FrameFormat = "jpeg",
        on_failure: Callable[[Exception], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.scene, self.fps, self.kind = scene, fps, kind
        self.latest: Frame | None = None
        self.failure: Exception | None = None
        self._draw, self._on_failure, self._clock = draw, on_failure, clock
        self._began = clock()
        self._shown: Moment | None = None
        self._listeners: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    @property
    def has_ended(self) -> bool:
        """Whether no frames come any more; `failure` says why, if it wasn't closed."""
        return self._is_closed

    def aim(self, prepared: Prepared) -> None:
        """Let the scene set out for what a change wants."""
        self.scene.aim(prepared, self._clock())
        with self._changed:
            self._changed.notify_all()

    @contextlib.contextmanager
    def watch(self, listener: Callable[[], None]) -> Iterator[None]:
        """Have frames drawn meanwhile.

        Args:
            listener: is called after each frame and at the end of the source, in a thread of the source's; quick.
        """
        with self._changed:
            self._listeners.append(listener)
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._work, name="frames of a scene", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._listeners.remove(listener)
                self._changed.notify_all()

    def close(self) -> None:
        """End, and tell all who watch; what is being drawn is thrown away."""
        self._end(None)

    def join(self) -> None:
        """Wait until nothing is drawn any more, after `close`."""
        if (thread := self._thread) is not None:
            thread.join()

    def _end(self, failure: Exception | None) -> None:
        with self._changed:
            if self._is_closed:
                return
            self._is_closed, self.failure = True, failure
            self._changed.notify_all()
        self._tell()

    def _work(self) -> None:
        due = self._clock()
        while (moment := self._next_moment(due)) is not None:
            now = self._clock()
            due = max(due + 1 / self.fps, now + MAKE_UP / self.fps)
            try:
                self._show(moment, self._draw(moment).result(), now - self._began)
            except QueueFull:
                continue  # others come first; a later frame shows what this one would have
            except Closed as closed:
                self._end(closed)
            except Exception as error:
                self._shown = moment
                self._fail(error)

    def _next_moment(self, due: float) -> Moment | None:
        """Wait until there is something new to show, not before `due`; None when nobody watches."""
        with self._changed:
            while self._listeners and not self._is_closed:
                now = self._clock()
                if now < due:
                    self._changed.wait(due - now)
                    continue
                moment, shown = self.scene.at(now), self._shown
                if moment.is_moving or shown is None or shown.is_moving or shown.version != moment.version:
                    return moment
                self._changed.wait()
            self._thread = None
            return None

    def _show(self, moment: Moment, picture: Image.Image, seconds: float) -> None:
        number = 1 if self.latest is None else self.latest.number + 1
        data = _encoded(picture, self.kind)
        self.latest = Frame(number, picture, data, seconds, moment.state, moment.is_moving)
        self._shown = moment
        self._tell()

    def _fail(self, error: Exception) -> None:
        if self._on_failure is None:
            self._end(error)
        else:
            self._on_failure(error)

    def _tell(self) -> None:
        with self._changed:
            listeners = list(self._listeners)
        for listener in listeners:
            listener()


def _encoded(picture: Image.Image, kind: FrameFormat) -> bytes:
    file = io.BytesIO()
    if kind == "jpeg":
        on_white(picture).save(file, "jpeg", quality=JPEG_QUALITY)
    else:
        picture.save(file, "png", compress_level=PNG_LEVEL)
    return file.getvalue()
