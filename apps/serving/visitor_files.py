"""Files that visitors of the page send and get: uploads in memory, pictures under names that this process has made.

No path that a client sends is ever opened. An upload is found by its name in memory, for the visit that it came from; a
picture's path is made of a name whose parts nobody else can sign.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from text2latent.apps.serving.limits import MIB

UPLOADS_BYTES = 256 * MIB
UPLOADS_OF_A_CLIENT = 4
"""Largest files that a client's uploads may come to; the oldest go first."""
NAME_BYTES = 24
SIGNED = re.compile(r"([0-9a-f]{32})([0-9a-f]{32})/([^/\\\0]+)")
CAREFUL = ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")
"""How files are opened, where the system knows it."""

_secret = secrets.token_bytes(32)


@dataclass(frozen=True)
class Upload:
    """A file that a visitor has sent.

    Attributes:
        name: what the visitor calls it, without folders.
        client: where it came from, see `client_of`.
    """

    data: bytes
    name: str
    visit: str
    client: str


class Uploads:
    """Uploads by random name, each for its own visit only, and bounded. Safe to be used by several threads.

    Args:
        max_client_bytes: of the uploads of one client; its oldest go first.
    """

    def __init__(self, max_client_bytes: int, max_bytes: int = UPLOADS_BYTES) -> None:
        self._max_client_bytes, self._max_bytes = max_client_bytes, max_bytes
        self._uploads: OrderedDict[str, Upload] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, upload: Upload) -> str:
        name = secrets.token_urlsafe(NAME_BYTES)
        with self._lock:
            self._uploads[name] = upload
            of_client = [key for key, one in self._uploads.items() if one.client == upload.client]
            self._make_room(of_client, self._max_client_bytes)
            self._make_room(list(self._uploads), self._max_bytes)
        return name

    def get(self, name: str, visit: str) -> Upload | None:
        """An upload of a visit; None where the visit has none of this name, or none any more."""
        upload = self.taken(name)
        return upload if upload is not None and hmac.compare_digest(upload.visit, visit) else None

    def taken(self, name: str) -> Upload | None:
        """An upload whose visit has been checked before."""
        with self._lock:
            return self._uploads.get(name)

    @property
    def num_bytes(self) -> int:
        with self._lock:
            return sum(len(upload.data) for upload in self._uploads.values())

    def _make_room(self, names: list[str], max_bytes: int) -> None:
        sizes = [len(self._uploads[name].data) for name in names]
        excess = sum(sizes) - max_bytes
        for name, size in zip(names, sizes, strict=True):
            if excess <= 0:
                return
            del self._uploads[name]
            excess -= size


def keep(data: bytes, name: str, folder: str | Path) -> Path:
    """Write a file below a folder, under a name that can't be guessed and that `read_kept` knows; returns its path."""
    place = Path(folder) / _sign(hashlib.sha256(data).digest(), name)
    place.mkdir(parents=True, exist_ok=True)
    # A picture is kept again each time it is shown, perhaps while a browser fetches it.
    with tempfile.NamedTemporaryFile(dir=place, delete=False) as whole:
        whole.write(data)
    os.replace(whole.name, place / name)
    return place / name


def read_kept(given: str, folder: str | Path) -> bytes | None:
    """What has been kept under `given`, a path below the folder; None for whatever else lies there, links included."""
    match = SIGNED.fullmatch(given)
    if match is None or not hmac.compare_digest(_tag(match[1], match[3]), match[2]):
        return None
    path = Path(folder) / given
    try:
        # Whoever can write to the folder could have put links or pipes there: not followed, and not waited for.
        if path.parent.is_symlink():
            return None
        opened = os.open(path, os.O_RDONLY | sum(getattr(os, name, 0) for name in CAREFUL))
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        return None
    with os.fdopen(opened, "rb") as file:
        return file.read()


def _sign(digest: bytes, name: str) -> str:
    """A folder's name: the same for the same file in this process, and unknown to all others."""
    token = hmac.new(_secret, digest + name.encode(), hashlib.sha256).hexdigest()[:32]
    return token + _tag(token, name)


def _tag(token: str, name: str) -> str:
    return hmac.new(_secret, f"{token}/{name}".encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:32]
