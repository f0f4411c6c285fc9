"""Files and folders that are written whole or not at all, and JSON files that anyone may have written.

Whatever is written lies under a hidden name beside its place until it is finished, and then takes its place by a
rename. A process that is killed meanwhile leaves that hidden file, whose name ends in `.tmp` and says whose it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from text2latent.common.errors import InputError, one_line

TEMPORARY = ".tmp"
"""Ending of the names of what isn't finished."""
MAX_KEPT = 100
"""Most bytes of a file's name in that of what isn't finished: file systems take 255, the host's name included."""
MAX_BYTES = 64 << 20
"""More than any description of a network needs; a larger file is not read into memory."""


@contextlib.contextmanager
def replacing(path: Path, overwrite: bool = True) -> Iterator[Path]:
    """A name beside `path` to write a file or a folder under, which takes its place when all went well.

    Until then, and if the block or the disk fails, what is at `path` stays as it is; nothing else is left. The folder
    of `path` is made if it is missing.

    Args:
        overwrite: whether to replace what is there.

    Raises:
        InputError: when something is there by then that isn't to be replaced.
        OSError: when the disk refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _unfinished(path) as beside:
        yield beside
        if not overwrite and os.path.lexists(path):
            raise InputError(f"{path} exists already; expected a new name, or --overwrite")
        if beside.is_dir():
            replace_folder(beside, path)
        else:
            os.replace(beside, path)


def write_atomic(path: Path, data: bytes | memoryview) -> None:
    """Write a file whole or not at all, on the disk before it gets its name; its folder must be there.

    Raises:
        InputError: when it can't be written (full disk, no permission, ...).
    """
    with _flushed(path, data) as beside:
        os.replace(beside, path)


def create_atomic(path: Path, data: bytes) -> bool:
    """Write a file as `write_atomic` does unless there is one; returns whether it was written.

    Of several processes at the same time one writes: a hard link fails where the name is taken.
    """
    with _flushed(path, data) as beside:
        try:
            os.link(beside, path)
        except FileExistsError:
            return False
        except OSError:  # a disk that knows no hard links
            if path.exists():
                return False
            os.replace(beside, path)
    return True


def write_text(path: Path, text: str) -> None:
    """Write a small file in UTF-8 whole or not at all; see `write_atomic`."""
    write_atomic(path, text.encode())


def replace_folder(source: Path, target: Path) -> None:
    """Rename a finished folder to its place; what lies there goes once the new one has its name.

    Raises:
        OSError: when the disk refuses; what was there before stays.
    """
    if not target.exists():
        os.replace(source, target)
        return
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    os.replace(target, old)
    try:
        os.replace(source, target)
    except BaseException:
        os.replace(old, target)
        raise
    shutil.rmtree(old)


@contextlib.contextmanager
def new_parents(path: Path) -> Iterator[None]:
    """Make the folders that `path` is to lie in; those that were missing go again if what is done then fails."""
    missing = [folder for folder in path.absolute().parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):  # by now it may hold something of somebody else's
                folder.rmdir()
        raise


def is_unfinished(name: str) -> bool:
    """Whether a file of this name is what a process leaves that is killed while it writes."""
    return name.startswith(".") and name.endswith(TEMPORARY)


def remove_unfinished(folder: Path, is_alone: bool = False) -> None:
    """Remove what processes were writing into a folder when they were killed.

    Args:
        folder: need not be there.
        is_alone: whether nobody else can be writing there now, so that also what another machine left goes.
    """
    import psutil

    for path in folder.glob(f".*{TEMPORARY}"):
        *_, pid, _ = path.name.split(".")
        here = path.name.endswith(f".{socket.gethostname()}.{pid}{TEMPORARY}")
        if pid.isdigit() and (is_alone or (here and not psutil.pid_exists(int(pid)))):
            _remove(path)


def read_object(path: Path, what: str) -> dict[str, Any]:
    """The JSON object that a file holds.

    Args:
        what: what it belongs to, for the message, such as `a prior folder`.

    Raises:
        InputError: when the file is missing, unreadable, larger than `MAX_BYTES`, or not a JSON object.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{path}: expected a JSON file of at most {MAX_BYTES >> 20} MiB, got {size >> 20} MiB")
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: expected this file of {what}, it is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected a JSON file, got: {one_line(error)}") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data


@contextlib.contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """A hidden name beside `path` of this thread's own; whatever has it at the end goes."""
    kept = path.name.encode(errors="ignore")[:MAX_KEPT].decode(errors="ignore")
    owner = f"{threading.get_native_id()}.{socket.gethostname()}.{os.getpid()}"
    beside = path.with_name(f".{kept}.{owner}{TEMPORARY}")
    try:
        yield beside
    finally:
        _remove(beside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):  # a disk that refuses to write may also refuse to remove
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _flushed(path: Path, data: bytes | memoryview) -> Iterator[Path]:
    """A file beside `path` whose bytes are on the disk, so that a power cut can't leave a name with few of them."""
    try:
        with _unfinished(path) as beside:
            with open(beside, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield beside
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
