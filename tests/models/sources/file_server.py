"""A web server on loopback that answers as asked to: whole, slowly, cut off, without ranges, silent, or refusing."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers each request with the next of the server's `answers`, and with the last one from then on."""

    protocol_version = "HTTP/1.1"
    server: FileServer

    def do_GET(self) -> None:
        self.server.requests.append({name.lower(): value for name, value in self.headers.items()})
        answers = self.server.answers
        with suppress(OSError):  # whoever asks may have gone
            (answers.pop(0) if len(answers) > 1 else answers[0])(self)
        self.close_connection = True

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def start(self, content: bytes = CONTENT) -> int:
        """First byte that the request asks for, if it still means this content."""
        asked = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
        return int(asked) if self.headers.get("If-Range", etag(content)) == etag(content) else 0

    def log_message(self, *_: object) -> None:
        pass


class FileServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = [whole]
        self.requests: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/models/net.pkl"


def etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:16]}"'


def serve(content: bytes = CONTENT, upto: int | None = None, tag: bool = True, pause: float = 0) -> Answer:
    """Answer with the content from where it is asked for; cut off at byte `upto`, or slowly."""

    def answer(handler: Handler) -> None:
        start = handler.start(content)
        headers = {"Content_Length": len(content) - start} | ({"ETag": etag(content)} if tag else {})
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.head(206 if start else 200, **headers)
        body = content[start:upto]
        step = max(1, len(body) // 10)
        for position in range(0, len(body), step):
            handler.wfile.write(body[position : position + step])
            handler.wfile.flush()
            time.sleep(pause)

    return answer


whole = serve()


def status(code: int, **headers: object) -> Answer:
    return lambda handler: handler.head(code, Content_Length=0, **headers)


def without_range(handler: Handler) -> None:
    handler.head(200, Content_Length=len(CONTENT))
    handler.wfile.write(CONTENT)


def chunked(upto: int = len(CONTENT)) -> Answer:
    def answer(handler: Handler) -> None:
        handler.head(200, Transfer_Encoding="chunked")
        for start in range(0, upto, 50_000):
            block = CONTENT[start : start + 50_000]
            handler.wfile.write(f"{len(block):x}\r\n".encode() + block + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n" if upto == len(CONTENT) else b"")

    return answer


def until_close(handler: Handler) -> None:
    handler.head(200)
    handler.wfile.write(CONTENT)


def silent(handler: Handler) -> None:
    handler.head(200, Content_Length=len(CONTENT), ETag=etag(CONTENT))
    handler.wfile.write(CONTENT[:1000])
    handler.wfile.flush()
    time.sleep(1)
