"""Where a dataset lies: a folder of this machine, or an object store or web server behind fsspec.

A store holds named files in one flat place. A file is written whole or not at all: beside its place and by a rename on
a disk, in one request elsewhere. What fails for a passing reason on a network is tried again with growing pauses.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from text2latent.common.errors import InputError, UsageError, named_line
from text2latent.common.extras import require_extra
from text2latent.common.files import create_atomic, write_atomic
from text2latent.common.litter import is_litter
from text2latent.common.retrying import PASSING_STATUSES, GivenUpError, ask_again

T = TypeVar("T")

SCHEMES = {"s3": "s3fs", "gs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
"""Schemes of addresses that can hold a dataset, with the package that fsspec needs for each."""

PIECE_BYTES = 8 << 20
"""Most bytes of one request, so that a connection that drops costs no more than this."""

STALL_SECONDS = 30
"""A connection that brings nothing for so long is given up and tried again."""

PASSING_KINDS = frozenset(
    (
        *("aiohttp.client_exceptions.ClientError", "botocore.exceptions.HTTPClientError"),
        "botocore.exceptions.ConnectionError",
        *("botocore.exceptions.IncompleteReadError", "botocore.exceptions.ResponseStreamingError"),
        *("google.auth.exceptions.TransportError", "requests.exceptions.RequestException"),
    )
)
"""Errors of a network that aren't Python's own, of libraries that may not be installed."""

ANSWERS = (FileExistsError, FileNotFoundError, NotImplementedError)
"""Errors that say what a store has or can do, and pass on as they are."""

CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, or a profile in ~/.aws",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS in the environment, or gcloud auth application-default login",
}
"""What the libraries of a scheme take."""


class Store(ABC):
    """A flat place of named files; `str` of it is what the user called it."""

    @abstractmethod
    def locate(self, name: str) -> str:
        """Path or address of a file, for messages."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Bytes of a file.

        Raises:
            FileNotFoundError: when there is none.
            InputError: when it can't be read.
        """

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all, in the place of one that is there.

        Raises:
            InputError: when it can't be written (full disk, no permission, no connection, ...).
        """

    @abstractmethod
    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one; returns whether it was written.

        Of several processes at the same time one writes. A plain web server knows no such request: there all may.
        """

    @abstractmethod
    def names(self) -> set[str]:
        """Names of all files, but for litter; empty where there is nothing, and on a web server that doesn't list."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is such a file."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""


def is_address(place: str | Path) -> bool:
    """Whether a dataset's place is an address rather than a path of this machine."""
    return "://" in str(place)


def open_store(place: str | Path | Store) -> Store:
    """The store at a path or an address.

    Raises:
        UsageError: for an address of another scheme than those of `SCHEMES`.
        InputError: when the package for its scheme isn't installed.
    """
    if isinstance(place, Store):
        return place
    if not is_address(place):
        return LocalStore(Path(place))
    scheme = str(place).split("://")[0]
    if scheme not in SCHEMES:
        expected = ", ".join(f"{known}://" for known in SCHEMES)
        raise UsageError(f"{place}: expected a local folder or an address with {expected}")
    require_extra(str(place), scheme, [SCHEMES[scheme]])
    return RemoteStore(str(place).rstrip("/"))


@dataclass(frozen=True)
class LocalStore(Store):
    """A folder of this machine, or of a disk that machines share."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    def locate(self, name: str) -> str:
        return str(self.folder / name)

    def read(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise InputError(f"cannot read {self.folder / name}: {error.strerror or error}") from error

    def write(self, name: str, data: bytes) -> None:
        write_atomic(self.folder / name, data)

    def create(self, name: str, data: bytes) -> bool:
        return create_atomic(self.folder / name, data)

    def names(self) -> set[str]:
        try:
            return {entry.name for entry in os.scandir(self.folder) if not is_litter(entry.name)}
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise InputError(f"cannot read {self.folder}: {error.strerror or error}") from error

    def exists(self, name: str) -> bool:
        return (self.folder / name).exists()

    def remove(self, name: str) -> None:
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"cannot remove {self.folder / name}: {error.strerror or error}") from error


@dataclass(frozen=True)
class RemoteStore(Store):
    """A bucket's folder or a web server's, behind fsspec; credentials and endpoints come from the environment.

    Args:
        address: such as ``s3://BUCKET/FOLDER``.
        attempts: how often a request is tried in all.
        first_pause: seconds before the second attempt; each later pause is twice as long.
    """

    address: str
    attempts: int = 7
    first_pause: float = 0.5

    def __str__(self) -> str:
        return self.address

    @property
    def _scheme(self) -> str:
        return self.address.split("://")[0]

    @property
    def _files(self) -> Any:
        """The file system; fsspec keeps one per process and thread, since none outlives a fork."""
        import fsspec

        return fsspec.filesystem(self._scheme, use_listings_cache=False, **_options(self._scheme))

    def locate(self, name: str) -> str:
        return f"{self.address}/{name}"

    def read(self, name: str) -> bytes:
        """Bytes of a file, in pieces, each tried again on its own."""
        size = self._persist("read", name, lambda path: self._files.info(path).get("size"))
        if size is None or size <= PIECE_BYTES:
            return self._persist("read", name, lambda path: self._files.cat_file(path))
        pieces = []
        for start in range(0, size, PIECE_BYTES):
            end = min(start + PIECE_BYTES, size)
            piece = self._persist("read", name, partial(self._files.cat_file, start=start, end=end))
            if len(piece) == size:  # a web server that doesn't know ranges
                return piece
            pieces.append(piece)
        return b"".join(pieces)

    def write(self, name: str, data: bytes) -> None:
        self._persist("write", name, lambda path: self._files.pipe_file(path, data))

    def create(self, name: str, data: bytes) -> bool:
        if self.exists(name):
            return False
        try:
            self._persist("write", name, lambda path: self._files.pipe_file(path, data, mode="create"))
        except FileExistsError:
            return False
        return True

    def names(self) -> set[str]:
        try:
            listed = self._persist("list", "", lambda path: self._files.ls(path, detail=False))
        except FileNotFoundError:
            return set()
        names = {entry.rsplit("/", 1)[-1] for entry in listed if not entry.endswith("/")}
        return {name for name in names if not is_litter(name)}

    def exists(self, name: str) -> bool:
        try:
            self._persist("read", name, lambda path: self._files.info(path))
        except FileNotFoundError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Remove a file, if it is there; a web server that can't remove keeps it."""
        try:
            self._persist("remove", name, lambda path: self._files.rm_file(path))
        except (FileNotFoundError, NotImplementedError):
            return

    def _persist(self, verb: str, name: str, request: Callable[[str], T]) -> T:
        """Result of a request, which is tried again after what may pass.

        Raises:
            FileNotFoundError, FileExistsError, NotImplementedError: as the store answers.
            InputError: naming the file, once all attempts failed or at once where another wouldn't help.
        """
        try:
            return ask_again(lambda: request(self.locate(name)), _may_pass, self.attempts, self.first_pause)
        except ANSWERS as error:
            if verb == "write" and isinstance(error, FileNotFoundError):  # a bucket that isn't there
                raise self._failed(verb, name, error) from error
            raise
        except GivenUpError as stop:
            tried = f"; tried {stop.attempts} times in {stop.seconds:.0f} s" if stop.attempts > 1 else ""
            raise self._failed(verb, name, stop.error, tried) from stop.error
        except Exception as error:
            # fsspec's backends raise errors of their own libraries, of many kinds.
            raise self._failed(verb, name, error) from error

    def _failed(self, verb: str, name: str, error: Exception, tried: str = "") -> InputError:
        """What was asked for and why it failed, and what was expected where credentials are missing or refused."""
        expected = CREDENTIALS.get(self._scheme)
        hint = f"; expected {expected}" if expected and _is_of_credentials(error) else ""
        return InputError(f"cannot {verb} {self.locate(name)}: {named_line(error)}{hint}{tried}")


def _is_of_credentials(error: Exception) -> bool:
    return isinstance(error, PermissionError) or "credential" in f"{type(error).__name__} {error}".lower()


def _may_pass(error: Exception) -> bool:
    if isinstance(error, ANSWERS):
        return False
    status = getattr(error, "status", None) or getattr(error, "code", None)
    if isinstance(status, int) and status:
        return status in PASSING_STATUSES
    if isinstance(error, (PermissionError, NotADirectoryError, IsADirectoryError)):
        return False
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}
    # Anything else, such as missing credentials or a wrong setting, is the same in the next attempt.
    return isinstance(error, (OSError, EOFError, asyncio.TimeoutError)) or bool(kinds & PASSING_KINDS)


def _options(scheme: str) -> dict[str, Any]:
    """Time limits of a scheme's library; its own attempts are few, since `RemoteStore` makes many."""
    if scheme == "s3":
        limits = {"connect_timeout": 10, "read_timeout": STALL_SECONDS, "retries": {"total_max_attempts": 2}}
        return {"config_kwargs": limits}
    if scheme in ("http", "https"):
        import aiohttp

        return {
            "client_kwargs": {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=STALL_SECONDS)}
        }
    return {}
