"""Answers that come in lines: how far the work is, and then its result. Work that nobody reads of any more ends."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from text2latent.apps.serving.page.visits import Left
from text2latent.common.errors import InputError

T = TypeVar("T")
FAILED = "the server failed; its log says why"
JSON_LINES = "application/x-ndjson"


class Work:
    """What one request asks for: reports on it come from another thread, and end it once it is left."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._left = threading.Event()
        self._future: Future[Any] | None = None

    def report(self, event: dict[str, Any]) -> None:
        """Send a line.

        Raises:
            Left: when nobody reads.
        """
        if self._left.is_set():
            raise Left
        self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    def progress(self, share: float, what: str) -> None:
        """Send a line on how far the work is, in [0, 1], and what is being done."""
        self.report({"share": share, "what": what})

    def leave(self) -> None:
        """End the work at its next step, or before it begins."""
        self._left.set()
        if self._future is not None:
            self._future.cancel()

    async def answer(self, begin: Callable[[], Future[T]], shape: Callable[[T], dict[str, Any]]) -> Lines:
        """The response, once the work has been begun; what is wrong with a request is raised here.

        Args:
            begin: submits the work; run in a thread, since it may load a model.
            shape: makes a result JSON-ready; likewise.
        """
        future = await run_in_threadpool(begin)
        self._future = future
        future.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._events.put_nowait, None))
        return Lines(self._lines(future, shape), self)

    async def _lines(self, future: Future[T], shape: Callable[[T], dict[str, Any]]) -> AsyncIterator[str]:
        while (event := await self._events.get()) is not None:
            yield json.dumps(event) + "\n"
        yield json.dumps(await run_in_threadpool(_outcome, future, shape)) + "\n"


class Lines(StreamingResponse):
    """JSON documents, one a line."""

    def __init__(self, content: AsyncIterator[str], work: Work) -> None:
        super().__init__(content, media_type=JSON_LINES, headers={"Cache-Control": "no-store"})
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._work.leave()


def _outcome(future: Future[T], shape: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
    """The last line: the result, or what went wrong."""
    if future.cancelled():
        return {"error": "stopped"}
    error = future.exception()
    if error is None:
        return {"result": shape(future.result())}
    if isinstance(error, InputError):
        return {"error": str(error)}
    traceback.print_exception(error, file=sys.stderr)
    return {"error": FAILED}
