"""The errors that a user can cause and that a command reports in one line instead of a traceback."""

from __future__ import annotations


class InputError(Exception):
    """Something given to the program cannot be used: a file, a folder, a device, a disk, the network.

    The message is one line that names the flag or file, what was found and what was expected.
    """

    exit_code = 1


class UsageError(InputError):
    """A value is wrong in itself: an unknown flag or key, a negative count, NaN, an empty prompt, an unknown model."""

    exit_code = 2


def one_line(error: BaseException, limit: int = 300) -> str:
    """The text of another library's error on one line of at most `limit` characters, or its kind if it has none."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]}..."
