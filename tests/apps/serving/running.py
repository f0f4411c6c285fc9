"""An application that answers on loopback, in a thread of the test's process."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI

from text2latent.apps.serving.server import address_of, open_socket

START_SECONDS, END_SECONDS = 300.0, 300.0


@contextlib.contextmanager
def running(app: FastAPI) -> Iterator[str]:
    with open_socket("127.0.0.1", 0) as listening:
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        until = time.monotonic() + START_SECONDS
        while not server.started:
            assert thread.is_alive(), "the server ended while it started"
            assert time.monotonic() < until, "the server didn't start"
            time.sleep(0.02)
        try:
            yield address_of(listening)
        finally:
            server.should_exit = True
            thread.join(END_SECONDS)
            assert not thread.is_alive(), "the server didn't stop"


def result_of(client: Any, endpoint: str, values: list[Any]) -> str:
    begun = client.post(f"/gradio_api/call/{endpoint}", json={"data": values}).raise_for_status()
    with client.stream("GET", f"/gradio_api/call/{endpoint}/{begun.json()['event_id']}") as events:
        return "".join(events.iter_text())
