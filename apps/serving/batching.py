"""Requests that come at the same time, joined: one worker takes what goes together, and a bounded number waits."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from text2latent.common.errors import InputError

T = TypeVar("T")
R = TypeVar("R")
FIRST_GUESS_SECONDS = 0.1
RATE_MEMORY = 0.8
"""Weight of what is known of an item's seconds, against those of the latest batch."""


class QueueFull(InputError):
    """So many requests wait that no more are taken; `retry_seconds` says when to ask again."""

    def __init__(self, waiting: int, retry_seconds: int, whose: str = "requests") -> None:
        super().__init__(f"busy: {waiting} {whose} are waiting already; try again in {retry_seconds} s")
        self.retry_seconds = retry_seconds


class Closed(InputError):
    """The server is shutting down."""

    def __init__(self) -> None:
        super().__init__("busy: the server is shutting down")


@dataclass(eq=False)
class _Entry(Generic[T, R]):
    item: T
    key: Hashable
    size: int
    arrived: float
    client: Hashable
    future: Future[R] = field(default_factory=Future)


class BatchQueue(Generic[T, R]):
    """A bounded queue whose worker, a thread of its own, runs items of equal keys together.

    Clients take turns, in the order of their arrival; whoever has been served, or is new, comes last. The oldest item
    of the client whose turn it is comes next, together with others that have its key, as far as they fit; so nobody's
    oldest item can be overtaken for ever. An idle worker waits a little for more to come.

    Args:
        run: computes the results of a batch, one for each item, in order.
        key: items of equal keys may be run together.
        size: what an item adds to a batch; one that is larger than `max_size` is run alone.
        max_wait_seconds: how long an item may wait for others, counted from its arrival.
        max_waiting: items that may wait, the running ones not counted.
        max_of_client: items of one client that may wait or run; None is no limit.
    """

    def __init__(
        self,
        run: Callable[[list[T]], Sequence[R]],
        key: Callable[[T], Hashable],
        size: Callable[[T], int],
        max_size: int,
        max_wait_seconds: float,
        max_waiting: int,
        name: str = "batches",
        max_of_client: int | None = None,
    ) -> None:
        self._run, self._key, self._size = run, key, size
        self._max_size, self._max_wait, self._max_waiting = max_size, max_wait_seconds, max_waiting
        self._max_of_client = max_of_client
        self._waiting: deque[_Entry[T, R]] = deque()
        self._running: list[_Entry[T, R]] = []
        self._rotation: dict[Hashable, None] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._seconds_per_size = FIRST_GUESS_SECONDS
        self._worker = threading.Thread(target=self._work, name=name, daemon=True)
        self._worker.start()

    def submit(self, item: T, client: str | None = None) -> Future[R]:
        """Queue an item; its future can be cancelled as long as it waits.

        Args:
            client: whose it is; None for nobody's in particular.

        Raises:
            QueueFull: when too many wait, or the client has too many.
            Closed: after `close`.
        """
        whose = object() if client is None else client
        entry: _Entry[T, R] = _Entry(item, self._key(item), self._size(item), time.monotonic(), whose)
        with self._changed:
            if self._closed:
                raise Closed
            self._forget_cancelled()
            if len(self._waiting) >= self._max_waiting:
                raise QueueFull(len(self._waiting), self._retry_seconds())
            self._refuse_greedy(whose)
            self._waiting.append(entry)
            self._rotation.setdefault(whose)
            self._changed.notify()
        return entry.future

    @property
    def num_waiting(self) -> int:
        with self._changed:
            self._forget_cancelled()
            return len(self._waiting)

    def close(self) -> None:
        """Refuse what waits and what comes, and let what runs end; returns when the worker has ended."""
        with self._changed:
            self._closed = True
            refused = list(self._waiting)
            self._waiting.clear()
            self._changed.notify()
        for entry in refused:
            if entry.future.set_running_or_notify_cancel():
                entry.future.set_exception(Closed())
        self._worker.join()

    def _refuse_greedy(self, client: Hashable) -> None:
        if self._max_of_client is None:
            return
        count = sum(entry.client == client for entry in (*self._waiting, *self._running))
        if count >= self._max_of_client:
            raise QueueFull(count, self._retry_seconds(), "of your requests")

    def _in_turn(self) -> list[_Entry[T, R]]:
        """What waits: each client's oldest item, in turn, before each one's second."""
        places = {client: place for place, client in enumerate(self._rotation)}
        seen: Counter[Hashable] = Counter()
        turns: list[tuple[int, int, _Entry[T, R]]] = []
        for entry in self._waiting:
            turns.append((seen[entry.client], places[entry.client], entry))
            seen[entry.client] += 1
        return [entry for *_, entry in sorted(turns, key=lambda turn: turn[:2])]

    def _take(self, chosen: list[_Entry[T, R]]) -> None:
        """Take items out of what waits, and put their clients last."""
        taken, served = set(map(id, chosen)), {entry.client for entry in chosen}
        self._waiting = deque(entry for entry in self._waiting if id(entry) not in taken)
        waiting = dict.fromkeys(entry.client for entry in self._waiting)
        kept = (client for client in self._rotation if client in waiting and client not in served)
        self._rotation = {**dict.fromkeys(kept), **{client: None for client in waiting if client in served}}

    def _forget_cancelled(self) -> None:
        self._waiting = deque(entry for entry in self._waiting if not entry.future.cancelled())

    def _retry_seconds(self) -> int:
        """When about half of what waits will be done."""
        return max(1, math.ceil(self._seconds_per_size * sum(entry.size for entry in self._waiting) / 2))

    def _work(self) -> None:
        while batch := self._next_batch():
            started = time.monotonic()
            self._run_together(batch)
            with self._changed:
                self._running = []
            seconds = (time.monotonic() - started) / sum(entry.size for entry in batch)
            self._seconds_per_size = RATE_MEMORY * self._seconds_per_size + (1 - RATE_MEMORY) * seconds

    def _next_batch(self) -> list[_Entry[T, R]]:
        """Wait for a batch and take it out of the queue; empty once the queue is closed."""
        with self._changed:
            while True:
                self._forget_cancelled()
                if self._closed:
                    return []
                if not self._waiting:
                    self._changed.wait()
                    continue
                chosen, is_full = self._choose()
                left = chosen[0].arrived + self._max_wait - time.monotonic()
                if not is_full and left > 0:
                    self._changed.wait(left)
                    continue
                self._take(chosen)
                running = [entry for entry in chosen if entry.future.set_running_or_notify_cancel()]
                if running:
                    self._running = running
                    return running

    def _choose(self) -> tuple[list[_Entry[T, R]], bool]:
        """The item whose turn it is and those that go with it, and whether no more fit."""
        in_turn = self._in_turn()
        first = in_turn[0]
        chosen: list[_Entry[T, R]] = []
        total = 0
        for entry in in_turn:
            if entry.key != first.key:
                continue
            if chosen and total + entry.size > self._max_size:
                return chosen, True
            chosen.append(entry)
            total += entry.size
        return chosen, total >= self._max_size

    def _run_together(self, batch: list[_Entry[T, R]]) -> None:
        """Set the results of a batch; if it fails, those of its items alone, so that one can't fail the others."""
        try:
            results = self._run([entry.item for entry in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for entry in batch:
                self._run_together([entry])
            return
        for entry, result in zip(batch, results, strict=True):
            entry.future.set_result(result)
