"""A visitor of a page that draws in the browser, and a server of its files: Chromium through Playwright."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from text2latent.benchmarks.browsing import Watched
from text2latent.common.errors import InputError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ADDRESS = re.compile(r"http://\S+?/")
SETTLED = "() => document.querySelector('#pictures').ariaBusy === 'false'"


@contextmanager
def file_server(folder: Path) -> Iterator[str]:
    """Address of Python's own server of files, `python -m http.server`, on a free port; it ends with the context.

    Raises:
        InputError: when it doesn't start.
    """
    flags = ["--bind", "127.0.0.1", "--directory", str(folder), "0"]
    command = [sys.executable, "-u", "-m", "http.server", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            found = ADDRESS.search(process.stdout.readline())
            if found is None:
                raise InputError(f"{folder}: http.server doesn't start")
            yield found[0]
        finally:
            process.terminate()


class WebVisitor(Watched):
    """Somebody with the page in front of them; arguments as for `Watched`.

    Attributes:
        first_seconds: from opening the address to the first picture.

    Args:
        query: behind the address, as `?device=wasm`.
    """

    def __init__(
        self,
        browser: Browser,
        address: str,
        width: int = 1280,
        height: int = 860,
        scheme: str = "light",
        locale: str = "en-US",
        query: str = "",
    ) -> None:
        super().__init__(browser, address, width, height, scheme, locale)
        started = time.perf_counter()
        self.page.goto(address + query)
        self.wait()
        self.first_seconds = time.perf_counter() - started

    def wait(self) -> None:
        """Wait until all that was asked for is drawn, or refused."""
        self.page.wait_for_function(SETTLED)

    def wait_until_offline(self) -> None:
        """Wait until the page says that it needs no network any more."""
        self.page.locator("#offline").wait_for()

    def write(self, name: str, text: str) -> None:
        """Write into the text box `name`, and wait for what is drawn of it."""
        self.page.locator(f"#{name}").fill(text)
        self.wait()

    def open(self, name: str) -> None:
        """Open a group of settings, `mix`, `edit` or `settings`, or close it, and wait for what is drawn then."""
        self.page.locator(f"#{name} summary").click()
        # Browsers tell pages of it a moment later.
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.wait()

    def slide(self, name: str, value: float) -> None:
        self.page.locator(f"#{name}").fill(str(value))
        self.wait()

    def choose_count(self, count: int) -> None:
        self.page.locator(f"#count input[value='{count}']").check()
        self.wait()

    def labels(self) -> list[str | None]:
        """What the pictures are called, for those who don't see them."""
        return [tile.get_attribute("aria-label") for tile in self.page.locator(".tile").all()]

    def milliseconds(self) -> float:
        """What the page says that the selected picture took."""
        found = re.search(r"(\d+) (ms|ミリ秒)", self.page.locator("#facts").inner_text())
        assert found is not None
        return float(found[1])

    def save(self) -> tuple[str, np.ndarray, Mapping[str, str]]:
        """Name, levels `[H, W, C]` and texts of the file that `Save PNG` gives."""
        with self.page.expect_download() as saving:
            self.page.locator("#save").click()
        data = Path(saving.value.path()).read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            return saving.value.suggested_filename, np.asarray(picture), dict(getattr(picture, "text", {}))
