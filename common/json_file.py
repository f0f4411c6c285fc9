"""JSON files that anyone may have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from text2latent.common.errors import InputError, one_line

MAX_BYTES = 64 << 20
"""More than any description of a network needs; a larger file is not read into memory."""


def read_object(path: Path, what: str) -> dict[str, Any]:
    """The JSON object that a file holds.

    Args:
        path: the file.
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
