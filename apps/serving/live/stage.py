"""All that is shown live: the picture that all share, and streams of one's own."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from text2latent.apps.serving.batching import QueueFull
from text2latent.apps.serving.limits import DEFAULT_FPS
from text2latent.apps.serving.live.changes import Change
from text2latent.apps.serving.live.edits import EditDirections, own_edits
from text2latent.apps.serving.live.frames import FrameFormat, FrameSource
from text2latent.apps.serving.live.moments import MomentTask
from text2latent.apps.serving.live.scene import Scene
from text2latent.common.errors import InputError
from text2latent.inference.settings import Settings

if TYPE_CHECKING:
    from text2latent.apps.serving.engine import Engine
    from text2latent.apps.serving.live.scene import Moment

SHARED = "live"
RETRY_SECONDS = 10


class TooManyStreams(QueueFull):
    """So many streams are open that no more are."""

    def __init__(self, open_streams: int, whose: str) -> None:
        InputError.__init__(self, f"busy: {open_streams} {whose} are open already; close one, or try again later")
        self.retry_seconds = RETRY_SECONDS


@dataclass(frozen=True, eq=False)
class Stream:
    """A picture that is shown, and how it is changed.

    Attributes:
        name: whoever knows it may change the picture.
        model: the name that the engine lists.
        directions: of the edits that there are.
    """

    name: str
    model: str
    source: FrameSource
    directions: EditDirections
    size: tuple[int, int]

    @property
    def edits(self) -> list[str]:
        """The names that changes may use."""
        return list(self.directions.pairs)


@dataclass(frozen=True)
class Opening:
    """What a stream is to be.

    Attributes:
        beginning: what it shows at first.
        model: a name that the engine lists; None takes its first.
        settings: how its pictures are drawn; truncation and scores aside.
        fps: frames per second, at most; None takes the server's.
        kind: of the frames' files.
    """

    beginning: Change
    model: str | None = None
    settings: Settings = field(default_factory=lambda: Settings(return_scores=False))
    fps: float | None = None
    kind: FrameFormat = "jpeg"


class Stage:
    """Opens streams on an engine, counts who reads, and has the shared one; any thread may use it.

    Args:
        fps: frames per second of all streams, at most.
        edits: pairs of texts beside those that come with a model.
    """

    def __init__(
        self, engine: Engine, fps: float = DEFAULT_FPS, edits: Mapping[str, tuple[str, str]] | None = None
    ) -> None:
        self.engine, self.fps, self._edits = engine, fps, edits or {}
        self.shared: Stream | None = None
        self._streams: dict[str, Stream] = {}
        self._directions: dict[str, EditDirections] = {}
        self._readers: Counter[str] = Counter()
        self._lock = threading.Lock()

    def share(self, beginning: Change, on_failure: Callable[[Exception], None]) -> Stream:
        """Open the picture that all share, of the engine's first model.

        Args:
            on_failure: is told why a frame couldn't be drawn.
        """
        self.shared = self._open(SHARED, Opening(beginning), on_failure)
        return self.shared

    def submit_opening(self, opening: Opening, client: str | None = None) -> Future[Stream]:
        """Open a stream; to be closed by `close_stream`. Errors are as for `Engine.submit_draw`."""
        model = self.engine.library.check(opening.model)
        opening.beginning.check(self.engine.limits, list(self.directions(model).pairs))
        work = partial(self._open, secrets.token_urlsafe(16), opening)
        return self.engine.submit_preparation(work, client)

    def close_stream(self, stream: Stream) -> None:
        with self._lock:
            self._streams.pop(stream.name, None)
        stream.source.close()

    def find(self, name: str) -> Stream | None:
        with self._lock:
            return self._streams.get(name)

    def submit_change(self, stream: Stream, change: Change, client: str | None = None) -> Future[dict[str, Any]]:
        """Check a change, prepare it in turn, and let the stream set out for it; gives what is then wanted.

        Raises:
            UsageError: for a change that is unusable or beyond the limits.
            QueueFull: when too many changes wait, or too many of the client's.
        """
        change.check(self.engine.limits, stream.edits)

        def work() -> dict[str, Any]:
            stream.source.aim(stream.source.scene.prepare(change))
            return stream.source.scene.wanted

        return self.engine.submit_preparation(work, client)

    def directions(self, model: str) -> EditDirections:
        """The named edits of a model, which is loaded if it wasn't yet."""
        pipeline = self.engine.library.get(model)
        with self._lock:
            if model not in self._directions:
                pairs = {**own_edits(self.engine.library.public_source(model)), **self._edits}
                self._directions[model] = EditDirections(pipeline, pairs)
            return self._directions[model]

    def enter(self, client: str) -> None:
        """Count one more reader, who has to `leave`; TooManyStreams where there are too many."""
        limits = self.engine.limits
        with self._lock:
            if self._readers.total() >= limits.max_streams:
                raise TooManyStreams(self._readers.total(), "streams")
            if self._readers[client] >= limits.max_streams_of_client:
                raise TooManyStreams(self._readers[client], "of your streams")
            self._readers[client] += 1

    def leave(self, client: str) -> None:
        with self._lock:
            self._readers[client] -= 1
            self._readers += Counter()  # who reads nothing isn't remembered

    @contextlib.contextmanager
    def closing(self) -> Iterator[Stage]:
        """End all streams at the end of the context."""
        try:
            yield self
        finally:
            with self._lock:
                open_streams = list(self._streams.values())
            for stream in open_streams:
                self.close_stream(stream)
                stream.source.join()

    def _open(self, name: str, opening: Opening, on_failure: Callable[[Exception], None] | None = None) -> Stream:
        model = self.engine.library.check(opening.model)
        pipeline, directions = self.engine.library.get(model), self.directions(model)
        scene = Scene(pipeline, opening.beginning, directions)
        fps = self.fps if opening.fps is None else min(opening.fps, self.fps)

        def draw(moment: Moment) -> Future[Any]:
            return self.engine.submit_moment(MomentTask(moment, pipeline, opening.settings))

        height, width = pipeline.generator.image_shape
        source = FrameSource(scene, draw, fps, opening.kind, on_failure)
        stream = Stream(name, model, source, directions, (width, height))
        with self._lock:
            self._streams[name] = stream
        return stream
