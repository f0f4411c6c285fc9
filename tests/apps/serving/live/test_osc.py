"""OSC: what messages change, and that nothing that comes over the wire does harm."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from text2latent.apps.serving.batching import Closed, QueueFull
from text2latent.apps.serving.limits import Limits
from text2latent.apps.serving.live.changes import Change
from text2latent.apps.serving.live.limited_log import LimitedLog
from text2latent.common.errors import InputError, UsageError
from text2latent.tests.apps.serving.live.reading import until

pytest.importorskip("pythonosc", reason="python-osc of the extra [live] is not installed")

from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonosc.udp_client import SimpleUDPClient

from text2latent.apps.serving.live.osc import Malformed, OscPort, change_of, messages_of

EDITS = ("smile", "age")
NEVER_ENDING = b"#bundle\0" + bytes(8) + struct.pack(">i", -4)
"""A bundle whose part lies before itself: who walks through it as it says never ends."""


def message(address: str, *values: Any, kinds: str | None = None) -> bytes:
    builder = OscMessageBuilder(address)
    for value, kind in zip(values, kinds or [None] * len(values), strict=True):
        builder.add_arg(value, kind)
    return builder.build().dgram


def bundle(*parts: bytes) -> bytes:
    sized = (struct.pack(">i", len(part)) + part for part in parts)
    return b"#bundle\0" + bytes(8) + b"".join(sized)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (message("/prompt", "a man"), Change("a man")),
        (message("/prompt", "眼鏡をかけた女性"), Change("眼鏡をかけた女性")),
        (message("/mix/prompt", "a woman"), Change(mix_prompt="a woman")),
        (message("/mix", 0.5), Change(mix=0.5)),
        (message("/mix", 1), Change(mix=1.0)),
        (message("/mix", 0.25, kinds="d"), Change(mix=0.25)),
        (message("/truncation", 0.75), Change(truncation=0.75)),
        (message("/ease", 2), Change(ease=2.0)),
        (message("/seed", 7), Change(seed=7)),
        (message("/seed", 7.0), Change(seed=7)),
        (message("/seed", 2**40, kinds="h"), Change(seed=2**40)),
        (message("/edit/smile", -0.5), Change(edits={"smile": -0.5})),
    ],
)
def test_what_messages_change(data: bytes, expected: Change) -> None:
    assert change_of(data) == expected


def test_a_seed_without_a_number_is_a_new_one() -> None:
    seeds = {change_of(message("/seed")).seed for _ in range(3)}
    assert len(seeds) == 3
    assert all(isinstance(seed, int) and 0 <= seed < 2**32 for seed in seeds)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (message("/nothing", 1), "expected /prompt, /mix/prompt, /mix, /truncation, /ease, /seed or /edit/NAME, got"),
        (message("/" + "x" * 5000, 1), "expected /prompt"),
        (message("/prompt", 3), "/prompt: expected a text, got 3"),
        (message("/prompt"), "/prompt: expected a text, got nothing"),
        (message("/prompt", "a", "b"), "/prompt: expected a text, got 'a', 'b'"),
        (message("/mix", "0.5"), "/mix: expected a number, got '0.5'"),
        (message("/mix", True), "/mix: expected a number, got True"),
        (message("/mix", None), "/mix: expected a number, got NoneType"),
        (message("/mix", b"123"), "/mix: expected a number, got bytes"),
        (message("/mix", [1.0]), "/mix: expected a number, got list"),
        (message("/seed", 1.5), "/seed: expected a whole number, or nothing for a new one, got 1.5"),
        (message("/seed", float("nan")), "/seed: expected a whole number"),
        (message("/seed", "7"), "/seed: expected a whole number, or nothing for a new one, got '7'"),
        (b"/mix\0\0\0\0,Q\0\0", "expected types among"),
        (b"/mix\0\0\0\0,f", "expected an OSC message, got"),
        (b"/prompt\0,s\0\0\xff\xfe\0\0", "expected an OSC message, got"),
        (b"/mix", "expected an OSC message, got"),
        (b"/mix\0\0\0\0,]\0\0", "expected an OSC message, got"),
    ],
)
def test_malformed_messages_are_refused_in_one_line(data: bytes, expected: str) -> None:
    with pytest.raises(Malformed) as caught:
        change_of(data)
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_bundles_are_their_messages_whatever_their_time() -> None:
    inner, outer = OscBundleBuilder(IMMEDIATELY), OscBundleBuilder(2e9)
    inner.add_content(OscMessage(message("/seed", 3)))
    for part in (OscMessage(message("/mix", 0.5)), inner.build()):
        outer.add_content(part)
    found = list(messages_of(outer.build().dgram))
    assert [change_of(data) for data in found] == [Change(mix=0.5), Change(seed=3)]


def nested(depth: int) -> bytes:
    data = message("/mix", 0.5)
    for _ in range(depth):
        data = bundle(data)
    return data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"#bundle\0",
        NEVER_ENDING,
        NEVER_ENDING[:-4] + struct.pack(">i", 10**6),
        bundle(b"xxxx"),
        nested(3000),
    ],
)
def test_broken_bundles_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        list(messages_of(data))


@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=60).map(lambda rest: b"/mix\0\0\0\0," + rest),
        st.binary(max_size=60).map(lambda rest: b"#bundle\0" + bytes(8) + rest),
        st.text("ifsbhdtTFNrm[]", max_size=60).map(lambda tags: message("/mix")[:8] + b"," + tags.encode() + bytes(8)),
    )
)
@example(NEVER_ENDING)
@example(b"/mix\0\0\0\0," + b"[" * 60_000 + bytes(4))
def test_whatever_comes_is_a_change_or_a_line(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        for one in messages_of(data):
            change_of(one)


class Receiver:
    """An open port that keeps what it was sent."""

    def __init__(self, failures: list[Exception]) -> None:
        self.changes, self.lines, self.failures = list[Change](), list[str](), failures
        self.port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.port.bind(("127.0.0.1", 0))
        self.client = SimpleUDPClient(*self.port.getsockname())

    def take(self, change: Change) -> None:
        self.changes.append(change)
        if self.failures:
            raise self.failures.pop(0)

    @property
    def total(self) -> Change:
        change = Change()
        for one in list(self.changes):
            change = change.then(one)
        return change


@contextlib.contextmanager
def receiving(*failures: Exception) -> Iterator[Receiver]:
    receiver = Receiver(list(failures))
    log = LimitedLog(lines=3, seconds=1e9, write=receiver.lines.append)
    with OscPort(receiver.port, receiver.take, lambda change: change.check(Limits(), EDITS), log):
        yield receiver


def test_messages_over_udp_arrive_and_bad_ones_harm_no_good_ones() -> None:
    with receiving() as receiver:
        send = receiver.client.send_message
        send("/prompt", "a man")
        send("/mix", 1.5)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
            for data in (NEVER_ENDING, b""):
                attacker.sendto(data, receiver.port.getsockname())
        send("/prompt", "x" * 60_000)
        send("/edit/nose", 1.0)
        send("/truncation", float("nan"))
        send("/edit/smile", 1.0)
        expected = Change("a man", edits={"smile": 1.0})
        until(lambda: receiver.total == expected, "messages don't arrive")
    assert receiver.lines[0] == "text2latent serve: warning: osc: mix: expected a number in [0, 1], got 1.5"
    assert len(receiver.lines) == 4
    assert receiver.lines[-1].endswith("further lines are left out for 1e+09 s")


def test_of_many_messages_the_latest_word_counts() -> None:
    with receiving() as receiver:
        for number in range(200):
            receiver.client.send_message("/mix", number / 199)
        receiver.client.send_message("/seed", 4)
        until(lambda: receiver.total.seed == 4, "messages don't arrive")
    assert receiver.total == Change(mix=1.0, seed=4)
    assert not receiver.lines


def test_what_a_change_fails_of_is_a_line() -> None:
    with receiving(UsageError("prompt: no"), InputError("busy: later"), ValueError("two\nlines")) as receiver:
        for seed in range(4):
            receiver.client.send_message("/seed", seed)
            until(lambda seed=seed: receiver.total.seed == seed, "the port has ended")
    assert [line.partition("osc: ")[2] for line in receiver.lines] == ["prompt: no", "busy: later", "two lines"]


def test_what_comes_while_the_server_is_busy_is_not_lost() -> None:
    with receiving(QueueFull(16, 1)) as receiver:
        receiver.client.send_message("/mix", 0.5)
        until(lambda: len(receiver.changes) == 2, "it isn't tried again")
    assert receiver.changes == [Change(mix=0.5)] * 2
    assert not receiver.lines


def test_it_ends_with_the_server() -> None:
    with receiving(Closed()) as receiver:
        receiver.client.send_message("/seed", 1)
        until(lambda: receiver.changes, "messages don't arrive")
    assert not receiver.lines
