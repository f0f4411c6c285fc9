"""The queue that joins requests: order, bounds, and what happens when one of a batch fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text2latent.apps.serving.batching import BatchQueue, Closed, QueueFull

PATIENCE = 300.0
Item = tuple[str, int]


class Recorder:
    """Runs batches of (key, size), notes them, and waits before the first until it is let go on."""

    def __init__(self, held: bool = False) -> None:
        self.batches: list[list[Item]] = []
        self.started, self.go_on = threading.Event(), threading.Event()
        if not held:
            self.go_on.set()

    def __call__(self, items: list[Item]) -> list[Item]:
        self.batches.append(items)
        self.started.set()
        assert self.go_on.wait(PATIENCE)
        if any(key == "bad" for key, _ in items):
            raise ValueError("a bad item")
        return items


@pytest.fixture
def make_queue() -> Iterator[Callable[..., BatchQueue[Item, Item]]]:
    made: list[BatchQueue[Item, Item]] = []

    def make(
        run: Recorder,
        max_size: int = 4,
        max_wait: float = 0.0,
        max_waiting: int = 100,
        max_of_client: int | None = None,
    ) -> BatchQueue[Item, Item]:
        queue: BatchQueue[Item, Item] = BatchQueue(
            run,
            lambda item: item[0][0],
            lambda item: item[1],
            max_size,
            max_wait,
            max_waiting,
            max_of_client=max_of_client,
        )
        made.append(queue)
        return queue

    yield make
    for queue in made:
        queue.close()


def test_what_waits_is_joined_by_key_and_served_in_order(make_queue) -> None:
    run = Recorder(held=True)
    queue = make_queue(run)
    first = queue.submit(("a", 1))
    assert run.started.wait(PATIENCE)
    later = [queue.submit(item) for item in [("b", 1), ("c", 1), ("b", 2), ("c", 1), ("b", 2)]]
    assert queue.num_waiting == 5
    run.go_on.set()
    assert [future.result(PATIENCE) for future in (first, *later)][1:4] == [("b", 1), ("c", 1), ("b", 2)]
    # The last b doesn't fit with the others any more.
    assert run.batches == [[("a", 1)], [("b", 1), ("b", 2)], [("c", 1), ("c", 1)], [("b", 2)]]


def test_an_item_larger_than_a_batch_is_run_alone(make_queue) -> None:
    run = Recorder(held=True)
    queue = make_queue(run)
    futures = [queue.submit(item) for item in [("x", 1), ("a", 9), ("a", 1)]]
    run.go_on.set()
    assert [future.result(PATIENCE) for future in futures] == [("x", 1), ("a", 9), ("a", 1)]
    assert [("a", 9)] in run.batches


def test_an_idle_worker_waits_for_company(make_queue) -> None:
    run = Recorder()
    queue = make_queue(run, max_size=3, max_wait=PATIENCE)
    started = time.monotonic()
    futures = [queue.submit(("a", 1)) for _ in range(3)]
    assert [future.result(PATIENCE) for future in futures] == [("a", 1)] * 3
    assert run.batches == [[("a", 1)] * 3]
    assert time.monotonic() - started < PATIENCE


def test_the_wait_for_company_ends(make_queue) -> None:
    run = Recorder()
    started = time.monotonic()
    assert make_queue(run, max_wait=0.05).submit(("a", 1)).result(PATIENCE) == ("a", 1)
    assert time.monotonic() - started >= 0.05


def test_a_full_queue_refuses_and_says_when_to_come_again(make_queue) -> None:
    run = Recorder(held=True)
    queue = make_queue(run, max_waiting=2)
    running = queue.submit(("a", 1))
    assert run.started.wait(PATIENCE)
    waiting = [queue.submit(("a", 1)) for _ in range(2)]
    with pytest.raises(QueueFull, match="2 requests are waiting") as refusal:
        queue.submit(("a", 1))
    assert refusal.value.retry_seconds >= 1
    run.go_on.set()
    assert [future.result(PATIENCE) for future in (running, *waiting)] == [("a", 1)] * 3
    assert queue.submit(("a", 1)).result(PATIENCE) == ("a", 1)


def test_what_is_cancelled_makes_room_and_is_not_run(make_queue) -> None:
    run = Recorder(held=True)
    queue = make_queue(run, max_waiting=1)
    queue.submit(("a", 1))
    assert run.started.wait(PATIENCE)
    unwanted = queue.submit(("u", 1))
    assert unwanted.cancel()
    wanted = queue.submit(("w", 1))
    run.go_on.set()
    assert wanted.result(PATIENCE) == ("w", 1)
    assert [("u", 1)] not in run.batches
    with pytest.raises(CancelledError):
        unwanted.result(PATIENCE)


def test_one_bad_item_fails_alone(make_queue) -> None:
    run = Recorder(held=True)
    queue = make_queue(run, max_size=8)
    queue.submit(("x", 1))
    assert run.started.wait(PATIENCE)
    # All three share a key, which is the first letter.
    good, bad, other = (queue.submit(item) for item in [("b1", 1), ("bad", 1), ("b2", 1)])
    run.go_on.set()
    assert (good.result(PATIENCE), other.result(PATIENCE)) == (("b1", 1), ("b2", 1))
    with pytest.raises(ValueError, match="a bad item"):
        bad.result(PATIENCE)
    assert queue.submit(("y", 1)).result(PATIENCE) == ("y", 1)


def test_closing_ends_what_runs_and_refuses_the_rest() -> None:
    run = Recorder(held=True)
    queue = BatchQueue(run, lambda item: item[0], lambda item: item[1], 4, 0.0, 10)
    running = queue.submit(("a", 1))
    assert run.started.wait(PATIENCE)
    waiting = queue.submit(("a", 1))
    with ThreadPoolExecutor() as pool:
        closing = pool.submit(queue.close)
        with pytest.raises(Closed):
            waiting.result(PATIENCE)
        run.go_on.set()
        closing.result(PATIENCE)
    assert running.result(0) == ("a", 1)
    with pytest.raises(Closed):
        queue.submit(("a", 1))


@settings(max_examples=30, deadline=None)
@given(
    items=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), max_size=30),
    max_size=st.integers(1, 8),
)
def test_every_item_gets_its_own_result_in_batches_that_fit(items: list[Item], max_size: int) -> None:
    run = Recorder()
    queue = BatchQueue(run, lambda item: item[0], lambda item: item[1], max_size, 0.001, 100)
    futures = [queue.submit(item) for item in items]
    assert [future.result(PATIENCE) for future in futures] == items
    queue.close()
    assert sorted(item for batch in run.batches for item in batch) == sorted(items)
    for batch in run.batches:
        assert len({key for key, _ in batch}) == 1
        assert len(batch) == 1 or sum(size for _, size in batch) <= max_size
    for key in "abc":
        served = [item for batch in run.batches for item in batch if item[0] == key]
        assert served == [item for item in items if item[0] == key]


def test_one_client_cannot_fill_the_queue(make_queue) -> None:
    run = Recorder(held=True)
    queue = make_queue(run, max_of_client=2)
    first = queue.submit(("a", 1), "greedy")
    assert run.started.wait(PATIENCE)
    second = queue.submit(("b", 1), "greedy")
    for _ in range(3):
        with pytest.raises(QueueFull, match="busy: 2 of your requests are waiting already"):
            queue.submit(("c", 1), "greedy")
    others = [queue.submit(("d", 1), client) for client in ("other", "another", None, None, None)]
    # What is given up makes room again.
    assert second.cancel()
    third = queue.submit(("e", 1), "greedy")
    run.go_on.set()
    assert [future.result(PATIENCE)[0] for future in (first, third, *others)] == ["a", "e", *"ddddd"]
    queue.submit(("f", 1), "greedy").result(PATIENCE)


def test_clients_take_turns(make_queue) -> None:
    run = Recorder(held=True)
    queue = make_queue(run, max_size=1)
    queue.submit(("start", 1))
    assert run.started.wait(PATIENCE)
    asked = [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("c1", "c"), ("b2", "b")]
    futures = [queue.submit((name, 1), client) for name, client in asked]
    run.go_on.set()
    for future in futures:
        future.result(PATIENCE)
    assert [batch[0][0] for batch in run.batches[1:]] == ["a1", "b1", "c1", "a2", "b2", "a3"]
