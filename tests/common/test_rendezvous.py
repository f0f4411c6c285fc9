"""Processes find each other, or end within their time, with a line that names who is missing."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time

import pytest

JOIN = """
import atexit, sys, torch
from text2latent.common.errors import InputError
from text2latent.common.rendezvous import join_processes
rank, processes, port, minutes = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
atexit.register(lambda: print("left", not torch.distributed.is_initialized(), flush=True))  # the last to be run
print("joining", flush=True)
sys.stdin.readline()
try:
    join_processes(rank, processes, ("127.0.0.1", port), minutes, "gloo")
except InputError as error:
    sys.exit(str(error))
ranks = torch.tensor([float(rank)])
torch.distributed.all_reduce(ranks)
print("sum", int(ranks), flush=True)
"""


@pytest.fixture
def port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def start(rank: int, processes: int, port: str, minutes: float) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", JOIN, *map(str, (rank, processes, port, minutes))]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def go(*processes: subprocess.Popen[str]) -> None:
    """Let processes join once all have imported what they need, which takes them time of its own."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "joining\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


def test_those_who_come_meet_and_the_others_are_named(port: str) -> None:
    """Two of two meet, and part when they end; of three, rank 1 never comes."""
    pair = [start(rank, 2, port, 10) for rank in (1, 0)]
    go(*pair)
    assert [process.communicate(timeout=600)[0].split("\n")[:2] for process in pair] == 2 * [["sum 1", "left True"]]
    some = [start(rank, 3, port, 0.3) for rank in (0, 2)]
    go(*some)
    errors = [process.communicate(timeout=600)[1] for process in some]
    assert [process.returncode for process in some] == [1, 1]
    assert any(f"--launch-timeout 0.3: rank 1 of 3 missing at 127.0.0.1:{port}" in error for error in errors), errors
    assert all("Traceback" not in error for error in errors)


def test_an_absent_head_is_named(port: str) -> None:
    process = start(1, 2, port, 0.01)
    go(process)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 1
    assert f"rank 1 of 2 is here, rank 0 doesn't answer at 127.0.0.1:{port} (Connection refused)" in error


@pytest.mark.parametrize("rank", [0, 1])
def test_signals_end_a_process_that_waits(port: str, rank: int) -> None:
    process = start(rank, 2, port, 100)
    go(process)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in error
