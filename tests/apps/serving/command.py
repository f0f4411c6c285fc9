"""`text2latent serve` as a user runs it: a process of its own, until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

ADDRESS = re.compile(r"http://\S+")
END_SECONDS = 600.0


@contextlib.contextmanager
def serving_command(*command: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Address and process of a Python command that serves; it gets Ctrl-C at the end of the context.

    Its return code, and the rest of its output through `process.stdout` and `process.stderr`, are known afterwards.
    """
    if sys.platform == "win32":
        pytest.skip("Ctrl-C can't be sent to one process alone on Windows")
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=surroundings
    )
    try:
        assert process.stdout is not None
        found = ADDRESS.search(process.stdout.readline())
        assert found, process.communicate()
        yield found[0], process
        process.send_signal(signal.SIGINT)
        process.wait(END_SECONDS)
    finally:
        process.kill()
        process.wait()
