"""Downloads over HTTP that go on where they broke off, and that appear whole and checked or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from socket import gaierror
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, quote, unquote, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from text2latent.common.errors import InputError, UsageError, one_line
from text2latent.common.progress import progress
from text2latent.common.retrying import PASSING_STATUSES, GivenUpError, ask_again
from text2latent.models.sources.identity import sha256_of

TIMEOUT_SECONDS = 30.0
"""How long to wait for a connection, and for each next piece of a file."""

MAX_BYTES = 32 << 30
TRIES = 5
"""How often in a row to ask again when nothing more has arrived."""

BACKOFF_SECONDS = 1.0
"""Pause before the second try; it doubles with each further one."""

CHUNK_BYTES = 1 << 20
REASONS = {
    401: "it asks for a login",
    403: "it refuses access",
    404: "there is no such file",
    410: "the file is gone",
}
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
USER_AGENT = "text2latent"

MAX_NAME_CHARACTERS = 128

_FORBIDDEN_IN_NAMES = re.compile(r'[\x00-\x1f<>:"/\\|?*]')
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class _Interrupted(Exception):
    """A transfer broke off in a way that a further try may mend; the message says how."""


class _Redirects(HTTPRedirectHandler):
    """Follow redirects, but never from https to an address that anyone on the way can change."""

    def redirect_request(self, request: Request, *arguments: Any) -> Request | None:
        redirected = super().redirect_request(request, *arguments)
        if redirected is not None and request.type == "https" and redirected.type != "https":
            raise InputError(f"{request.full_url}: expected https throughout, it redirects to {redirected.full_url}")
        return redirected


@dataclass(frozen=True)
class Partial:
    """A download that is not finished: its bytes so far, and what shows whether the server still has that file.

    Attributes:
        data: the bytes.
        note: JSON with the response's `ETag` or `Last-Modified` as `validator`.
    """

    data: Path
    note: Path

    @property
    def size(self) -> int:
        return self.data.stat().st_size if self.data.exists() else 0

    def validator(self) -> str | None:
        """What the server called this version of the file; None if it gave it no name or nothing has come yet."""
        try:
            found = json.loads(self.note.read_text(encoding="utf-8"))["validator"] if self.size else None
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return found if isinstance(found, str) else None

    def restart(self, validator: str | None) -> None:
        """Forget the bytes, and note which version of the file those to come are of."""
        self.data.write_bytes(b"")
        self.note.write_text(json.dumps({"validator": validator}), encoding="utf-8")

    def remove(self) -> None:
        self.data.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def download(url: str, folder: Path, sha256: str | None = None, max_bytes: int = MAX_BYTES) -> Path:
    """File of `url`, from `folder` if it was downloaded before; several processes may ask for it at once.

    What has arrived of an unfinished download is kept, and a later call goes on from there if the server can. The file
    gets its name only when it is whole: as long as the server said, and with the right checksum.

    Args:
        url: `https://...`; or `http://...` of this machine or with a checksum.
        folder: the cache; each address has a folder of its own in it.
        sha256: 64 lower-case hexadecimal digits that the file must have, or None.
        max_bytes: a larger file is refused before or while it is downloaded.

    Raises:
        UsageError: for an address without a host or file name, or that is not secure.
        InputError: when the server doesn't have or give the file, it is too large, the connection fails again and
            again, or the checksum is another.
    """
    parts = _check_url(url, sha256)
    target = folder / hashlib.sha256(url.encode()).hexdigest()[:32] / _file_name(parts)
    if _is_cached(target, sha256):
        return target
    _make_folder(target.parent)
    with _locked(target, url):
        if not _is_cached(target, sha256):
            partial = Partial(target.with_name(".partial"), target.with_name(".partial.json"))
            _complete(url, partial, max_bytes, has_checksum=sha256 is not None)
            _publish(url, partial, target, sha256)
    return target


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: the cache for downloads cannot be written ({error.strerror})") from error


def _check_url(url: str, sha256: str | None) -> SplitResult:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{url}: expected https://HOST/PATH/FILE, got an address with {one_line(error)}") from error
    if not host or not _file_name(parts):
        raise UsageError(f"{url}: expected https://HOST/PATH/FILE, got an address without host or file name")
    if parts.scheme == "http" and host not in LOOPBACK and sha256 is None:
        raise UsageError(
            f"{url}: expected https://, or a checksum at the end (#sha256=HEX): anyone on the way can change what "
            "comes over http://"
        )
    return parts


def _file_name(parts: SplitResult) -> str:
    """Last part of the path, as a name that any file system takes."""
    name = _FORBIDDEN_IN_NAMES.sub("_", unquote(parts.path.rsplit("/", 1)[-1]))
    # Names with a leading dot are those of the download's own files beside it.
    return name.strip(". ")[-MAX_NAME_CHARACTERS:]


def _is_cached(target: Path, sha256: str | None) -> bool:
    return target.is_file() and (sha256 is None or sha256_of(target) == sha256)


@contextmanager
def _locked(target: Path, url: str) -> Iterator[None]:
    """Hold the lock of a download; the operating system frees it when a process ends in any way."""
    from filelock import FileLock, Timeout

    lock = FileLock(target.with_name(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _report(f"{url}: another process is downloading it; waiting")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _report(line: str) -> None:
    print(line, file=sys.stderr)


def _complete(url: str, partial: Partial, max_bytes: int, has_checksum: bool) -> None:
    if not has_checksum and partial.validator() is None:
        partial.remove()  # nothing would show whether its bytes are of the file that the server has now
    try:
        ask_again(
            lambda: _transfer(url, partial, max_bytes, has_checksum),
            lambda error: isinstance(error, _Interrupted),
            TRIES,
            BACKOFF_SECONDS,
            arrived=lambda: partial.size,
            on_pause=lambda error, pause: _report(f"{url}: {error}; going on in {pause:g} s"),
        )
    except GivenUpError as stop:
        kept = f"; {partial.size} bytes are kept, run again to go on" if partial.size else ""
        raise InputError(f"{url}: {stop.error}, after {TRIES} tries{kept}") from stop


def _transfer(url: str, partial: Partial, max_bytes: int, has_checksum: bool) -> None:
    """Ask once for what is missing, and append what comes.

    Raises:
        _Interrupted: when the connection or the server failed.
    """
    try:
        with _open(url, partial) as response:
            start = _resume_at(response, partial)
            total = _total_bytes(url, response, start, has_checksum)
            _check_size(url, start, total, max_bytes, partial.data.parent)
            _append(url, response, partial, total, max_bytes)
    except HTTPError as error:
        _explain_status(url, error, partial)
    except (URLError, HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
        _explain_failure(url, getattr(error, "reason", error))
    if total is not None and partial.size < total:
        raise _Interrupted(f"cut off at {partial.size} of {total} bytes")


def _open(url: str, partial: Partial) -> HTTPResponse:
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    if partial.size:
        headers["Range"] = f"bytes={partial.size}-"
    validator = partial.validator()
    if validator is not None:
        headers["If-Range"] = validator
    address = quote(url, safe="%/:=&?~#+!$,;'@()*[]")
    return _opener(url).open(Request(address, headers=headers), timeout=TIMEOUT_SECONDS)


def _opener(url: str) -> OpenerDirector:
    # A proxy has another idea of what localhost is.
    proxies: Mapping[str, str] | None = {} if urlsplit(url).hostname in LOOPBACK else None
    return build_opener(ProxyHandler(proxies), _Redirects)  # type: ignore[arg-type]  # typed as dict


def _resume_at(response: HTTPResponse, partial: Partial) -> int:
    """Where the body of a response starts in the file: where the partial download ends, or at 0, which empties it."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status == 206 and found and int(found[1]) == partial.size:
        return partial.size
    etag = response.headers.get("ETag", "")
    # A weak ETag (W/...) does not promise equal bytes, so HTTP forbids it in If-Range (RFC 9110, 13.1.5).
    strong = etag if etag and not etag.startswith("W/") else None
    partial.restart(strong or response.headers.get("Last-Modified"))
    if response.status == 206:
        raise _Interrupted("the server sent another part than asked for")
    return 0


def _total_bytes(url: str, response: HTTPResponse, start: int, has_checksum: bool) -> int | None:
    """Size of the whole file; None if the server doesn't send it, but a cut would be seen all the same.

    Raises:
        InputError: when a cut could not be seen, or what comes is a web page.
    """
    if response.headers.get_content_type() == "text/html":
        raise InputError(f"{url}: expected a model's file, got a web page; give the address of the file itself")
    if response.length is not None:
        return start + response.length
    if not (response.chunked or has_checksum):
        raise InputError(
            f"{url}: the server doesn't send the file's size, so a broken download could not be recognised; "
            "give the checksum at the end of the address (#sha256=HEX), or download it yourself"
        )
    return None


def _check_size(url: str, start: int, total: int | None, max_bytes: int, folder: Path) -> None:
    if total is None:
        return
    if total > max_bytes:
        raise InputError(f"{url}: expected at most {max_bytes} bytes, the server announces {total}")
    free = shutil.disk_usage(folder).free
    if total - start > free:
        raise InputError(f"{url}: {total - start} bytes to download, {folder} has {free} bytes free")


def _append(url: str, response: HTTPResponse, partial: Partial, total: int | None, max_bytes: int) -> None:
    start = partial.size
    name = _file_name(urlsplit(url))
    with (
        progress(total=total, unit="B", initial=start, description=name, binary=True) as bar,
        partial.data.open("ab") as file,
    ):
        # read1 returns what is there, so that a slow server moves the bar and loses little when it stops.
        while block := response.read1(CHUNK_BYTES):
            start += len(block)
            if start > max_bytes:
                raise InputError(f"{url}: expected at most {max_bytes} bytes, the server sends more")
            file.write(block)
            bar.update(len(block))


def _explain_status(url: str, error: HTTPError, partial: Partial) -> None:
    """Turn an error status into what the user can do about it, or into a reason for a further try."""
    if error.code == 416:
        partial.remove()
        raise _Interrupted("the server has less than was downloaded before") from error
    # urllib's own reasons, such as that of endless redirects, take several lines.
    answer = f"the server answered {error.code} {one_line(error.reason)}"
    if error.code in PASSING_STATUSES:
        raise _Interrupted(answer) from error
    raise InputError(f"{url}: {answer}: {REASONS.get(error.code, 'it does not give the file')}") from error


def _explain_failure(url: str, reason: Any) -> None:
    """Turn a broken connection into a reason for a further try, unless that would break as well."""
    if isinstance(reason, gaierror | ssl.SSLCertVerificationError):
        raise InputError(
            f"{url}: the server cannot be reached ({one_line(reason)}); without a network, give a local file"
        )
    raise _Interrupted(f"the connection failed ({one_line(reason)})")


def _publish(url: str, partial: Partial, target: Path, sha256: str | None) -> None:
    """Give a whole download its name, after a look at its checksum."""
    if sha256 is not None:
        found = sha256_of(partial.data)
        if found != sha256:
            partial.remove()
            raise InputError(f"{url}: expected the SHA-256 {sha256}, got {found}; the download was removed")
    with partial.data.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial.data, target)
    partial.remove()
