"""`text2latent serve` in a process of its own."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from text2latent.common.errors import InputError

ADDRESS = re.compile(r"https?://\S+")
END_SECONDS = 60.0


@contextlib.contextmanager
def running_server(*flags: str) -> Iterator[str]:
    with server_process(*flags) as (address, _):
        yield address


@contextlib.contextmanager
def server_process(*flags: str) -> Iterator[tuple[str, int]]:
    """Address and process id of a `text2latent serve` with these flags on a free port, which ends with the context.

    Raises:
        InputError: when it doesn't start, with the last line that it wrote.
    """
    command = [sys.executable, "-m", "text2latent", "serve", "--port", "0", *flags]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        try:
            found = ADDRESS.search(process.stdout.readline())
            if found is None:
                errors.seek(0)
                last = (errors.read().strip().splitlines() or ["it wrote nothing"])[-1]
                raise InputError(f"text2latent serve: {last}")
            yield found[0], process.pid
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
            process.kill()
            process.wait()
            process.stdout.close()
