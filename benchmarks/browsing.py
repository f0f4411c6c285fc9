"""A visitor of the page: Chromium through Playwright, and what people do on each tab."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from text2latent.common.errors import InputError
from text2latent.common.extras import require_extra

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_SECONDS = 300.0
"""How long anything may take before a visitor gives up; only a broken page takes so long."""
IS_LOADED = "images => images.length > 0 && images.every(image => image.complete && image.naturalWidth > 0)"


def find_browser() -> str | None:
    """Path of Debian's Chromium or of another one; None without one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def browsing(path: str | None = None, flags: Sequence[str] = ()) -> Iterator[Browser]:
    """A browser without windows.

    Args:
        path: of its program; None takes what `find_browser` finds.
        flags: further ones of its command line.

    Raises:
        InputError: without Playwright or a browser.
    """
    require_extra("a screenshot", "dev", ["playwright"])
    from playwright.sync_api import Error, sync_playwright

    program = path or find_browser()
    if program is None:
        raise InputError("no Chromium found; apt-get install chromium, or name one with --browser")
    # Chromium's sandbox doesn't work for root.
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=program, chromium_sandbox=not is_root, args=["--disable-dev-shm-usage", *flags]
            )
        except Error as error:
            reason = str(error).partition("\n")[0]
            raise InputError(f"--browser: {program} doesn't start: {reason}") from None
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page in a browser profile of its own, and what goes wrong on it.

    Attributes:
        context: the browser's profile, which no other visitor has.
        page: Playwright's page.
        errors: what the browser's console logged as errors, and pages' uncaught ones.
        foreign: addresses of other servers that the page asked for something.

    Args:
        address: the page's, which is not opened yet.
        width: pixels of the window.
        height: likewise.
        scheme: `light` or `dark`, as the visitor's system is set.
        locale: the visitor's language.
        how: further settings of the profile.
    """

    def __init__(
        self, browser: Browser, address: str, width: int, height: int, scheme: str, locale: str, **how: Any
    ) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            locale=locale,
            **how,
        )
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(1000 * PATIENCE_SECONDS)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.context.on("request", lambda asked: self._note(asked.url, address))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def _note(self, url: str, address: str) -> None:
        if not url.startswith((address, "data:", "blob:")):
            self.foreign.append(url)


class Visitor(Watched):
    """Somebody with the page in front of them; arguments as for `Watched`."""

    def __init__(
        self,
        browser: Browser,
        address: str,
        width: int = 1280,
        height: int = 800,
        scheme: str = "light",
        locale: str = "en-US",
    ) -> None:
        super().__init__(browser, address, width, height, scheme, locale, reduced_motion="reduce")
        self.width = width
        self.page.goto(address, wait_until="load")
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until the page's scripts have set it up."""
        self.page.locator("html[data-ready]").wait_for()

    def go_to(self, tab: str) -> None:
        self.page.locator(f"#tab-{tab}").click()
        self.page.locator(f"#{tab}-panel").wait_for()

    def top_of(self, name: str) -> float:
        """Return how many pixels below the top of the window the part `name` begins."""
        box = self.page.locator(f"#{name}").bounding_box()
        if box is None:
            raise ValueError(f"#{name} is not to be seen")
        return box["y"]

    def write(self, name: str, text: str, enter: bool = False) -> None:
        """Type into the text box `name`, and press Enter if `enter`."""
        box = self.page.locator(f"#{name}")
        box.fill(text)
        if enter:
            box.press("Enter")

    def set(self, name: str, value: float) -> None:
        """Move the slider `name`, or fill in a number."""
        slider = "([box, value]) => { box.value = value; box.dispatchEvent(new Event('input', {bubbles: true})); }"
        self.page.evaluate(slider, [self.page.locator(f"#{name}").element_handle(), str(value)])

    def lock_seed(self, seed: int) -> None:
        self.set("seed", seed)
        self.page.locator("#seed-lock").evaluate("box => { box.checked = true; }")

    def click(self, name: str) -> None:
        self.page.locator(f"button#{name}").click()

    def wait_for_pictures(self, *names: str, count: int | None = None) -> None:
        """Wait until something is done, and each of the named parts shows pictures, `count` of them if it is given."""
        for name in names:
            images = self.page.locator(f"#{name} img")
            (images.first if count is None else images.nth(count - 1)).wait_for()
            self.page.wait_for_function(
                f"selector => ({IS_LOADED})([...document.querySelectorAll(selector)])", arg=f"#{name} img"
            )

    def wait_until_idle(self) -> None:
        self.page.wait_for_function("() => !document.querySelector('[aria-busy], .notice.busy')")

    def save_selected(self) -> bytes:
        with self.page.expect_download() as saved:
            self.click("save-png")
        return Path(saved.value.path()).read_bytes()

    def rest(self) -> None:
        """Look at the top of the page, with nothing at work and the pointer out of the way."""
        self.wait_until_idle()
        self.page.mouse.move(0, 0)
        self.page.evaluate("() => { document.activeElement?.blur(); window.scrollTo(0, 0); }")
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def draw(self, prompt: str, count: int = 4) -> None:
        self.write("prompt", prompt, enter=True)
        self.wait_for_pictures("gallery", count=count)
        self.wait_for_pictures("selected-picture")

    def mix(self, start: str, end: str) -> None:
        self.go_to("mix")
        self.write("mix-from", start)
        self.write("mix-to", end, enter=True)
        self.wait_for_pictures("mix-strip", "mix-frame", "selected-picture")

    def edit(self, source: str, target: str) -> None:
        """Change the selected picture by a slider of one's own."""
        self.go_to("edit")
        self.write("edit-from", source)
        self.write("edit-to", target, enter=True)
        self.page.locator("#edit-after").wait_for()
        self.wait_until_idle()

    def compare(self, prompt: str) -> None:
        self.go_to("compare")
        self.write("compare-prompt", prompt, enter=True)
        self.page.locator("#optimised .tile").wait_for()
        self.wait_for_pictures("amortised", "optimised", "selected-picture")

    def vary_upload(self, file: Path) -> None:
        """Draw variations of a picture of one's own."""
        self._upload(file)
        self.click("upload-draw")
        self.wait_for_pictures("upload-gallery", "selected-picture")

    def find_upload(self, file: Path) -> None:
        self._upload(file)
        self.click("upload-find")
        self.wait_for_pictures("upload-gallery", "selected-picture")

    def _upload(self, file: Path) -> None:
        self.go_to("upload")
        self.page.locator("#upload-file").set_input_files(str(file))
        self.wait_for_pictures("upload-image")
