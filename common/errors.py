"""The errors that a user can cause and that a command reports in one line instead of a traceback."""

from __future__ import annotations

import re

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
"""Sequences that set a terminal's colours or move its cursor."""


class InputError(Exception):
    """Something given to the program cannot be used: a file, a folder, a device, a disk, the network.

    The message is one line that names the flag or file, what was found and what was expected.
    """

    exit_code = 1


class UsageError(InputError):
    """A value is wrong in itself: an unknown flag or key, a negative count, NaN, an empty prompt, an unknown model."""

    exit_code = 2


def one_line(text: object, limit: int | None = 300) -> str:
    """The text of another library's error, or any text, on one line of at most `limit` characters and an ellipsis.

    An error without a text gives the name of its kind. None is no limit. What is for a terminal, such as colours, and
    other characters that can't be seen are left out.
    """
    seen = "".join(char if char.isprintable() else " " for char in ESCAPES.sub("", str(text)))
    line = " ".join(seen.split())
    if not line and isinstance(text, BaseException):
        return type(text).__name__
    return line if limit is None or len(line) <= limit else f"{line[:limit]}..."


def named_line(error: BaseException, limit: int = 200) -> str:
    """The kind of an error and its text on one line, for errors whose text alone says little."""
    kind, line = type(error).__name__, one_line(error, limit)
    return kind if line == kind else f"{kind}: {line}"
