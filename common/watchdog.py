"""Ends a process whose main thread can't: it waits in a library for a process, a device or a disk that never answers.

Python handles a signal in the main thread, and only once that is back from the library. Its number, however, is written
at once to a file descriptor (`signal.set_wakeup_fd`), which a thread reads here.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SIGNAL_EXIT = 128
POLL_SECONDS = 0.1


def end_with_children(code: int) -> None:
    """End this process at once, and first the processes that it started, which would wait for it."""
    import psutil

    with suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
    os._exit(code)


class Watchdog:
    """Watches the signals and the time while the main thread works.

    Args:
        name: what lines on stderr begin with.
        patience: seconds that the main thread has to end by itself after a signal, counted from its last sign of
            life (`beat`).
        end: ends the process with an exit code.
    """

    def __init__(self, name: str, patience: float = 5.0, end: Callable[[int], object] = end_with_children) -> None:
        self.name, self.patience, self._end = name, patience, end
        self._signum: int | None = None
        self._beat = time.monotonic()
        self._limit: tuple[float, str] | None = None

    def beat(self) -> None:
        self._beat = time.monotonic()

    def expect(self, seconds: float, otherwise: str) -> None:
        """End the process with the line `otherwise` and exit code 1, unless `arrived` is called within `seconds`."""
        self._limit = time.monotonic() + seconds, otherwise

    def arrived(self) -> None:
        """What was expected is there."""
        self._limit = None
        self.beat()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Context in which the thread watches; to be entered in the main thread."""
        reading, writing = socket.socketpair()
        for end in (reading, writing):
            end.setblocking(False)
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(reading, over), name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            over.set()
            thread.join()
            reading.close()
            writing.close()

    def _watch(self, reading: socket.socket, over: threading.Event) -> None:
        while not over.is_set():
            if select.select([reading], [], [], POLL_SECONDS)[0]:
                self._note(reading.recv(64))
            if not over.is_set():
                self._judge(time.monotonic())

    def _note(self, signums: bytes) -> None:
        ending = [signum for signum in signums if signum not in _HARMLESS]
        if ending and self._signum is None:
            self._signum = ending[0]
            self.beat()

    def _judge(self, now: float) -> None:
        if self._signum is not None and now > self._beat + self.patience:
            name = signal.Signals(self._signum).name
            self._report(f"{name}: nothing happened for {self.patience:g} s; ending at once")
            self._end(SIGNAL_EXIT + self._signum)
        elif self._limit is not None and now > self._limit[0]:
            self._report(f"error: {self._limit[1]}")
            self._end(1)

    def _report(self, line: str) -> None:
        # Not print: the main thread may hold the lock of stderr.
        with suppress(OSError):
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{self.name}: {line}\n".encode())


_HARMLESS = frozenset(getattr(signal, name) for name in ("SIGCHLD", "SIGWINCH", "SIGCONT") if hasattr(signal, name))
