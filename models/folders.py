"""Folders that are replaced as a whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


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
