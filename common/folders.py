"""Folders that are replaced as a whole."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


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
