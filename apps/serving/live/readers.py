"""Frames to clients over HTTP: each reader gets the latest one as soon as it can take it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

if TYPE_CHECKING:
    from text2latent.apps.serving.live.frames import Frame, FrameSource

STALL_SECONDS = 30.0
"""A reader that takes nothing for so long is let go."""


class FrameStream(Response):
    """An answer that goes on until the reader hangs up or the source ends.

    Args:
        head: what comes first.
        wrap: a frame as the answer has it.
        idle: what is sent when no new frame has come for a while; gets the latest one, if any.
        idle_seconds: how long that while is after a frame, and then again and again.
        tail: what comes last, when the source has ended.
        on_end: is called once, when nobody reads any more.
    """

    def __init__(
        self,
        source: FrameSource,
        media_type: str,
        head: bytes,
        wrap: Callable[[Frame], bytes],
        idle: Callable[[Frame | None], bytes],
        idle_seconds: tuple[float, float],
        tail: Callable[[], bytes],
        on_end: Callable[[], object],
    ) -> None:
        # Proxies mustn't hold frames back, nor keep them.
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}, media_type=media_type)
        del self.headers["content-length"]
        self._source, self._head, self._wrap, self._on_end = source, head, wrap, on_end
        self._idle, self._idle_seconds, self._tail = idle, idle_seconds, tail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send frames as they come. A server that stops cancels it, which is an end like any other."""
        gone = asyncio.ensure_future(_hung_up(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            with contextlib.suppress(asyncio.CancelledError, asyncio.TimeoutError):
                await self._send_all(send, gone)
        finally:
            gone.cancel()
            self._on_end()

    async def _send_all(self, send: Send, gone: asyncio.Future[None]) -> None:
        reader, source, seen = Reader(), self._source, 0
        first, later = self._idle_seconds
        seconds = first
        with source.watch(reader.notify):
            await _give(send, self._head)
            while not gone.done() and not source.has_ended:
                frame = source.latest
                if frame is not None and frame.number != seen:
                    seen, seconds = frame.number, first
                    await _give(send, self._wrap(frame))
                elif not await reader.wait(gone, seconds):
                    seconds = later
                    await _give(send, self._idle(source.latest))
        if not gone.done():
            await _give(send, self._tail(), is_last=True)


class Reader:
    """Waits, in an event loop, for what happens in other threads."""

    def __init__(self) -> None:
        self._loop, self._news = asyncio.get_running_loop(), asyncio.Event()

    def notify(self) -> None:
        """Wake the one who waits; from any thread."""
        # A loop that has been closed has nobody to wake.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._news.set)

    async def wait(self, gone: asyncio.Future[None], seconds: float) -> bool:
        """Wait for news or the reader's leave; whether there was either within `seconds`."""
        news = asyncio.ensure_future(self._news.wait())
        either: set[asyncio.Future[Any]] = {news, gone}
        done, _ = await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        news.cancel()
        self._news.clear()
        return bool(done)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _give(send: Send, data: bytes, is_last: bool = False) -> None:
    message = {"type": "http.response.body", "body": data, "more_body": not is_last}
    await asyncio.wait_for(send(message), STALL_SECONDS)
