"""An HTTP server of a folder that fails on purpose."""

from __future__ import annotations

import socket
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from text2latent.data.storage import RemoteStore


class Folder(SimpleHTTPRequestHandler):
    """Serves and takes files of a folder, with ranges, and fails as the server's `faults` say.

    A fault is a kind and the number of requests that it hits: ``503``, ``drop`` (the connection ends in the middle of
    the answer), ``slow`` (the answer trickles), ``garble`` (a byte is another) or ``forbidden``.
    """

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def fault(self) -> str | None:
        faults, name = self.server.faults, self.path.rsplit("/", 1)[-1]  # type: ignore[attr-defined]
        for (kind, part), left in faults.items():
            if left and part in name:
                faults[kind, part] = left - 1
                return str(kind)
        return None

    def do_GET(self) -> None:
        path, fault = Path(self.translate_path(self.path)), self.fault()
        if fault in ("503", "forbidden"):
            self.send_error(503 if fault == "503" else 403)
        elif path.is_file():
            self._send(path.read_bytes(), fault)
        else:
            super().do_GET()

    def _send(self, data: bytes, fault: str | None) -> None:
        ranges = self.headers.get("Range")
        start, end = (int(edge) for edge in ranges.removeprefix("bytes=").split("-")) if ranges else (0, len(data) - 1)
        body = bytearray(data[start : end + 1])
        self.server.sent.append((self.path.rsplit("/", 1)[-1], start, len(body)))  # type: ignore[attr-defined]
        self.send_response(206 if ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        if ranges:
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
        self.end_headers()
        if fault == "garble":
            body[len(body) // 2] ^= 1
        half = len(body) // 2 if fault in ("drop", "slow") else len(body)
        self.wfile.write(body[:half])
        if fault == "drop":
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault == "slow":
            for byte in range(half, len(body), 4096):
                time.sleep(0.01)
                self.wfile.write(body[byte : byte + 4096])

    def do_PUT(self) -> None:
        if self.fault() == "503":
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_error(503)
            return
        path = Path(self.translate_path(self.path))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Server(ThreadingHTTPServer):
    """An HTTP server of a folder; `faults` by kind and part of a name, `sent` what went out: names, starts, sizes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(Folder, directory=str(folder)))
        self.faults: dict[tuple[str, str], int] = {}
        self.sent: list[tuple[str, int, int]] = []

    def store(self, attempts: int = 4, folder: str = "pairs") -> RemoteStore:
        return RemoteStore(f"http://127.0.0.1:{self.server_port}/{folder}", attempts, first_pause=0.01)
