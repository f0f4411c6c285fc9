"""Draw the pictures of the documents: rows of images for the README's texts, the plot of compared priors, the page.

python benchmarks/pictures.py                 # the README's texts, just as infer.py draws them, and the plot
python benchmarks/pictures.py --only page     # text2latent serve, seen with Chromium
"""

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

from text2latent import infer
from text2latent.benchmarks.browsing import Visitor, browsing
from text2latent.benchmarks.priors.report import RESULTS, Results, save_plot
from text2latent.benchmarks.report import script_parser
from text2latent.benchmarks.server_process import running_server
from text2latent.common.command import CommandParser, check_output_folder, run_command, seed
from text2latent.common.errors import UsageError
from text2latent.inference.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images"
NUM_IMAGES = 4
TEXTS = {
    "woman-glasses": ("faces", "blonde woman with glasses"),
    "josei-megane": ("faces", "眼鏡をかけた金髪の女性"),
    "child-forest": ("faces", "a smiling child with curly red hair in a forest"),
    "obaasan-umi": ("faces", "海辺で微笑むサングラスのおばあさん"),
    "tropical-beach": ("landscapes", "tropical beach with palm trees"),
    "yama-yuugure": ("landscapes", "山の向こうの夕暮れ"),
}
"""Model and text of each picture, by the name of its file."""
PROMPT = "blonde woman with glasses"
JAPANESE = "眼鏡をかけた金髪の女性"
PHONE = 390
PAGE_SEED = 3
SIZES = {1280: 860, PHONE: 844}
"""Height of the window by its width, in pixels: a laptop's and a phone's."""
SCHEMES = ("light", "dark")
QUALITY = 90
Shot = tuple[str, int, str]
SHOWN: tuple[Shot, ...] = (
    ("draw", 1280, "light"),
    ("draw", PHONE, "dark"),
    ("mix", 1280, "dark"),
    ("edit", 1280, "light"),
    ("compare", 1280, "dark"),
    ("upload", 1280, "light"),
)
"""Tab, width and colours of the pictures for the documents."""


def edit_drawn(visitor: Visitor) -> None:
    visitor.draw("a young woman")
    visitor.edit("a woman", "a woman with glasses")


VISITS: dict[str, Callable[[Visitor, Path], None]] = {
    "draw": lambda visitor, _: visitor.draw(JAPANESE if visitor.width == PHONE else PROMPT),
    "mix": lambda visitor, _: visitor.mix("a sad child", "a happy old man"),
    "edit": lambda visitor, _: edit_drawn(visitor),
    "compare": lambda visitor, _: visitor.compare(PROMPT),
    "upload": lambda visitor, picture: visitor.vary_upload(picture),
}
"""What is done on each tab before its picture is taken; the file is a picture to upload."""


def draw_texts(config: Namespace, folder: Path) -> int:
    """Draw a row of images for each text, or as many as go well; returns the exit code."""
    for name, (model, text) in TEXTS.items():
        drawn = ("--model", config.model or model, "--num-images", str(NUM_IMAGES), "--seed", str(config.seed))
        written = ("--grid", "--output", str(folder / f"{name}.png"), "--overwrite")
        code = infer.main(["--text", text, *drawn, *written])
        if code != 0:
            return code
    return 0


def plot_priors(config: Namespace, folder: Path) -> int:
    save_plot(Results.load(Path(config.results) / "priors.json"), folder / "priors.svg")
    return 0


def photograph_page(config: Namespace, folder: Path) -> int:
    """Take pictures of the page's tabs after they have been used."""
    shots = tuple(product(VISITS, SIZES, SCHEMES)) if config.all else SHOWN
    model, address = config.model or DEFAULT_MODEL, config.address
    served = running_server("--model", model) if address is None else nullcontext(address.rstrip("/"))
    with browsing(config.browser) as browser, served as address, tempfile.TemporaryDirectory() as scratch:
        upload = Path(scratch) / "picture.png"
        with Visitor(browser, address) as visitor:
            visitor.lock_seed(PAGE_SEED)
            visitor.draw("an old man with a white beard and a hat")
            upload.write_bytes(visitor.save_selected())
        for shot in shots:
            path = folder / file_name(shot)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(take(browser, address, shot, upload))
            print(path, flush=True)
    return 0


def file_name(shot: Shot) -> str:
    return "page-{}-{}-{}.webp".format(*shot)


def take(browser: Browser, address: str, shot: Shot, upload: Path) -> bytes:
    """A WebP file of a tab that has been used."""
    from PIL import Image

    tab, width, scheme = shot
    locale = "ja-JP" if width == PHONE else "en-US"
    with Visitor(browser, address, width, SIZES[width], scheme, locale) as visitor:
        visitor.lock_seed(PAGE_SEED)
        VISITS[tab](visitor, upload)
        visitor.rest()
        seen = io.BytesIO(visitor.page.screenshot())
    data = io.BytesIO()
    Image.open(seen).convert("RGB").save(data, "WEBP", quality=QUALITY, method=6)
    return data.getvalue()


KINDS = {"texts": draw_texts, "priors": plot_priors, "page": photograph_page}
DEFAULT_KINDS = ("texts", "priors")


def build_parser() -> CommandParser:
    parser = script_parser("pictures", __doc__)
    add = parser.add_argument
    chosen = f"one of {', '.join(KINDS)}; repeat it for several. Default: {', '.join(DEFAULT_KINDS)}."
    add("--only", action="append", metavar="KIND", help=f"Draw these, {chosen}")
    add("--model", default=None, metavar="MODEL",
        help="A zoo name, a run or prior folder, or a checkpoint. Default: the model of each text.")  # fmt: skip
    add("--seed", type=seed, default=0, metavar="N", help="Seed of each text's first image.")
    add("--results", default=str(RESULTS), metavar="FOLDER", help="Folder of the compared priors' results.")
    add("--address", default=None, metavar="URL", help="A page that is served already, instead of a server of its own.")
    add("--browser", default=None, metavar="FILE", help="Chromium's program. Default: what is installed.")
    add("--all", action="store_true", help="Of the page, take every tab, wide and narrow, light and dark.")
    add("--output", default=str(FOLDER), metavar="FOLDER", help="Folder of the pictures; those there are replaced.")
    return parser


def run(config: Namespace) -> int:
    """Draw the chosen pictures, or as many as go well; returns the exit code."""
    chosen = config.only or DEFAULT_KINDS
    unknown = [kind for kind in chosen if kind not in KINDS]
    if unknown:
        raise UsageError(f"--only: expected one of {', '.join(KINDS)}, got {unknown[0]!r}")
    folder = check_output_folder(config.output)
    for kind in chosen:
        if (code := KINDS[kind](config, folder)) != 0:
            return code
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
