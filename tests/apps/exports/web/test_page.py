"""The page in Chromium, on a folder that `python -m http.server` serves: it draws what `infer` draws, offline too."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from text2latent.benchmarks.web_visits import WebVisitor, file_server
from text2latent.tests.apps.exports.alone import JAPANESE, NOISY_SHARE
from text2latent.tests.apps.exports.web.conftest import ELSEWHERE, Visit
from text2latent.tests.pictures import Infer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TEXT = "a red house by the sea"
Drawn = tuple[np.ndarray, dict[str, Any]]


@pytest.fixture
def draw(run_infer: Infer, tmp_path: Path) -> Callable[..., Drawn]:
    """Levels, and texts of the file, of the one picture that infer draws with some flags."""

    def draw(*flags: str) -> Drawn:
        assert run_infer(*flags, "--output", "one.png", "--overwrite")[0] == 0
        with Image.open(tmp_path / "one.png") as picture:
            return np.asarray(picture), dict(picture.text)  # type: ignore[attr-defined]

    return draw


def assert_nearly_same(one: np.ndarray, other: np.ndarray) -> None:
    """Refuse pictures whose few values differ by more than rounding, which random weights enlarge."""
    differences = np.abs(one.astype(int) - other.astype(int))
    assert differences.max() <= 1
    assert (differences > 0).mean() <= 5 * NOISY_SHARE


@pytest.fixture(scope="module")
def visitor(browser: Browser, tiny_address: str) -> Iterator[WebVisitor]:
    """Somebody who only writes texts and seeds, for several tests."""
    with WebVisitor(browser, tiny_address) as visitor:
        yield visitor
        assert (visitor.errors, visitor.foreign) == ([], [])


def recorded(texts: dict[str, str]) -> dict[str, Any]:
    """The recipe in a file's texts, without CLIP's scores, which the page doesn't compute."""
    recipe = json.loads(texts["text2latent"])
    return {**recipe, "images": [{**image, "clip_score": None} for image in recipe["images"]]}


@pytest.mark.parametrize(
    ("text", "seed"),
    [(TEXT, 0), (JAPANESE, 7), ("a hat:1.5 | ｈｏｕｓｅ:-0.5 | sea", 2**40 + 3), ("“It’s” &amp; <b>", 1)],
)
def test_a_text_and_a_seed_give_the_file_of_infer(
    visitor: WebVisitor, draw: Callable[..., Drawn], text: str, seed: int
) -> None:
    visitor.write("seed", str(seed))
    visitor.write("text", text)
    name, levels, texts = visitor.save()
    expected, recipe = draw("--text", text, "--seed", str(seed))
    assert_nearly_same(levels, expected)
    assert texts.keys() == recipe.keys()
    assert recorded(dict(texts)) == recorded(recipe)
    assert {**texts, "text2latent": ""} == {**recipe, "text2latent": ""}
    assert name.endswith(f"-{seed}.png")


def test_guidance_is_that_of_infer(visit: Visit, tiny_address: str, draw: Callable[..., Drawn]) -> None:
    visitor = visit(tiny_address)
    visitor.write("text", TEXT)
    visitor.open("settings")
    visitor.slide("guidance", 2.5)
    expected, recipe = draw("--text", TEXT, "--guidance-scale", "2.5")
    _, levels, texts = visitor.save()
    assert_nearly_same(levels, expected)
    assert recorded(dict(texts)) == recorded(recipe)


def test_mixing_gives_the_frames_of_an_interpolation(
    visit: Visit, tiny_address: str, run_infer: Infer, tmp_path: Path
) -> None:
    visitor = visit(tiny_address)
    visitor.write("text", TEXT)
    visitor.open("mix")
    visitor.write("mix-text", "a hat")
    assert run_infer("--interpolate", TEXT, "a hat", "--frames", "21", "--output", "way.png")[0] == 0
    sheet = np.asarray(Image.open(tmp_path / "way.png"))
    for frame in (0, 5, 20):
        visitor.slide("fraction", frame / 20)
        _, levels, texts = visitor.save()
        start = frame * (levels.shape[1] + 2)
        assert_nearly_same(levels, sheet[:, start : start + levels.shape[1]])
        assert texts["prompt"] == f"{TEXT} -> a hat, {frame / 20:.3g}"
    visitor.open("mix")
    assert visitor.save()[2]["prompt"] == TEXT


def test_a_change_is_that_of_infer(visit: Visit, tiny_address: str, draw: Callable[..., Drawn]) -> None:
    visitor = visit(tiny_address)
    visitor.write("text", TEXT)
    visitor.open("edit")
    visitor.write("from", "a house")
    visitor.write("to", "帽子")
    visitor.slide("strength", -1.5)
    expected, recipe = draw("--text", TEXT, "--edit", "a house", "帽子", "--strength=-1.5")
    _, levels, texts = visitor.save()
    assert_nearly_same(levels, expected)
    assert recorded(dict(texts)) == recorded(recipe)
    assert texts["prompt"] == recipe["prompt"]


def test_all_goes_on_without_a_network_once_the_page_has_loaded(visit: Visit, tiny_site: Path) -> None:
    with file_server(tiny_site) as address:
        visitor = visit(address)
        visitor.write("text", TEXT)
        visitor.wait_until_offline()
        _, before, _ = visitor.save()
    visitor.context.set_offline(True)
    visitor.write("text", "a hat")
    _, other, _ = visitor.save()
    assert (np.abs(other.astype(int) - before) > 0).mean() > 10 * NOISY_SHARE
    visitor.page.reload()
    visitor.wait()
    assert visitor.page.locator("#text").input_value() == "a hat"
    visitor.write("text", TEXT)
    np.testing.assert_array_equal(visitor.save()[1], before)
    # The browser's console tells of each file that was asked for in vain before the kept one was taken.
    assert all("ERR_INTERNET_DISCONNECTED" in error for error in visitor.errors)
    visitor.errors.clear()


def test_four_pictures_have_four_seeds_and_one_of_them_can_be_kept(visit: Visit, tiny_address: str) -> None:
    visitor = visit(tiny_address)
    visitor.write("text", TEXT)
    visitor.write("seed", "5")
    visitor.choose_count(4)
    assert visitor.labels() == [f"Picture {i + 1}, seed {5 + i}: {TEXT}" for i in range(4)]
    visitor.page.locator(".tile").nth(1).click()
    visitor.page.keyboard.press("ArrowDown")
    _, chosen, texts = visitor.save()
    assert texts["seed"] == "8"
    visitor.page.locator("#only").click()
    visitor.wait()
    assert visitor.labels() == [f"Picture 1, seed 8: {TEXT}"]
    np.testing.assert_array_equal(visitor.save()[1], chosen)


def test_pictures_follow_the_typing_and_enter_draws_another(visit: Visit, tiny_address: str) -> None:
    visitor = visit(tiny_address)
    box = visitor.page.locator("#text")
    box.fill("")
    box.press_sequentially("a hat in the sea", delay=5)
    visitor.wait()
    assert visitor.labels() == ["Picture 1, seed 0: a hat in the sea"]
    before = visitor.save()[1]
    box.press("Enter")
    visitor.wait()
    assert box.input_value() == "a hat in the sea"
    assert visitor.page.locator("#seed").input_value() != "0"
    assert (visitor.save()[1] != before).any()


def test_what_was_wished_before_is_dropped(visit: Visit, tiny_address: str) -> None:
    visitor = visit(tiny_address)
    answers = visitor.page.evaluate(
        """async () => {
            const { Artist } = await import('./scripts/artist.js');
            const { loadModel } = await import('./scripts/model.js');
            const model = await loadModel();
            const drawn = [];
            let artist;
            await new Promise(ready => { artist = new Artist(model, 'wasm', {
                onProgress() {}, onReady: ready, onBroken: message => drawn.push(message), onRefused() {},
                onPicture: (_, wish, seed) => drawn.push([wish.text, seed]), onDone: () => artist.finish?.(),
            }); });
            const done = new Promise(finish => { artist.finish = finish; });
            for (const text of ['a', 'b', 'c', 'd']) {
                artist.draw({ text, mix: null, edit: null, guidanceScale: 1 }, [1, 2, 3, 4]);
            }
            await done;
            return drawn;
        }"""
    )
    assert answers == [["d", seed] for seed in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "Write what the picture should show."),
        ("a:1 | b:-1", "The weights should add up to more than 0."),
        ("a:1 | a:-1 | a:0.00001", "The parts cancel each other out."),
    ],
)
def test_a_text_that_cannot_be_drawn_is_answered_in_a_line(visitor: WebVisitor, text: str, line: str) -> None:
    visitor.write("text", text)
    assert visitor.page.locator("#problem").inner_text() == line
    visitor.write("text", TEXT)
    assert visitor.page.locator("#problem").inner_text() == ""


def test_the_page_speaks_the_visitors_language_until_they_choose(visit: Visit, tiny_address: str) -> None:
    visitor = visit(tiny_address, locale="ja-JP")
    page = visitor.page
    assert page.locator("#save").inner_text() == "PNG を保存"
    assert page.locator("#text").input_value() == "帽子"
    assert page.locator("#examples button").all_inner_texts() == ["帽子"]
    page.locator("#languages [value=en]").click()
    assert page.locator("#save").inner_text() == "Save PNG"
    assert page.locator("#examples button").all_inner_texts() == ["a hat"]
    page.reload()
    visitor.wait()
    assert page.evaluate("document.documentElement.lang") == "en"
    shown = page.locator("body").inner_text()
    assert not re.findall(r"[\u3040-\u30ff\u4e00-\u9fff]+", shown.replace("日本語", ""))


def test_every_text_is_there_in_both_languages_and_used(tiny_site: Path) -> None:
    scripts = {path.name: path.read_text() for path in (tiny_site / "scripts").glob("*.js")}
    names = re.findall(r"^  (\w+): \[", scripts.pop("texts.js"), re.MULTILINE)
    used = (tiny_site / "index.html").read_text() + "".join(scripts.values())
    problems = re.findall(r"'(\w+)'", re.search(r"@typedef \{([^}]+)\} Problem", scripts["prompt.js"])[1])  # type: ignore[index]
    spoken = {*re.findall(r"data-(?:text|label|title|hint)=\"(\w+)\"", used), *re.findall(r"say\('(\w+)'", used)}
    spoken |= {f"problem_{problem}" for problem in problems} | {"loading_bytes", "preparing", "facts", "facts_webgpu"}
    assert len(names) == len(set(names))
    assert set(names) == spoken


def test_nothing_is_wider_than_the_window_and_targets_are_large(visit: Visit, tiny_address: str) -> None:
    visitor = visit(tiny_address)
    for name in ("mix", "edit", "settings"):
        visitor.open(name)
    for width in (390, 800, 1280, 1920):
        visitor.page.set_viewport_size({"width": width, "height": 860})
        assert_fits(visitor)


def assert_fits(visitor: WebVisitor) -> None:
    assert visitor.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    sizes = visitor.page.evaluate(
        """[...document.querySelectorAll('button:not(.tile, #examples *), input:not([type=range]), textarea, summary')]
            .filter(one => one.offsetParent)
            .map(one => one.getBoundingClientRect())
            .map(one => [one.width, one.height])"""
    )
    assert len(sizes) >= 12
    assert min(min(size) for size in sizes) >= 43.5


@contextmanager
def serving(folder: Path, headers: Callable[[str], Mapping[str, str]]) -> Iterator[str]:
    """Address of a server of files that sends further headers with some paths."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            for name, value in headers(self.path).items():
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, *_: object) -> None: ...

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_page_that_is_isolated_computes_with_threads(visit: Visit, tiny_site: Path) -> None:
    """The headers that the folder's card asks a static Space for let the browser share memory between threads."""
    card = (tiny_site / "README.md").read_text()
    headers = dict(re.findall(r"^  (cross-origin-\S+): (\S+)$", card, re.MULTILINE))
    assert len(headers) == 3
    with serving(tiny_site, lambda _: headers) as address:
        visitor = visit(address)
        assert visitor.page.evaluate("crossOriginIsolated")
        assert visitor.labels() == ["Picture 1, seed 0: a hat"]


def test_servers_that_have_browsers_unpack_parts_are_understood(visit: Visit, tiny_site: Path) -> None:
    with serving(tiny_site, lambda path: {"Content-Encoding": "gzip"} if path.endswith(".gz") else {}) as address:
        assert visit(address).labels() == ["Picture 1, seed 0: a hat"]


def test_progress_is_shown_and_what_was_fetched_is_not_fetched_again(browser: Browser, tiny_address: str) -> None:
    page = browser.new_context().new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(tiny_address, wait_until="commit")
    shown = page.wait_for_function("() => document.querySelector('#loading-text').textContent.match(/of (.+) MB/)?.[1]")
    parts = json.loads(page.request.get(f"{tiny_address}model.json").text())["parts"]
    wanted = [part["bytes"] for name, part in parts.items() if "asyncify" not in name]
    assert shown.json_value() == f"{sum(wanted) / 1e6:.1f}"
    page.locator("#offline").wait_for()
    assert page.locator("#loading").is_hidden()
    assert sum("/parts/" in url for url in asked) == len(wanted)
    asked.clear()
    page.reload()
    page.locator("#offline").wait_for()
    assert asked
    assert not [url for url in asked if "/parts/" in url]
    page.context.close()


def test_a_page_that_came_over_plain_http_draws_all_the_same(visit: Visit, tiny_address: str) -> None:
    visitor = visit(tiny_address.replace("127.0.0.1", ELSEWHERE))
    assert not visitor.page.evaluate("isSecureContext")
    visitor.write("text", TEXT)
    assert visitor.labels() == [f"Picture 1, seed 0: {TEXT}"]
    assert visitor.page.locator("#offline").is_hidden()


def test_visitors_who_allow_no_storage_are_drawn_for(visit: Visit, tiny_address: str) -> None:
    visitor = visit(tiny_address)
    refuse = (
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError'); } })"
    )
    visitor.page.add_init_script(refuse)
    visitor.page.reload()
    visitor.write("text", TEXT)
    visitor.page.locator("#languages [value=ja]").click()
    assert visitor.labels() == [f"1 枚目、シード 0：{TEXT}"]


def test_a_part_that_is_missing_is_named(browser: Browser, tiny_site: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_site, tmp_path / "site"))
    (missing,) = folder.glob("parts/*sampler*")
    missing.unlink()
    with file_server(folder) as address, WebVisitor(browser, address) as visitor:
        line = visitor.page.locator("#problem").inner_text()
        assert line.startswith("This browser could not draw: ")
        assert f"/parts/{missing.name}: 404" in line
