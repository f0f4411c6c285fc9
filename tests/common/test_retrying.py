"""Asking again: how often, with which pauses, and after which errors."""

from __future__ import annotations

import pytest

from text2latent.common.retrying import GivenUpError, ask_again


class Server:
    """Fails a number of times before it answers; each failure brings some bytes."""

    def __init__(self, failures: int, brings: int = 0) -> None:
        self.failures, self.brings = failures, brings
        self.asked, self.arrived = 0, 0

    def __call__(self) -> str:
        self.asked += 1
        if self.asked <= self.failures:
            self.arrived += self.brings
            raise ConnectionError(f"failure {self.asked}")
        return "answer"


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    return pauses


def test_pauses_grow(slept: list[float]) -> None:
    reported: list[float] = []
    server = Server(4)
    result = ask_again(server, lambda error: True, 5, 0.5, on_pause=lambda error, pause: reported.append(pause))
    assert (result, reported) == ("answer", [0.5, 1, 2, 4])
    assert all(0.75 * pause <= took <= 1.25 * pause for took, pause in zip(slept, reported, strict=True))


def test_the_last_failure_is_told(slept: list[float]) -> None:
    server = Server(9)
    with pytest.raises(GivenUpError, match="failure 3; tried 3 times in 0 s") as stop:
        ask_again(server, lambda error: True, 3, 0.5)
    assert (server.asked, len(slept), str(stop.value.error)) == (3, 2, "failure 3")


def test_attempts_that_bring_something_do_not_count() -> None:
    server = Server(9, brings=1)
    assert ask_again(server, lambda error: True, 2, 0.5, arrived=lambda: server.arrived) == "answer"


def test_what_will_not_pass_is_raised_at_once(slept: list[float]) -> None:
    server = Server(1)
    with pytest.raises(ConnectionError):
        ask_again(server, lambda error: False, 5, 0.5)
    assert (server.asked, slept) == (1, [])
