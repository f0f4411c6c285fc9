"""Open Sound Control over UDP: messages that VJ tools steer the shared picture with (OSC 1.0 specification, 2002).

Datagrams come from anybody and may hold anything: what isn't understood is worth a line in the log, and nothing more.
"""

from __future__ import annotations

import itertools
import secrets
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from text2latent.apps.serving.batching import Closed, QueueFull
from text2latent.apps.serving.live.changes import Change
from text2latent.apps.serving.live.limited_log import LimitedLog
from text2latent.common.errors import InputError, UsageError, one_line
from text2latent.common.extras import optional_module

osc_message = optional_module("pythonosc.osc_message", "--osc", "live")

NUMBERS = {"/mix": "mix", "/truncation": "truncation", "/ease": "ease"}
TEXTS = {"/prompt": "prompt", "/mix/prompt": "mix_prompt"}
SEED, EDIT = "/seed", "/edit/"
ADDRESSES = f"{', '.join((*TEXTS, *NUMBERS, SEED))} or {EDIT}NAME"
BUNDLE, BUNDLE_HEAD = b"#bundle\0", 16
MOST_NESTED = 8
KNOWN_TAGS = frozenset("ifsbhdtTFNrm[]")
LARGEST_DATAGRAM = 65_535
MOST_AT_ONCE = 1024
"""Datagrams that are taken together, of which the latest word on each parameter counts."""
NEW_SEEDS = 2**32
LOOK_SECONDS = 0.2


class Malformed(UsageError):
    """A datagram isn't what a parameter takes."""


class OscPort:
    """Takes messages from a socket, in a thread of its own, and passes on what they change; a context manager.

    Args:
        take: makes a change happen; an InputError that it raises is logged.
        check: refuses a change with a UsageError.
    """

    def __init__(
        self,
        port: socket.socket,
        take: Callable[[Change], object],
        check: Callable[[Change], object],
        log: LimitedLog | None = None,
    ) -> None:
        self._port, self._take, self._check, self._log = port, take, check, log or LimitedLog()
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="osc", daemon=True)

    def __enter__(self) -> OscPort:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ending.set()
        self._thread.join()
        self._port.close()

    def _work(self) -> None:
        waiting = Change()
        while not self._is_ending.is_set():
            waiting = waiting.then(self._next_change())
            if waiting == Change():
                continue
            try:
                self._take(waiting)
            except QueueFull:
                continue  # tried again, with what has come by then
            except Closed:
                return
            except Exception as error:
                self._log.warn(f"osc: {one_line(error, 200)}")
            waiting = Change()

    def _next_change(self) -> Change:
        """What all messages that have come change together; nothing if none came for a while."""
        change = Change()
        if (first := self._receive(LOOK_SECONDS)) is not None:
            # A socket holds few datagrams: all are taken out of it before any is looked at.
            others = itertools.islice(iter(lambda: self._receive(0), None), MOST_AT_ONCE)
            for data in [first, *others]:
                change = change.then(self._read(data))
        return change

    def _receive(self, seconds: float) -> bytes | None:
        """The next datagram; None if none comes within some seconds."""
        self._port.settimeout(seconds)
        try:
            return self._port.recvfrom(LARGEST_DATAGRAM)[0]
        except OSError:
            return None

    def _read(self, data: bytes) -> Change:
        """What a datagram's messages change; each that is no use costs a line."""
        change = Change()
        try:
            for message in messages_of(data):
                try:
                    one = change_of(message)
                    self._check(one)
                    change = change.then(one)
                except UsageError as error:
                    self._log.warn(f"osc: {one_line(error, 200)}")
        except Malformed as error:
            self._log.warn(f"osc: {error}")
        return change


def messages_of(data: bytes) -> Iterator[bytes]:
    """The messages of a datagram: one, or those of a bundle in order, whose times aren't waited for.

    Raises:
        Malformed: for what is neither.
    """
    yield from _unpacked(data, MOST_NESTED)


def _unpacked(data: bytes, depth: int) -> Iterator[bytes]:
    if data.startswith(b"/"):
        yield data
        return
    if not data.startswith(BUNDLE) or len(data) < BUNDLE_HEAD or not depth:
        raise Malformed(f"expected an OSC message or bundle, got {len(data)} bytes beginning with {data[:8]!r}")
    place = BUNDLE_HEAD
    while place < len(data):
        (size,) = struct.unpack_from(">i", data, place) if place + 4 <= len(data) else (0,)
        if not 0 < size <= len(data) - place - 4:
            raise Malformed("expected a bundle of whole messages, got one that is cut off")
        yield from _unpacked(data[place + 4 : place + 4 + size], depth - 1)
        place += 4 + size


def change_of(data: bytes) -> Change:
    """What an OSC message changes.

    Raises:
        Malformed: for an unknown address, or other values than it takes.
    """
    address, values = _parsed(data)
    targets: dict[str, Any]
    if address == SEED:
        targets = {"seed": _seed(values)}
    elif address in TEXTS:
        targets = {TEXTS[address]: _text(address, values)}
    elif address in NUMBERS:
        targets = {NUMBERS[address]: _number(address, values)}
    elif address.startswith(EDIT):
        targets = {"edits": {address.removeprefix(EDIT): _number(address, values)}}
    else:
        raise Malformed(f"expected {ADDRESSES}, got {address[:80]!r}")
    return Change(**targets)


def _parsed(data: bytes) -> tuple[str, list[Any]]:
    try:
        tags = _tags(data)
        if not KNOWN_TAGS.issuperset(tags):
            raise Malformed(f"expected types among {''.join(sorted(KNOWN_TAGS))}, got {tags[:40]!r}")
        message = osc_message.OscMessage(data)
        return message.address, message.params
    except (Malformed, InputError):
        raise
    except Exception:
        # Broken messages make the parser raise more than it says.
        raise Malformed(f"expected an OSC message, got {len(data)} bytes beginning with {data[:16]!r}") from None


def _tags(data: bytes) -> str:
    """The letters of a message's types, which the parser would log if it didn't know them."""
    _, _, after = data.partition(b"\0")
    start = data.find(b",", len(data) - len(after))
    return "" if start < 0 else data[start + 1 : data.index(b"\0", start)].decode("ascii")


def _one(address: str, values: Sequence[Any], kinds: tuple[type, ...], expected: str) -> Any:
    fits = len(values) == 1 and isinstance(values[0], kinds) and not isinstance(values[0], bool)
    if not fits:
        got = ", ".join(_shown(value) for value in values[:4]) or "nothing"
        raise Malformed(f"{address[:80]}: expected {expected}, got {got}")
    return values[0]


def _number(address: str, values: Sequence[Any]) -> float:
    return float(_one(address, values, (int, float), "a number"))


def _text(address: str, values: Sequence[Any]) -> str:
    text: str = _one(address, values, (str,), "a text")
    return text


def _seed(values: Sequence[Any]) -> int:
    """A whole number, which tools that only know floats send as one; without any, a new one."""
    if not values:
        return secrets.randbelow(NEW_SEEDS)
    value = _one(SEED, values, (int, float), "a whole number, or nothing for a new one")
    if isinstance(value, float) and not value.is_integer():
        raise Malformed(f"{SEED}: expected a whole number, or nothing for a new one, got {value:g}")
    return int(value)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return repr(value[:40])
    return repr(value) if isinstance(value, (int, float)) else type(value).__name__
