"""Images that can be fetched for a while: bounded in bytes and time."""

from __future__ import annotations

import pytest

from text2latent.apps.serving.image_store import ImageStore


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_files_are_kept_under_names_that_differ(clock: Clock) -> None:
    store = ImageStore(clock=clock)
    names = [store.put(b"same") for _ in range(100)]
    assert len(set(names)) == 100
    assert min(map(len, names)) >= 32
    assert all(store.get(name) == b"same" for name in names)
    assert store.get("another") is None


def test_the_oldest_go_when_there_are_too_many_bytes(clock: Clock) -> None:
    store = ImageStore(max_bytes=10, clock=clock)
    names = [store.put(bytes([number]) * 4) for number in range(4)]
    assert [store.get(name) is not None for name in names] == [False, False, True, True]
    larger = store.put(b"x" * 11)
    assert store.get(larger) is None


def test_files_go_after_their_time(clock: Clock) -> None:
    store = ImageStore(max_seconds=60, clock=clock)
    first = store.put(b"first")
    clock.now = 40
    second = store.put(b"second")
    clock.now = 61
    assert (store.get(first), store.get(second)) == (None, b"second")
    clock.now = 101
    assert store.get(second) is None
