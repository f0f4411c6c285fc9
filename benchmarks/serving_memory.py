"""Measure how much memory a server keeps of the large pictures that many programs send it, and its most meanwhile.

    python benchmarks/serving_memory.py --json benchmarks/serving.json
    python benchmarks/tables.py --only serving

writes them into the table of docs/serving.md. The most is what was seen, looking every 20 ms.
"""

from __future__ import annotations

import io
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import psutil
from PIL import Image

from text2latent.apps.serving.limits import MIB, Limits
from text2latent.benchmarks.report import (
    Figure,
    Measure,
    add_device_flag,
    add_model_flag,
    add_report_flags,
    run_parts,
    script_parser,
)
from text2latent.benchmarks.server_process import server_process
from text2latent.common.command import CommandParser, positive_int

ANSWER_SECONDS = 600.0
LOOK_SECONDS = 0.02
MOST_KEPT_MIB = 300
OK = 200
FORM = {"steps": "1", "response_format": "b64_json"}


def largest_picture() -> bytes:
    """A PNG file of the most pixels that a server takes, in few bytes."""
    side = int(Limits().max_upload_pixels ** 0.5)
    file = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(file, "PNG")
    return file.getvalue()


@contextmanager
def watching(pid: int) -> Iterator[Callable[[], float]]:
    """A function that gives the most MiB which a process has had in memory since the context began."""
    process, most, ended = psutil.Process(pid), 0.0, threading.Event()

    def look() -> None:
        nonlocal most
        while not ended.wait(LOOK_SECONDS):
            most = max(most, memory(process))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield lambda: most
    finally:
        ended.set()
        thread.join()


def memory(process: psutil.Process) -> float:
    """MiB that a process has in memory."""
    return process.memory_info().rss / MIB


def send(address: str, picture: bytes, _: int) -> bool:
    import httpx

    try:
        answer = httpx.post(f"{address}/v1/images/variations", data=FORM, files={"image": picture},
            timeout=ANSWER_SECONDS, trust_env=False)  # fmt: skip
    except httpx.HTTPError:
        return False
    return answer.status_code == OK


def memory_figures(config: Namespace) -> list[Figure]:
    """What uploads leave in the server's memory, against what it had after the first, and the most meanwhile."""
    picture = largest_picture()
    with server_process("--model", config.model, "--device", config.device) as (address, pid):
        process = psutil.Process(pid)
        answered = [send(address, picture, 0)]
        before = memory(process)
        with watching(pid) as most, ThreadPoolExecutor(config.at_once) as pool:
            answered += pool.map(partial(send, address, picture), range(config.uploads))
        after = memory(process)
    megapixels = f"{Limits().max_upload_pixels / 1e6:g} megapixels"
    what = f"{config.uploads} uploads of {len(picture) / 1000:.0f} kB and {megapixels}, {config.at_once} at a time"
    return [
        Figure("memory after the first upload", before, "MiB"),
        Figure(f"{what}: memory kept", after - before, "MiB", target=MOST_KEPT_MIB, at_most=True),
        Figure(f"{what}: most memory meanwhile", most() - before, "MiB"),
        Figure("uploads without variations", answered.count(False), "uploads", target=0, at_most=True),
    ]


PARTS: dict[str, Measure] = {"memory": memory_figures}


def build_parser() -> CommandParser:
    parser = script_parser("serving_memory", __doc__)
    add_model_flag(parser)
    add = parser.add_argument
    add_device_flag(parser)
    add("--uploads", type=positive_int, default=200, metavar="N", help="Pictures that are sent after the first.")
    add("--at-once", type=positive_int, default=16, metavar="N", help="Pictures that are sent at once.")
    add_report_flags(parser, PARTS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run_parts(PARTS, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
