"""Measure a server that many programs ask at once, and the same server when it draws one image at a time.

    python benchmarks/serving.py --json benchmarks/serving.json
    python benchmarks/tables.py --only serving

writes the table of docs/serving.md. Server and clients share the machine, which should do nothing else.
"""

from __future__ import annotations

import asyncio
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

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
from text2latent.common.command import CommandParser, positive_float, positive_int
from text2latent.common.errors import InputError

if TYPE_CHECKING:
    import httpx

PROMPTS = (
    *("blonde woman with glasses", "old man with a white beard and a hat", "smiling child with red hair"),
    *("眼鏡をかけた金髪の女性", "a bald man with sunglasses at the sea"),
)
ANSWER_SECONDS = 300.0
WARM_UP_ROUNDS = 2
ONE_AT_A_TIME = ("--batch-size", "1", "--max-wait", "0")
OK = 200


@dataclass(frozen=True)
class Load:
    """What the clients saw.

    Attributes:
        seconds: from the first request to the last answer.
        latencies: seconds that each image took, from its request to its answer.
        failures: answers other than 200, and requests without one.
    """

    seconds: float
    latencies: Sequence[float]
    failures: int

    @property
    def images_per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def milliseconds(self, percent: float) -> float:
        """A percentile of the latencies."""
        return 1000 * float(np.percentile(self.latencies, percent))


async def load(address: str, clients: int, requests: int, max_seconds: float) -> Load:
    """Let clients ask for an image each, again and again, each as soon as it has its last one.

    Args:
        clients: that ask at once.
        max_seconds: after which no client asks again.
    """
    import httpx

    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    started, latencies, failures = time.perf_counter(), list[float](), 0

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        nonlocal failures
        for seed in range(number * requests, (number + 1) * requests):
            if time.perf_counter() - started > max_seconds:
                return
            seconds = await _image(client, PROMPTS[seed % len(PROMPTS)], seed)
            if seconds is None:
                failures += 1
            else:
                latencies.append(seconds)

    timeout = httpx.Timeout(ANSWER_SECONDS)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=timeout, trust_env=False) as client:
        await asyncio.gather(*(ask(client, number) for number in range(clients)))
    return Load(time.perf_counter() - started, latencies, failures)


async def _image(client: httpx.AsyncClient, prompt: str, seed: int) -> float | None:
    """Seconds that an image took; None if it didn't come."""
    import httpx

    asked = time.perf_counter()
    try:
        answer = await client.post("/v1/images", json={"prompt": prompt, "seed": seed})
    except httpx.HTTPError:
        return None
    return time.perf_counter() - asked if answer.status_code == OK else None


def load_figures(config: Namespace) -> list[Figure]:
    """Images per second and latencies, with requests joined into batches and one at a time."""
    batched = _measure(config, "--batch-size", str(config.batch_size))
    alone = _measure(config, *ONE_AT_A_TIME)
    ratio = batched.images_per_second / alone.images_per_second
    at_once = f"{config.clients} clients at once"
    return [
        *_figures(f"{at_once}, joined into batches", batched),
        *_figures(f"{at_once}, one image at a time", alone),
        Figure("batches against one at a time, images per second", ratio, "times", target=1),
        Figure("requests that failed", batched.failures + alone.failures, "requests", target=0, at_most=True),
    ]


def _measure(config: Namespace, *flags: str) -> Load:
    shared = ("--model", config.model, "--device", config.device, "--no-page", "--max-waiting", "10000")
    with running_server(*shared, *flags) as address:
        # A process draws its first batches more slowly than others.
        asyncio.run(load(address, config.clients, WARM_UP_ROUNDS, config.max_seconds))
        measured = asyncio.run(load(address, config.clients, config.requests, config.max_seconds))
    if not measured.latencies:
        raise InputError(f"text2latent serve: expected images, got {measured.failures} failed requests")
    return measured


def _figures(name: str, measured: Load) -> list[Figure]:
    return [
        Figure(f"{name}", measured.images_per_second, "images/s"),
        Figure(f"{name}, median latency", measured.milliseconds(50), "ms"),
        Figure(f"{name}, 95th percentile of latency", measured.milliseconds(95), "ms"),
    ]


PARTS: dict[str, Measure] = {"load": load_figures}


def build_parser() -> CommandParser:
    parser = script_parser("serving", __doc__)
    add_model_flag(parser)
    add = parser.add_argument
    add_device_flag(parser)
    add("--clients", type=positive_int, default=64, metavar="N", help="Clients that ask at once.")
    add("--requests", type=positive_int, default=8, metavar="N", help="Images that each client asks for, in turn.")
    add("--batch-size", type=positive_int, default=16, metavar="N", help="Images that the server draws at once.")
    add("--max-seconds", type=positive_float, default=120.0, metavar="S",
        help="No client asks again after this time, in each of the four loads, two of which warm up.")  # fmt: skip
    add_report_flags(parser, PARTS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run_parts(PARTS, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
