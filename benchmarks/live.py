"""Measure live pictures: how many a second, and how long after an OSC message the first one comes that shows it.

    python benchmarks/live.py --json benchmarks/results/live.json
    python benchmarks/tables.py --only live

writes the table of docs/serving.md. Server and reader share the machine, which should do nothing else; what it does
else shows in its load.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
import socket
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from text2latent.benchmarks.report import (
    Figure,
    Measure,
    add_device_flag,
    add_model_flag,
    add_report_flags,
    run_parts,
    script_parser,
)
from text2latent.benchmarks.server_process import running_server
from text2latent.benchmarks.serving import PROMPTS, load
from text2latent.common.command import CommandParser, positive_float, positive_int
from text2latent.common.errors import InputError
from text2latent.common.extras import require_extra

HOST = "127.0.0.1"
ANSWER_SECONDS = 60.0
SETTLE_SECONDS = 0.3
MOST_FPS = "120"
JUMP_LEVELS = 8.0
"""Mean difference of two frames' levels that a cut has and a slow way hasn't."""
LENGTH = b"Content-Length: "


class Watcher:
    """Reads `/live.mjpg` in a thread of its own, and keeps when each file was there as a whole; repeated ones once."""

    def __init__(self, address: str) -> None:
        import httpx

        self.times, self.files = list[float](), list[bytes]()
        self._client = httpx.Client(base_url=address, timeout=ANSWER_SECONDS, trust_env=False)
        self._news, self._is_ending = threading.Condition(), False
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        self.wait_for(lambda: len(self.files))
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ending = True
        self._thread.join()
        self._client.close()

    def wait_for(self, found: Callable[[], Any]) -> Any:
        """What is found once it is anything else than nothing; looked for after each frame."""
        with self._news:
            if not self._news.wait_for(found, ANSWER_SECONDS):
                raise InputError(f"/live.mjpg: expected a frame within {ANSWER_SECONDS:g} s")
            return found()

    def _read(self) -> None:
        data = b""
        with self._client.stream("GET", "/live.mjpg") as answer:
            for chunk in answer.iter_raw():
                data = self._take(data + chunk)
                if self._is_ending:
                    return

    def _take(self, data: bytes) -> bytes:
        """Keep the files of which all is there; gives the rest."""
        while True:
            _, found, after = data.partition(LENGTH)
            length, ended, rest = after.partition(b"\r\n\r\n")
            if not found or not ended or len(rest) < int(length):
                return data
            self._keep(rest[: int(length)])
            data = rest[int(length) :]

    def _keep(self, file: bytes) -> None:
        with self._news:
            if self.files[-1:] != [file]:
                self.times.append(time.perf_counter())
                self.files.append(file)
            self._news.notify_all()


@contextlib.contextmanager
def shown(config: Namespace, *flags: str) -> Iterator[tuple[Watcher, Callable[..., None], str]]:
    """A server's shared picture, what sends it OSC messages, and the server's address."""
    require_extra("benchmarks/live.py", "live", ("pythonosc", "httpx"))
    from pythonosc.udp_client import SimpleUDPClient

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    shared = ("--model", config.model, "--device", config.device, "--no-page", "--live-prompt", PROMPTS[0])
    with running_server(*shared, "--osc", str(port), *flags) as address, Watcher(address) as watcher:
        yield watcher, SimpleUDPClient(HOST, port).send_message, address


def frames_figures(config: Namespace) -> list[Figure]:
    """Frames per second on a way that takes all the time, at the usual rate and at the highest."""
    figures = [_load_figure()]
    for name, flags in (("at the default rate of 25", ()), (f"at --fps {MOST_FPS}", ("--fps", MOST_FPS))):
        with shown(config, *flags) as (watcher, send, _):
            _move(send, config.seconds + 2 * SETTLE_SECONDS)
            gaps = _gaps(watcher, config.seconds)
        figures += [
            Figure(f"frames per second, {name}", 1 / float(gaps.mean()), "frames/s"),
            Figure(f"time between two frames, {name}, median", 1000 * float(np.percentile(gaps, 50)), "ms"),
            Figure(f"time between two frames, {name}, 95th percentile", 1000 * float(np.percentile(gaps, 95)), "ms"),
        ]
    return figures


def latency_figures(config: Namespace) -> list[Figure]:
    """Milliseconds from a message to the first frame that shows it."""
    chance = random.Random(0)
    with shown(config) as (watcher, send, _):
        send("/ease", 0.0)
        seeds = [_until_other(watcher, chance, partial(send, "/seed", n)) for n in range(1, config.messages + 1)]
        texts = [
            _until_other(watcher, chance, partial(send, "/prompt", f"{PROMPTS[n % len(PROMPTS)]}, {n}"))
            for n in range(1, config.messages + 1)
        ]
        _move(send, 120.0)
        send("/ease", 0.0)
        moving = [
            _until_jump(watcher, chance, partial(send, "/truncation", float(n % 2))) for n in range(config.messages)
        ]
    return [
        _load_figure(),
        *_percentiles("/seed, picture at rest", seeds),
        *_percentiles("/prompt, picture at rest", texts),
        *_percentiles("/truncation, picture moving", moving),
    ]


def beside_figures(config: Namespace) -> list[Figure]:
    """What a moving picture and others' draws leave each other."""
    how = {"clients": 4, "requests": config.messages, "max_seconds": config.seconds}
    with shown(config) as (watcher, send, address):
        alone = asyncio.run(load(address, **how))
        _move(send, 2 * config.seconds)
        begun = len(watcher.times)
        together = asyncio.run(load(address, **how))
        gaps = np.diff(watcher.times[begun:])
    return [
        _load_figure(),
        Figure("4 clients that draw, nothing live", alone.images_per_second, "images/s"),
        Figure("4 clients that draw, beside a moving picture", together.images_per_second, "images/s"),
        Figure("the moving picture meanwhile", 1 / float(gaps.mean()), "frames/s"),
        Figure("draws that failed", alone.failures + together.failures, "requests", target=0, at_most=True),
    ]


def _move(send: Callable[..., None], seconds: float) -> None:
    send("/ease", min(seconds, 60.0))
    send("/mix/prompt", PROMPTS[1])
    send("/mix", 1.0)
    time.sleep(SETTLE_SECONDS)


def _gaps(watcher: Watcher, seconds: float) -> np.ndarray:
    """Seconds between the frames that come within some time."""
    begun = len(watcher.times)
    time.sleep(seconds)
    return np.diff(watcher.times[begun:])


def _until_other(watcher: Watcher, chance: random.Random, change: Callable[[], None]) -> float:
    """Seconds until a frame is another one than that before the change."""
    time.sleep(SETTLE_SECONDS * (1 + chance.random()))
    begun, before = len(watcher.files), watcher.files[-1]
    sent = time.perf_counter()
    change()
    return _first(watcher, begun, lambda file: file != before) - sent


def _until_jump(watcher: Watcher, chance: random.Random, change: Callable[[], None]) -> float:
    time.sleep(SETTLE_SECONDS * (1 + chance.random()))
    begun, before = len(watcher.files), _levels(watcher.files[-1])
    sent = time.perf_counter()
    change()
    return _first(watcher, begun, lambda file: np.abs(_levels(file) - before).mean() > JUMP_LEVELS) - sent


def _first(watcher: Watcher, begun: int, is_it: Callable[[bytes], Any]) -> float:
    place = begun

    def found() -> float | None:
        nonlocal place
        while place < len(watcher.files):
            if is_it(watcher.files[place]):
                return watcher.times[place]
            place += 1
        return None

    return float(watcher.wait_for(found))


def _levels(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)), np.float32)


def _percentiles(name: str, seconds: Sequence[float]) -> list[Figure]:
    return [
        Figure(f"message to frame, {name}, {word}", 1000 * float(np.percentile(seconds, share)), "ms")
        for word, share in (("median", 50), ("95th percentile", 95))
    ]


def _load_figure() -> Figure:
    """What else the machine did: on an idle one it is near 0."""
    return Figure("processes that ran or waited in the minute before", os.getloadavg()[0], "processes")


PARTS: dict[str, Measure] = {"frames": frames_figures, "latency": latency_figures, "beside": beside_figures}


def build_parser() -> CommandParser:
    parser = script_parser("live", __doc__)
    add_model_flag(parser)
    add_device_flag(parser)
    add = parser.add_argument
    add("--seconds", type=positive_float, default=10.0, metavar="S", help="How long frames are counted.")
    add("--messages", type=positive_int, default=60, metavar="N", help="Messages of each kind.")
    add_report_flags(parser, PARTS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run_parts(PARTS, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
