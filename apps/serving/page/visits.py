"""What visitors of the page wait for: it ends when they stop it or leave, so that nobody's work holds others up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import gradio as gr

from text2latent.apps.serving.hosts import client_of
from text2latent.apps.serving.page.calls import complaint, from_thread, work
from text2latent.common.errors import InputError

T = TypeVar("T")
PATIENCE_SECONDS = 15.0
LOOKS = 30
"""How often it is looked, within the patience, whether somebody listens."""


class Left(Exception):
    """Nobody waits for a result any more."""


class Visits:
    """What is being done, by visit: Gradio's session, of a page in a browser or of a program's client.

    A visit lasts as long as its client holds a connection that brings it results, and `patience_seconds` longer: time
    to open one, or to come back when one breaks.
    """

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience = patience_seconds
        self._waiting: dict[str | None, set[asyncio.Task[Any]]] = {}
        self._listening: Counter[str | None] = Counter()

    @contextlib.contextmanager
    def listening(self, session: str) -> Iterator[None]:
        """While the context lasts, a visit's client holds a connection."""
        self._listening[session] += 1
        try:
            yield
        finally:
            self._listening[session] -= 1
            if not self._listening[session]:
                del self._listening[session]

    async def ask(
        self,
        request: gr.Request,
        submit: Callable[..., Future[T]],
        *arguments: Any,
        progress: gr.Progress | None = None,
    ) -> T:
        """Wait for what one of the engine's `submit_` methods gives; nothing is blocked meanwhile.

        Args:
            request: whose visit it is.
            submit: the method.
            arguments: what it takes.
            progress: shows how far it is, for methods that report it.

        Raises:
            gradio.Error: with the engine's message, for whatever is wrong with the request.
            CancelledError: once the visitor has stopped it or left. What waits isn't begun, and what reports its
                progress ends at its next step. Likewise once nobody has listened for a while.
        """
        left = threading.Event()
        if progress is not None:
            arguments = (*arguments, _until(left, from_thread(progress)))

        def begin() -> Future[T]:
            future = submit(*arguments, client=client_of(request.request.scope) if request.request else None)
            # Whoever left while a model was loaded for them has not seen the future.
            if left.is_set():
                future.cancel()
            return future

        task = asyncio.create_task(_result(begin))
        of_visit = self._waiting.setdefault(request.session_hash, set())
        of_visit.add(task)
        watch = asyncio.create_task(self._end_unheard(request.session_hash, task))
        try:
            return await task
        finally:
            watch.cancel()
            left.set()
            of_visit.discard(task)
            if not of_visit:
                self._waiting.pop(request.session_hash, None)

    async def _end_unheard(self, session: str | None, task: asyncio.Task[Any]) -> None:
        """End what a visit waits for once nobody has listened for longer than the patience."""
        clock = asyncio.get_running_loop().time
        heard = clock()
        while not task.done():
            if self._listening[session]:
                heard = clock()
            elif clock() - heard >= self._patience:
                task.cancel()
                return
            await asyncio.sleep(self._patience / LOOKS)

    async def leave(self, request: gr.Request) -> None:
        for task in list(self._waiting.get(request.session_hash, ())):
            task.cancel()


def _until(left: threading.Event, show: Callable[[float, str], None]) -> Callable[[float, str], None]:
    """A function that shows progress, and ends the work that reports it when nobody waits for it any more."""

    def report(share: float, what: str) -> None:
        if left.is_set():
            raise Left
        show(share, what)

    return report


async def _result(begin: Callable[[], Future[T]]) -> T:
    # A model that is asked for the first time is loaded before its request is queued.
    future = await work(begin)
    try:
        return await asyncio.wrap_future(future)
    except InputError as error:
        raise complaint(str(error)) from error
