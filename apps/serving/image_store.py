"""Images that can be fetched by address for a while: in memory, bounded, under names that can't be guessed."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from text2latent.apps.serving.limits import MIB

KEPT_SECONDS = 3600.0
KEPT_BYTES = 256 * MIB
NAME_BYTES = 24


class ImageStore:
    """Files by random name; the oldest go first. Safe to be used by several threads.

    Args:
        max_bytes: of all files together.
        max_seconds: how long a file is kept at most.
        clock: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        max_bytes: int = KEPT_BYTES,
        max_seconds: float = KEPT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_bytes, self._max_seconds, self._clock = max_bytes, max_seconds, clock
        self._files: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def put(self, data: bytes, suffix: str = "") -> str:
        """Keep a file; returns its name, which ends in `suffix`."""
        name = secrets.token_urlsafe(NAME_BYTES) + suffix
        with self._lock:
            self._files[name] = self._clock(), data
            self._bytes += len(data)
            self._forget_old()
        return name

    def get(self, name: str) -> bytes | None:
        """A file; None where there is none, or none any more."""
        with self._lock:
            self._forget_old()
            found = self._files.get(name)
        return None if found is None else found[1]

    def _forget_old(self) -> None:
        earliest = self._clock() - self._max_seconds
        while self._files:
            put, data = next(iter(self._files.values()))
            if put >= earliest and self._bytes <= self._max_bytes:
                return
            self._files.popitem(last=False)
            self._bytes -= len(data)
