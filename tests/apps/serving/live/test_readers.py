"""One reader's answer, by the messages that a server gets of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

import pytest
from PIL import Image

from text2latent.apps.serving.live import readers
from text2latent.apps.serving.live.changes import Change
from text2latent.apps.serving.live.edits import EditDirections
from text2latent.apps.serving.live.frames import FrameSource
from text2latent.apps.serving.live.readers import FrameStream
from text2latent.apps.serving.live.scene import Moment, Scene
from text2latent.inference.pipeline import Text2LatentPipeline

PATIENCE = 120.0


@pytest.fixture
def source(pipeline: Text2LatentPipeline) -> FrameSource:
    def draw(_: Moment) -> Future[Image.Image]:
        future: Future[Image.Image] = Future()
        future.set_result(Image.new("RGB", (4, 4), "gray"))
        return future

    return FrameSource(Scene(pipeline, Change("a man", ease=0.0), EditDirections(pipeline, {})), draw, fps=1000)


class Client:
    """The server's side of a reader.

    Attributes:
        sent: bodies so far.
        ended: how often it was said that nobody reads any more.
    """

    def __init__(self, source: FrameSource, idle_seconds: tuple[float, float] = (PATIENCE, PATIENCE)) -> None:
        self.sent, self.ended, self.is_reading, self.is_gone = [], 0, asyncio.Event(), asyncio.Event()
        self.answer = FrameStream(source, "text/plain", b"head", lambda frame: b"%d" % frame.number,
            lambda _: b"idle", idle_seconds, lambda: b"tail", self._end)  # fmt: skip

    def _end(self) -> None:
        self.ended += 1

    async def run(self) -> None:
        await self.answer({"type": "http"}, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        await self.is_gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            self.sent.append(message["body"])
            await self.is_reading.wait()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def changed(source: FrameSource, count: int) -> None:
    """Have so many frames more."""
    for _ in range(count):
        number = source.latest.number
        source.aim(source.scene.prepare(Change(seed=number)))
        await until(lambda number=number: source.latest.number > number)


def test_one_who_reads_slowly_skips_frames(source: FrameSource) -> None:
    async def work() -> None:
        client = Client(source)
        task = asyncio.ensure_future(client.run())
        await until(lambda: source.latest)
        await changed(source, 5)
        assert client.sent == [b"head"]
        client.is_reading.set()
        await until(lambda: len(client.sent) == 2)
        await changed(source, 1)
        await until(lambda: len(client.sent) == 3)
        assert client.sent == [b"head", b"6", b"7"]
        client.is_gone.set()
        await task
        assert client.ended == 1

    run(work())


def test_one_who_takes_nothing_is_let_go(source: FrameSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "STALL_SECONDS", 0.05)

    async def work() -> None:
        client = Client(source)
        await client.run()
        assert (client.sent, client.ended) == ([b"head"], 1)

    run(work())


def test_silence_is_filled(source: FrameSource) -> None:
    async def work() -> None:
        client = Client(source, idle_seconds=(0.005, 0.01))
        client.is_reading.set()
        task = asyncio.ensure_future(client.run())
        await until(lambda: client.sent.count(b"idle") >= 3)
        assert client.sent.count(b"1") == 1
        client.is_gone.set()
        await task

    run(work())


@pytest.mark.parametrize("end", ["closed", "cancelled"])
def test_the_end_of_source_or_server_is_an_end_in_order(source: FrameSource, end: str) -> None:
    async def work() -> None:
        client = Client(source)
        client.is_reading.set()
        task = asyncio.ensure_future(client.run())
        await until(lambda: b"1" in client.sent)
        if end == "closed":
            source.close()
        else:
            task.cancel()
        await task
        assert client.ended == 1
        assert (client.sent[-1] == b"tail") == (end == "closed")

    run(work())
