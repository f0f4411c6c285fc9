"""Take the pictures of the page that the README and docs/serving.md show: text2latent serve, seen with Chromium."""

from __future__ import annotations

import io
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from text2latent.benchmarks.browsing import Visitor, browsing
from text2latent.benchmarks.report import script_parser
from text2latent.benchmarks.server_process import running_server
from text2latent.common.command import CommandParser, check_output_folder, run_command

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images"
PROMPT = "blonde woman with glasses"
JAPANESE = "眼鏡をかけた金髪の女性"
SIZES = {1280: 860, 390: 844}
"""Height of the window by its width, in pixels: a laptop's and a phone's."""
SCHEMES = ("light", "dark")
QUALITY = 90
Shot = tuple[str, int, str]
SHOWN: tuple[Shot, ...] = (
    ("draw", 1280, "light"),
    ("draw", 390, "dark"),
    ("mix", 1280, "dark"),
    ("edit", 1280, "light"),
    ("compare", 1280, "dark"),
    ("upload", 1280, "light"),
)
"""Tab, width and colours of the pictures for the documents."""
VISITS: dict[str, Callable[[Visitor, Path], None]] = {
    "draw": lambda visitor, _: visitor.draw(JAPANESE if visitor.width == 390 else PROMPT),
    "mix": lambda visitor, _: visitor.mix("a sad child", "a happy old man"),
    "edit": lambda visitor, _: visitor.edit("a young woman", "a woman", "a woman with glasses"),
    "compare": lambda visitor, _: visitor.compare(PROMPT),
    "upload": lambda visitor, picture: visitor.vary_upload(picture),
}
"""What is done on each tab before its picture is taken; the file is a picture to upload."""


def build_parser() -> CommandParser:
    """The flags of this script."""
    parser = script_parser("page_pictures", __doc__)
    add = parser.add_argument
    add("--model", default="faces", metavar="MODEL", help="What to serve, as for text2latent serve.")
    add("--address", default=None, metavar="URL", help="A page that is served already, instead of a server of its own.")
    add("--browser", default=None, metavar="FILE", help="Chromium's program. Default: what is installed.")
    add("--all", action="store_true", help="Take every tab, wide and narrow, light and dark.")
    add("--output", default=str(FOLDER), metavar="FOLDER", help="Folder of the pictures; those there are replaced.")
    return parser


def run(config: Namespace) -> None:
    """Take the pictures."""
    folder = check_output_folder(config.output)
    shots = tuple(product(VISITS, SIZES, SCHEMES)) if config.all else SHOWN
    served = (
        running_server("--model", config.model) if config.address is None else nullcontext(config.address.rstrip("/"))
    )
    with browsing(config.browser) as browser, served as address, tempfile.TemporaryDirectory() as scratch:
        upload = Path(scratch) / "picture.png"
        with Visitor(browser, address) as visitor:
            visitor.draw("an old man with a white beard and a hat")
            upload.write_bytes(visitor.fetch("selected-picture"))
        for shot in shots:
            path = folder / file_name(shot)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(take(browser, address, shot, upload))
            print(path, flush=True)


def file_name(shot: Shot) -> str:
    """Name of a picture's file."""
    return "page-{}-{}-{}.webp".format(*shot)


def take(browser: Browser, address: str, shot: Shot, upload: Path) -> bytes:
    """A WebP file of a tab that has been used."""
    from PIL import Image

    tab, width, scheme = shot
    with Visitor(browser, address, width, SIZES[width], scheme) as visitor:
        VISITS[tab](visitor, upload)
        visitor.rest()
        seen = io.BytesIO(visitor.page.screenshot())
    data = io.BytesIO()
    Image.open(seen).convert("RGB").save(data, "WEBP", quality=QUALITY, method=6)
    return data.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
