"""What systems and shares leave in folders unasked; it is nobody's work, and no folder is the fuller for it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

LITTER = re.compile(
    r"\.DS_Store|\._.*|\.AppleDouble|__MACOSX|\.Spotlight-V100|\.Trashes|\.fseventsd|\.TemporaryItems"  # macOS
    r"|Thumbs\.db|ehthumbs\.db|desktop\.ini|\$RECYCLE\.BIN|System Volume Information"  # Windows
    r"|lost\+found|\.directory|\.Trash(-\d+)?|\.nfs[0-9a-f]+|\.fuse_hidden.*|\.snapshots?|\.zfs"  # Linux, its shares
    r"|@eaDir|#recycle|\.ipynb_checkpoints",  # storage boxes, notebooks
    re.IGNORECASE,
)
SHOWN = 3


def is_litter(name: str) -> bool:
    """Whether a file or folder of this name is none that anybody put there."""
    return LITTER.fullmatch(name) is not None


def files_of(folder: str | os.PathLike[str]) -> list[str]:
    """Sorted names of what lies in a folder, but for litter; empty where there is no folder."""
    path = Path(folder)
    return sorted(entry.name for entry in path.iterdir() if not is_litter(entry.name)) if path.is_dir() else []


def name_files(names: Iterable[str]) -> str:
    """Names in words: ``a.txt, b.txt, c.txt and 4 more``."""
    listed = sorted(names)
    more = len(listed) - SHOWN
    return ", ".join(listed[:SHOWN]) + (f" and {more} more" if more > 0 else "")
