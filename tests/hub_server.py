"""As much of the Hugging Face hub's interface as downloads use, on this machine.

The hub's own library reads `HF_ENDPOINT` when it is imported, so that what asks this hub runs in a process of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "a" * 40


class HubServer(ThreadingHTTPServer):
    """A hub with the repository `org/net`, whose files are there at `main` and `v1`, and the gated `org/gated`."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.files = files


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def serve_hub(files: Mapping[str, bytes]) -> Iterator[dict[str, str]]:
    """Serve files by their names in `org/net`; gives the environment variables with which they are found."""
    with HubServer(files) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "no_proxy": "127.0.0.1"}
        server.shutdown()


class HubHandler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, files = self.path.partition("?")[0], self.server.files.items()
        if path.startswith("/api/models/org/net/tree/"):
            self.reply_json(
                [{"type": "file", "path": name, "size": len(data), "oid": oid(data)} for name, data in files]
            )
        elif path.startswith("/api/models/org/net"):
            self.reply_json({"id": "org/net", "sha": COMMIT, "siblings": [{"rfilename": name} for name, _ in files]})
        elif path.startswith("/api/models/org/gated") or path.startswith("/org/gated"):
            self.reply(403, error="GatedRepo")
        elif path.startswith("/org/net/resolve/"):
            revision, _, name = path.removeprefix("/org/net/resolve/").partition("/")
            self.reply_file(revision, name)
        else:
            self.reply(404, error="RepoNotFound")

    def reply_file(self, revision: str, name: str) -> None:
        if revision not in ("main", "v1", COMMIT):
            self.reply(404, error="RevisionNotFound")
        elif name not in self.server.files:
            self.reply(404, error="EntryNotFound")
        else:
            self.reply(200, self.server.files[name], etag=oid(self.server.files[name]))

    def reply_json(self, data: object) -> None:
        self.reply(200, json.dumps(data).encode())

    def reply(self, status: int, body: bytes = b"", error: str | None = None, etag: str | None = None) -> None:
        self.send_response(status)
        headers = {"Content-Length": len(body), "X-Repo-Commit": COMMIT, "X-Error-Code": error, "ETag": etag}
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def oid(data: bytes) -> str:
    """Name of a file's content, as git has one."""
    return hashlib.sha1(data).hexdigest()
