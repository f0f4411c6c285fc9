"""A process that waits where Python hears nothing is ended, by a signal or when its time is up."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# A lock taken by C code, such as this semaphore of libc, hears no signal as a library that waits doesn't.
BLOCKED = """
import ctypes, signal, subprocess, sys
from text2latent.common.watchdog import Watchdog
watchdog = Watchdog("name", patience=0.2)
signal.signal(signal.SIGTERM, lambda *_: None)
child = subprocess.Popen(["sleep", "1000"])
libc = ctypes.CDLL(None)
semaphore = ctypes.create_string_buffer(64)
libc.sem_init(semaphore, 0, 0)
with watchdog.watching():
    if sys.argv[1] == "limit":
        watchdog.expect(0.3, "--launch-timeout 1: rank 1 is missing")
    print(child.pid, flush=True)
    while True:
        libc.sem_wait(semaphore)
"""


PATIENCE = 60
"""Seconds for what a signal starts, far more than it takes."""


def has_ended(pid: str) -> bool:
    """Whether a process is gone, or left for its parent, which a container may lack, to reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize(
    ("what", "code", "line"),
    [
        ("signal", 143, "name: SIGTERM: nothing happened for 0.2 s; ending at once\n"),
        ("limit", 1, "name: error: --launch-timeout 1: rank 1 is missing\n"),
    ],
)
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs Linux")
def test_a_blocked_process_is_ended_with_those_it_started(what: str, code: int, line: str) -> None:
    words = [sys.executable, "-c", BLOCKED, what]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = process.stdout.readline().strip()
        if what == "signal":
            process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=PATIENCE)
    assert (process.returncode, error) == (code, line)
    deadline = time.monotonic() + PATIENCE
    while not has_ended(child):  # a busy machine takes its time over a signal
        assert time.monotonic() < deadline
        time.sleep(0.05)
