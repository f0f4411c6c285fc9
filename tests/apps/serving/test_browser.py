"""The page in Debian's Chromium: what people do, and what they see."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from PIL import Image

from text2latent.benchmarks.browsing import PATIENCE_SECONDS, Visitor, browsing, find_browser
from text2latent.benchmarks.pictures import take

pytest.importorskip("playwright", reason="playwright of the extra [dev] is not installed")
pytest.importorskip("gradio", reason="gradio of the extra [serve] is not installed")

from gradio.utils import get_upload_folder

from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.page.visits import Left

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.skipif(find_browser() is None, reason="no Chromium here; apt-get install chromium")
CAPTION = re.compile(r"CLIP -?\d\.\d\d · seed \d+ · [\d.]+ (ms|s)")
Visit = Callable[..., Visitor]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, page_address: str) -> Iterator[Visit]:
    """Opens the page for a visitor; in the end, none may have met an error, another server or a folder of this one."""
    visitors: list[Visitor] = []
    asked: list[str] = []

    def open_page(**how: Any) -> Visitor:
        visitors.append(Visitor(browser, page_address, **how))
        visitors[-1].page.on("request", lambda request: asked.append(unquote(request.url)))
        return visitors[-1]

    yield open_page
    for visitor in visitors:
        visitor.__exit__()
        assert (visitor.errors, visitor.foreign) == ([], [])
    assert not [address for address in asked if get_upload_folder() in address]


def captions(visitor: Visitor, gallery: str = "gallery") -> list[str]:
    return visitor.page.locator(f"#{gallery} .caption-label").all_inner_texts()


def text_of(visitor: Visitor, name: str) -> str:
    return visitor.page.locator(f"#{name}").inner_text()


def wait_for_text(visitor: Visitor, name: str, text: str) -> None:
    visitor.page.locator(f"#{name}").filter(has_text=text).wait_for()


def source_of(visitor: Visitor, gallery: str) -> str | None:
    return visitor.page.locator(f"#{gallery} img").first.get_attribute("src")


def wait_for_another(visitor: Visitor, gallery: str, before: str | None) -> None:
    """Wait until the first picture of a gallery is another than before."""
    is_new = "([selector, before]) => ![null, before].includes(document.querySelector(selector)?.src ?? null)"
    visitor.page.wait_for_function(is_new, arg=[f"#{gallery} img", before])


def set_number(visitor: Visitor, slider: str, value: float) -> None:
    box = visitor.page.locator(f"#{slider} input[type=number]")
    box.fill(str(value))
    box.press("Tab")


def top_of(visitor: Visitor, name: str) -> float:
    box = visitor.page.locator(f"#{name}").bounding_box()
    assert box is not None
    return box["y"]


def wait_for_outlines(visitor: Visitor, **expected: int | None) -> None:
    """Wait until, of each gallery's pictures, the one of this index is outlined, or with None none is."""
    outlined = """expected => Object.entries(expected).every(([name, index]) => {
        const tiles = [...document.querySelectorAll(`#${name} .thumbnail-item`)];
        return tiles.length > 0 && tiles.every((tile, i) => tile.classList.contains('selected') === (i === index));
    })"""
    visitor.page.wait_for_function(outlined, arg={name.replace("_", "-"): index for name, index in expected.items()})


def is_wider_than_the_window(visitor: Visitor) -> bool:
    return visitor.page.evaluate("() => document.documentElement.scrollWidth > window.innerWidth")


def test_a_prompt_and_enter_draw_four_pictures_that_can_be_taken_along_and_varied(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    before = top_of(visitor, "gallery")
    visitor.draw("blonde woman with glasses")
    assert abs(top_of(visitor, "gallery") - before) <= 1
    shown = captions(visitor)
    assert len(shown) == 4
    assert all(map(CAPTION.fullmatch, shown))
    assert [re.findall(r"seed (\d+)", one)[0] for one in shown] == ["0", "1", "2", "3"]

    visitor.page.locator("#gallery button").nth(2).click()
    wait_for_text(visitor, "selected-facts", "blonde woman with glasses")
    visitor.page.locator("#selected-picture img[src*='-2.png']").wait_for()
    with visitor.page.expect_download() as saved:
        visitor.page.locator("#save-png").click()
    saved.value.save_as(tmp_path / "saved.png")
    with Image.open(tmp_path / "saved.png") as picture:
        assert picture.info["prompt"] == "blonde woman with glasses"
    visitor.page.locator("#reproduce button").first.click()
    wait_for_text(visitor, "command", "--seed 2")
    wait_for_text(visitor, "python", "seeds=[2]")

    before = source_of(visitor, "gallery")
    visitor.click("vary")
    wait_for_another(visitor, "gallery", before)
    visitor.wait_for_pictures("gallery", count=4)


def test_refining_starts_from_the_picture_that_was_clicked(visit: Visit) -> None:
    visitor = visit()
    visitor.page.locator("#advanced button").first.click()
    set_number(visitor, "refine-steps", 2)
    set_number(visitor, "steps", 2)
    set_number(visitor, "num-images", 1)
    visitor.draw("an old man", 1)
    visitor.click("refine")
    wait_for_text(visitor, "notice", "→")
    visitor.wait_for_pictures("gallery", count=2)


def test_a_japanese_visitor_reads_and_writes_japanese(visit: Visit) -> None:
    visitor = visit(locale="ja-JP")
    assert visitor.page.locator("#draw").inner_text() == "描く"
    visitor.draw("眼鏡をかけた金髪の女性")
    wait_for_text(visitor, "notice", "枚")
    assert re.fullmatch(r"4 枚, [\d.]+ (ms|s)", text_of(visitor, "notice").strip())
    wait_for_text(visitor, "selected-facts", "眼鏡をかけた金髪の女性")


def test_an_example_is_drawn_by_a_click(visit: Visit) -> None:
    visitor = visit()
    set_number(visitor, "num-images", 1)
    visitor.page.locator("#examples button").nth(1).click()
    visitor.wait_for_pictures("gallery", count=1)
    wait_for_text(visitor, "selected-facts", "an old man with a white beard and a hat")


def test_a_long_text_leaves_the_buttons_in_sight(visit: Visit) -> None:
    visitor = visit()
    set_number(visitor, "num-images", 1)
    visitor.draw("a woman with a hat " * 50, 1)
    wait_for_text(visitor, "selected-facts", "a woman with a hat a woman")
    assert top_of(visitor, "vary") < 800


def test_a_new_seed_draws_others(visit: Visit) -> None:
    visitor = visit()
    visitor.click("new-seed")
    visitor.page.wait_for_function("() => document.querySelector('#seed input').value !== '0'")
    seed = visitor.page.locator("#seed input").input_value()
    set_number(visitor, "num-images", 1)
    visitor.draw("a woman", 1)
    assert f"seed {seed} " in captions(visitor)[0]


def test_errors_are_told_in_words_and_leave_the_pictures_there(visit: Visit) -> None:
    visitor = visit()
    set_number(visitor, "num-images", 1)
    visitor.draw("a woman", 1)
    visitor.write("prompt", "   ")
    visitor.click("draw")
    toast = visitor.page.get_by_test_id("toast-body")
    toast.filter(has_text="Write a text first.").wait_for()
    assert "Traceback" not in toast.inner_text()
    assert visitor.page.locator("#gallery img").first.is_visible()


def test_a_prompt_beyond_the_model_is_warned_of_and_nothing_moves(visit: Visit) -> None:
    visitor = visit()
    before = top_of(visitor, "gallery")
    visitor.draw("quantum physics")
    wait_for_text(visitor, "notice", "beyond what the model can draw")
    assert abs(top_of(visitor, "gallery") - before) <= 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_within_390_pixels(visit: Visit, scheme: str) -> None:
    visitor = visit(width=390, height=844, scheme=scheme)
    background = visitor.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", background)[0]) < 128) == (scheme == "dark")
    visitor.draw("a woman with a hat")
    for tab in ("draw", "mix", "edit", "compare", "upload"):
        visitor.go_to(tab)
        assert not is_wider_than_the_window(visitor), tab
    visitor.go_to("draw")
    assert top_of(visitor, "draw") < top_of(visitor, "gallery") < top_of(visitor, "selected-picture")
    box = visitor.page.locator("#gallery").bounding_box()
    assert box is not None
    assert box["width"] >= 350
    assert not visitor.page.locator("footer .divider").first.is_visible()


def test_mixing_shows_a_strip_and_the_slider_moves_along_it(visit: Visit) -> None:
    visitor = visit()
    visitor.go_to("mix")
    set_number(visitor, "mix-frames", 3)
    visitor.mix("a sad child", "a happy old man")
    visitor.wait_for_pictures("mix-strip", count=3)
    first = source_of(visitor, "mix-frame")
    visitor.page.locator("#mix-strip button").nth(2).click()
    wait_for_another(visitor, "mix-frame", first)
    assert float(visitor.page.locator("#mix-position input[type=number]").input_value()) == 1
    with visitor.page.expect_download() as saved:
        visitor.page.locator("#mix-save").click()
    assert saved.value.suggested_filename.endswith(".gif")


def test_editing_the_selected_picture_and_moving_its_strength(visit: Visit) -> None:
    visitor = visit()
    set_number(visitor, "num-images", 1)
    visitor.draw("a young woman", 1)
    visitor.edit("", "a woman", "a woman with glasses")
    after = source_of(visitor, "edit-after")
    slider = visitor.page.locator("#strength input[type=range]")
    slider.focus()
    slider.press("ArrowRight")
    slider.dispatch_event("pointerup")
    wait_for_another(visitor, "edit-after", after)


def test_comparing_shows_two_pictures_and_their_times(visit: Visit) -> None:
    visitor = visit()
    visitor.go_to("compare")
    set_number(visitor, "iterations", 2)
    visitor.compare("a man with a beard")
    wait_for_text(visitor, "compare-notice", "×")
    assert re.search(r"Prior: .* Optimisation: .*\d×", text_of(visitor, "compare-notice"))


@pytest.mark.parametrize("way", ["nothing written", "refused by the engine"])
def test_after_an_error_a_comparison_can_be_started(visit: Visit, way: str) -> None:
    visitor = visit()
    if way != "nothing written":
        visitor.page.locator("#advanced button").first.click()
        visitor.write("negative", "a hat |")
    visitor.go_to("compare")
    set_number(visitor, "iterations", 2)
    visitor.write("compare-prompt", "" if way == "nothing written" else "a man", enter=True)
    visitor.page.get_by_test_id("toast-body").wait_for()
    visitor.page.locator("#compare").wait_for()
    assert not visitor.page.locator("#compare-stop").is_visible()
    if way == "nothing written":
        visitor.compare("a man with a beard")
        visitor.page.locator("#compare").wait_for()


def test_the_selected_picture_alone_is_outlined(visit: Visit) -> None:
    visitor = visit()
    set_number(visitor, "num-images", 2)
    visitor.draw("a young woman", 2)
    wait_for_outlines(visitor, gallery=0)
    visitor.page.locator("#gallery button").nth(1).click()
    wait_for_text(visitor, "selected-facts", "1")
    wait_for_outlines(visitor, gallery=1)
    visitor.draw("an old man", 2)
    wait_for_text(visitor, "selected-facts", "an old man")
    wait_for_outlines(visitor, gallery=0)
    visitor.edit("", "a man", "a man with glasses")
    wait_for_outlines(visitor, gallery=None, edit_before=None, edit_after=0)
    visitor.page.locator("#edit-before button").first.click()
    wait_for_outlines(visitor, gallery=None, edit_before=0, edit_after=None)
    visitor.go_to("mix")
    set_number(visitor, "mix-frames", 3)
    visitor.mix("a sad child", "a happy old man")
    wait_for_outlines(visitor, mix_strip=0, mix_frame=0, edit_before=None, edit_after=None)
    set_number(visitor, "mix-position", 1)
    wait_for_outlines(visitor, mix_strip=2, mix_frame=0)


@pytest.fixture
def comparisons(faces_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[Future[Any]]:
    """Of all comparisons that are asked for."""
    asked: list[Future[Any]] = []
    submit = faces_engine.submit_compare

    def noted(*arguments: Any, client: str | None = None) -> Future[Any]:
        asked.append(submit(*arguments, client=client))
        return asked[-1]

    monkeypatch.setattr(faces_engine, "submit_compare", noted)
    return asked


@pytest.mark.parametrize("way", ["stop", "close"])
def test_a_comparison_ends_when_it_is_stopped_or_its_page_is_closed(
    visit: Visit, comparisons: list[Future[Any]], way: str
) -> None:
    visitor = visit()
    visitor.go_to("compare")
    button = visitor.page.locator("#compare").bounding_box()
    set_number(visitor, "iterations", 500)
    visitor.write("compare-prompt", "a man with a beard", enter=True)
    wait_for_text(visitor, "optimised", "optimising")
    assert visitor.page.locator("#compare-stop").bounding_box() == button
    assert not visitor.page.locator("#compare").is_visible()
    if way == "stop":
        visitor.click("compare-stop")
        wait_for_text(visitor, "compare-notice", "Stopped.")
        visitor.page.locator("#compare").wait_for()
        visitor.wait_until_idle()
    else:
        visitor.page.close()
    assert isinstance(comparisons[0].exception(PATIENCE_SECONDS), Left)


def test_uploading_a_picture_draws_variations_of_it(visit: Visit, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "teal").save(tmp_path / "teal.png")
    visitor = visit()
    set_number(visitor, "num-images", 2)
    visitor.vary_upload(tmp_path / "teal.png")
    assert len(captions(visitor, "upload-gallery")) == 2
    wait_for_text(visitor, "selected-facts", "teal")


def test_an_upload_is_found_and_edited(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    set_number(visitor, "num-images", 1)
    visitor.draw("a man", 1)
    with visitor.page.expect_download() as saved:
        visitor.page.locator("#save-png").click()
    saved.value.save_as(tmp_path / "portrait.png")
    visitor.find_upload(tmp_path / "portrait.png")
    wait_for_text(visitor, "selected-facts", "portrait")
    visitor.go_to("edit")
    visitor.page.locator("#edit-from textarea").fill("a man")
    visitor.page.locator("#edit-to textarea").fill("a man with glasses")
    visitor.page.locator("button#edit").click()
    visitor.wait_for_pictures("edit-after", count=1)
    wait_for_text(visitor, "selected-facts", "portrait")


def test_the_endpoints_can_be_read_about_without_other_servers(browser: Browser, page_address: str) -> None:
    asked: list[str] = []
    with browser.new_page() as page:
        page.set_default_timeout(1000 * PATIENCE_SECONDS)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{page_address}/docs")
        page.locator("[id$=draw_images]").wait_for()
        assert page.locator(".opblock").count() >= 6
    assert all(url.startswith((page_address, "data:")) for url in asked)


def test_pictures_of_the_page_can_be_taken(browser: Browser, page_address: str, tmp_path: Path) -> None:
    (tmp_path / "page.webp").write_bytes(take(browser, page_address, ("draw", 390, "dark"), tmp_path))
    with Image.open(tmp_path / "page.webp") as picture:
        assert picture.size == (390, 844)
        shades = picture.convert("L").histogram()
    assert sum(shades[:64]) > sum(shades[192:])
