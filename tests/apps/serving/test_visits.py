"""What visitors wait for, on a tiny model: it ends with their visit, and others' goes on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

gradio = pytest.importorskip("gradio", reason="gradio of the extra [serve] is not installed")

from text2latent.apps.serving.engine import Engine  # noqa: E402
from text2latent.apps.serving.limits import Limits  # noqa: E402
from text2latent.apps.serving.operations import CompareRequest  # noqa: E402
from text2latent.apps.serving.page.visits import Left, Visits  # noqa: E402
from text2latent.apps.serving.requests import DrawRequest  # noqa: E402

PATIENCE = 300.0
LONG = CompareRequest("a man", 100_000)


class Asked:
    def __init__(self, submit: Callable[..., Future[Any]]) -> None:
        self._submit = submit
        self.futures: list[Future[Any]] = []

    def __call__(self, *arguments: Any, client: str | None = None) -> Future[Any]:
        self.futures.append(self._submit(*arguments, client=client))
        return self.futures[-1]


@pytest.fixture(scope="module")
def patient(tiny_model: Path) -> Iterator[Engine]:
    """An engine that takes work which nobody could wait for."""
    with Engine([f"tiny={tiny_model}"], "cpu", Limits(max_iterations=LONG.iterations)) as engine:
        yield engine


async def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < ends
        await asyncio.sleep(0.01)


def visitor(name: str) -> Any:
    return gradio.Request(session_hash=name)


def test_who_leaves_frees_the_queue_for_others(patient: Engine) -> None:
    asked = Asked(patient.submit_compare)

    async def visit() -> Any:
        visits = Visits(PATIENCE)
        first, second = (
            asyncio.create_task(visits.ask(visitor("one"), asked, LONG, progress=gradio.Progress())) for _ in range(2)
        )
        await until(lambda: len(asked.futures) == 2 and any(future.running() for future in asked.futures))
        other = asyncio.create_task(visits.ask(visitor("other"), asked, CompareRequest("a man", 2)))
        await visits.leave(visitor("nobody"))
        await until(lambda: len(asked.futures) == 3)
        assert not any(future.done() for future in asked.futures)
        await visits.leave(visitor("one"))
        assert all(task.cancelled() for task in (await asyncio.wait({first, second}))[0])
        return await asyncio.wait_for(other, PATIENCE)

    assert len(asyncio.run(visit()).points) == 3
    ends = sorted(asked.futures[:2], key=Future.cancelled)
    assert isinstance(ends[0].exception(PATIENCE), Left)
    assert ends[1].cancelled()


def test_what_gradio_cancels_ends_too(patient: Engine) -> None:
    asked = Asked(patient.submit_compare)

    async def stop() -> None:
        visits = Visits(PATIENCE)
        task = asyncio.create_task(visits.ask(visitor("one"), asked, LONG, progress=gradio.Progress()))
        await until(lambda: bool(asked.futures) and asked.futures[0].running())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(stop())
    assert isinstance(asked.futures[0].exception(PATIENCE), Left)


def test_who_leaves_before_the_request_is_queued_gets_nothing_drawn(patient: Engine) -> None:
    asked, begun, go_on = Asked(patient.submit_compare), threading.Event(), threading.Event()

    def submit_late(*arguments: Any, client: str | None = None) -> Future[Any]:
        begun.set()
        assert go_on.wait(PATIENCE)
        return asked(*arguments, client=client)

    async def leave() -> None:
        visits = Visits(PATIENCE)
        task = asyncio.create_task(visits.ask(visitor("one"), submit_late, LONG, progress=gradio.Progress()))
        await until(begun.is_set)
        await visits.leave(visitor("one"))
        await asyncio.wait({task})
        go_on.set()
        await until(lambda: bool(asked.futures) and asked.futures[0].done())

    asyncio.run(leave())
    future = asked.futures[0]
    assert future.cancelled() or isinstance(future.exception(), Left)


def test_errors_are_told_in_words_and_visits_are_forgotten(patient: Engine) -> None:
    visits = Visits(PATIENCE)
    with pytest.raises(gradio.Error, match="n: expected at most 16, got 99"):
        asyncio.run(visits.ask(visitor("one"), patient.submit_draw, DrawRequest("a man", n=99)))
    assert len(asyncio.run(visits.ask(visitor("one"), patient.submit_draw, DrawRequest("a man", n=2))).images) == 2
    assert not visits._waiting


@pytest.mark.parametrize("came", [False, True])
def test_work_that_nobody_listens_to_ends(patient: Engine, came: bool) -> None:
    """Whether nobody ever listened, or somebody did and went away."""
    asked = Asked(patient.submit_compare)

    async def unheard() -> None:
        visits = Visits(0.1)
        listening = visits.listening("one") if came else contextlib.nullcontext()
        with listening:
            task = asyncio.create_task(visits.ask(visitor("one"), asked, LONG, progress=gradio.Progress()))
            await until(lambda: bool(asked.futures) or task.done())
            if came:
                await asyncio.sleep(0.5)
                assert not task.done()
        assert (await asyncio.wait({task}, timeout=PATIENCE))[0]
        assert task.cancelled()
        assert not visits._listening

    asyncio.run(unheard())
    for future in asked.futures:
        assert future.cancelled() or isinstance(future.exception(PATIENCE), Left)
