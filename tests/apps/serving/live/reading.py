"""Readers of what is shown live, as other programs are."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from PIL import Image

PATIENCE = 120.0


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@contextlib.contextmanager
def events(client: httpx.Client, **parameters: Any) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
    """The events of a stream of one's own, by name and data."""
    with client.stream("GET", "/v1/stream", params=parameters) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _parsed(answer.iter_lines())


def _parsed(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


@contextlib.contextmanager
def mjpeg(client: httpx.Client, path: str = "/live.mjpg") -> Iterator[Iterator[Image.Image]]:
    with client.stream("GET", path) as answer:
        assert answer.status_code == 200, answer.read()
        kind, _, boundary = answer.headers["content-type"].partition("; boundary=")
        assert kind == "multipart/x-mixed-replace"
        yield _pictures(answer.iter_raw(), boundary.encode())


def _pictures(chunks: Iterator[bytes], boundary: bytes) -> Iterator[Image.Image]:
    data = b""
    for chunk in chunks:
        data += chunk
        *parts, data = data.split(b"--" + boundary + b"\r\n")
        for part in parts:
            head, _, file = part.partition(b"\r\n\r\n")
            if file:
                assert b"Content-Type: image/jpeg" in head
                yield Image.open(io.BytesIO(file.removesuffix(b"\r\n")))


def picture(frame: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(frame["b64_json"])))
