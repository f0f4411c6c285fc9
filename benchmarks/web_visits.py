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
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from text2latent.benchmarks.browsing import PATIENCE_SECONDS
from text2latent.common.errors import InputError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

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


class WebVisitor:
    """Somebody with the page in front of them.

    Attributes:
        page: Playwright's page.
        context: the browser's profile, which no other visitor has.
        errors: what the console logged as errors, and uncaught ones.
        foreign: addresses of other servers that were asked for something.
        first_seconds: from opening the address to the first picture.

    Args:
        width: pixels of the window.
        height: likewise.
        scheme: `light` or `dark`, as the visitor's system is set.
        locale: the visitor's language.
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
        colours: Any = "dark" if scheme == "dark" else "light"
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=colours, locale=locale
        )
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(1000 * PATIENCE_SECONDS)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.context.on("request", lambda asked: self._note(asked.url, address))
        started = time.perf_counter()
        self.page.goto(address + query)
        self.wait()
        self.first_seconds = time.perf_counter() - started

    def __enter__(self) -> WebVisitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def _note(self, url: str, address: str) -> None:
        if not url.startswith((address, "data:", "blob:")):
            self.foreign.append(url)

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
