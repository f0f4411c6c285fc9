"""The page in Debian's Chromium: what people do, and what they see."""

from __future__ import annotations

import re
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from text2latent.benchmarks.browsing import PATIENCE_SECONDS, Visitor, find_browser
from text2latent.benchmarks.pictures import take

pytest.importorskip("playwright", reason="playwright of the extra [dev] is not installed")
pytest.importorskip("gradio", reason="gradio of the extra [serve] is not installed")

from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.page.visits import Left
from text2latent.inference.latents_file import load_latents
from text2latent.tests.apps.serving.conftest import Visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.skipif(find_browser() is None, reason="no Chromium here; apt-get install chromium")
CAPTION = re.compile(r"CLIP -?\d\.\d\d · seed \d+ · [\d.]+ (ms|s)")


def captions(visitor: Visitor, gallery: str = "gallery") -> list[str]:
    return visitor.page.locator(f"#{gallery} .caption").all_text_contents()


def text_of(visitor: Visitor, name: str) -> str:
    return visitor.page.locator(f"#{name}").inner_text()


def wait_for_text(visitor: Visitor, name: str, text: str) -> None:
    visitor.page.locator(f"#{name}").filter(has_text=text).wait_for()


def source_of(visitor: Visitor, gallery: str) -> str | None:
    return visitor.page.locator(f"#{gallery}").first.get_attribute("src")


def wait_for_another(visitor: Visitor, image: str, before: str | None) -> None:
    is_new = "([selector, before]) => ![null, before].includes(document.querySelector(selector)?.src ?? null)"
    visitor.page.wait_for_function(is_new, arg=[f"#{image}", before])


def wait_for_outlines(visitor: Visitor, **expected: int | None) -> None:
    """Wait until, of each gallery's pictures, the one of this index is outlined, or with None none is."""
    outlined = """expected => Object.entries(expected).every(([name, index]) => {
        const tiles = [...document.querySelectorAll(`#${name} .tile`)];
        return tiles.length > 0 && tiles.every((tile, i) => tile.ariaPressed === String(i === index));
    })"""
    visitor.page.wait_for_function(outlined, arg={name.replace("_", "-"): index for name, index in expected.items()})


def is_wider_than_the_window(visitor: Visitor) -> bool:
    return visitor.page.evaluate("() => document.documentElement.scrollWidth > window.innerWidth")


def test_a_prompt_and_enter_draw_four_pictures_that_can_be_taken_along_and_varied(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    visitor.set("seed", 0)
    visitor.page.locator("#seed-lock").check()
    before = visitor.top_of("gallery")
    visitor.draw("blonde woman with glasses")
    assert abs(visitor.top_of("gallery") - before) <= 1
    shown = captions(visitor)
    assert len(shown) == 4
    assert all(map(CAPTION.fullmatch, shown))
    assert [re.findall(r"seed (\d+)", one)[0] for one in shown] == ["0", "1", "2", "3"]

    visitor.page.locator("#gallery button").nth(2).click()
    wait_for_text(visitor, "selected-facts", "blonde woman with glasses")
    (tmp_path / "saved.png").write_bytes(visitor.save_selected())
    with Image.open(tmp_path / "saved.png") as picture:
        assert picture.info["prompt"] == "blonde woman with glasses"
        assert picture.info["seed"] == "2"
    visitor.page.locator("#reproduce summary").click()
    wait_for_text(visitor, "command", "--seed 2")
    wait_for_text(visitor, "python", "seeds=[2]")

    visitor.click("vary")
    visitor.wait_for_pictures("gallery", count=8)
    assert captions(visitor)[:4] == shown
    wait_for_text(visitor, "selected-facts", "blonde woman with glasses")


def test_latents_are_saved_as_a_file_that_infer_takes(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    visitor.set("num-images", 1)
    visitor.draw("an old man", 1)
    with visitor.page.expect_download() as saved:
        visitor.click("save-latents")
    saved.value.save_as(tmp_path / saved.value.suggested_filename)
    (file,) = tmp_path.glob("an-old-man-*.npz")
    assert load_latents(file, (12, 58)).shape == (1, 12, 58)


def test_refining_starts_from_the_picture_that_was_clicked_and_leaves_the_others_there(visit: Visit) -> None:
    visitor = visit()
    visitor.page.locator("#advanced summary").click()
    visitor.set("refine-steps", 2)
    visitor.set("steps", 2)
    visitor.set("num-images", 1)
    visitor.draw("an old man", 1)
    visitor.click("refine")
    wait_for_text(visitor, "notice", "→")
    visitor.wait_for_pictures("gallery", count=2)
    wait_for_outlines(visitor, gallery=1)


def test_an_example_is_drawn_by_a_click(visit: Visit) -> None:
    visitor = visit()
    visitor.set("num-images", 1)
    visitor.page.locator("#examples button").nth(1).click()
    visitor.wait_for_pictures("gallery", count=1)
    wait_for_text(visitor, "selected-facts", "an old man with a white beard and a hat")


def test_a_long_text_leaves_the_buttons_in_sight(visit: Visit) -> None:
    visitor = visit()
    visitor.set("num-images", 1)
    visitor.draw("a woman with a hat " * 50, 1)
    wait_for_text(visitor, "selected-facts", "a woman with a hat a woman")
    assert visitor.top_of("vary") < 800


def test_errors_are_told_in_words_and_leave_the_pictures_there(visit: Visit) -> None:
    visitor = visit()
    visitor.set("num-images", 1)
    visitor.draw("a woman", 1)
    visitor.write("prompt", "   ")
    visitor.click("draw")
    wait_for_text(visitor, "notice", "Write a text first.")
    assert visitor.page.locator("#gallery img").first.is_visible()


def test_what_a_slow_server_offers_has_its_place_before_anything_is_drawn(visit: Visit) -> None:
    visitor = visit()
    asked: list[Any] = []
    visitor.page.route("**/page/worlds/*", lambda route: asked.append(route))
    visitor.page.reload()
    while not asked:
        visitor.page.wait_for_timeout(10)
    assert not visitor.page.locator("html[data-ready]").count()
    asked[0].continue_()
    visitor.wait_until_ready()
    assert visitor.page.locator("#examples button").first.is_visible()


def test_a_prompt_beyond_the_model_is_warned_of_and_nothing_moves(visit: Visit) -> None:
    visitor = visit()
    before = visitor.top_of("gallery")
    visitor.draw("quantum physics")
    wait_for_text(visitor, "notice", "beyond what the model can draw")
    assert abs(visitor.top_of("gallery") - before) <= 1


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
    assert visitor.top_of("draw") < visitor.top_of("gallery") < visitor.top_of("selected-picture")
    box = visitor.page.locator("#gallery").bounding_box()
    assert box is not None
    assert box["width"] >= 350


def test_mixing_shows_a_strip_and_the_slider_moves_along_it(visit: Visit) -> None:
    visitor = visit()
    visitor.go_to("mix")
    visitor.set("mix-frames", 3)
    visitor.mix("a sad child", "a happy old man")
    visitor.wait_for_pictures("mix-strip", count=3)
    first = source_of(visitor, "mix-frame img")
    visitor.page.locator("#mix-strip button").nth(2).click()
    wait_for_another(visitor, "mix-frame img", first)
    assert float(visitor.page.locator("#mix-position").input_value()) == 1
    with visitor.page.expect_download() as saved:
        visitor.page.locator("#mix-save").click()
    with Image.open(saved.value.path()) as moving:
        assert (moving.format, moving.n_frames) == ("GIF", 4)
    visitor.click("mix-play")
    wait_for_another(visitor, "mix-frame img", source_of(visitor, "mix-frame img"))


def test_editing_the_selected_picture_and_moving_its_strength(visit: Visit) -> None:
    visitor = visit()
    visitor.set("num-images", 1)
    visitor.draw("a young woman", 1)
    visitor.edit("a woman", "a woman with glasses")
    after = source_of(visitor, "edit-after")
    visitor.page.locator("#slider-0").press("ArrowRight")
    wait_for_another(visitor, "edit-after", after)


def test_comparing_shows_two_pictures_and_their_times(visit: Visit) -> None:
    visitor = visit()
    visitor.go_to("compare")
    visitor.set("iterations", 2)
    visitor.compare("a man with a beard")
    wait_for_text(visitor, "compare-notice", "×")
    assert re.search(r"Prior: .* Optimisation: .*\d×", text_of(visitor, "compare-notice"))


@pytest.mark.parametrize("way", ["nothing written", "refused by the engine"])
def test_after_an_error_a_comparison_can_be_started(visit: Visit, way: str) -> None:
    visitor = visit()
    if way != "nothing written":
        visitor.page.locator("#advanced summary").click()
        visitor.write("negative", "a hat |")
    visitor.go_to("compare")
    visitor.set("iterations", 2)
    visitor.write("compare-prompt", "" if way == "nothing written" else "a man", enter=True)
    visitor.page.locator("#compare-notice.problem").wait_for()
    # Browsers report what a server refuses.
    assert all("400" in error for error in visitor.errors)
    visitor.errors.clear()
    if way != "nothing written":
        visitor.write("negative", "")
    visitor.compare("a man with a beard")
    visitor.wait_until_idle()


def test_the_selected_picture_alone_is_outlined(visit: Visit) -> None:
    visitor = visit()
    visitor.set("num-images", 2)
    visitor.draw("a young woman", 2)
    wait_for_outlines(visitor, gallery=0, history_strip=0)
    visitor.page.locator("#gallery button").nth(1).click()
    wait_for_outlines(visitor, gallery=1, history_strip=1)
    visitor.draw("an old man", 2)
    wait_for_text(visitor, "selected-facts", "an old man")
    wait_for_outlines(visitor, gallery=0, history_strip=0)
    visitor.edit("a man", "a man with glasses")
    wait_for_outlines(visitor, gallery=None, history_strip=0)
    visitor.page.locator("#history-strip button").nth(1).click()
    wait_for_outlines(visitor, gallery=0, history_strip=1)
    visitor.go_to("mix")
    visitor.set("mix-frames", 3)
    visitor.mix("a sad child", "a happy old man")
    wait_for_outlines(visitor, mix_strip=0, gallery=None)
    visitor.set("mix-position", 1)
    wait_for_outlines(visitor, mix_strip=2, history_strip=2)


@pytest.fixture
def comparisons(faces_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[Future[Any]]:
    asked: list[Future[Any]] = []
    submit = faces_engine.submit_compare

    def noted(*arguments: Any) -> Future[Any]:
        asked.append(submit(*arguments))
        return asked[-1]

    monkeypatch.setattr(faces_engine, "submit_compare", noted)
    return asked


@pytest.mark.parametrize("way", ["stop", "escape", "close"])
def test_a_comparison_ends_when_it_is_stopped_or_its_page_is_closed(
    visit: Visit, comparisons: list[Future[Any]], way: str
) -> None:
    visitor = visit()
    visitor.go_to("compare")
    visitor.set("iterations", 500)
    visitor.write("compare-prompt", "a man with a beard", enter=True)
    wait_for_text(visitor, "compare-notice", "Optimising")
    if way == "close":
        visitor.page.close()
    else:
        if way == "stop":
            visitor.page.locator("#compare-notice .stop").click()
        else:
            visitor.page.locator("#compare-prompt").press("Escape")
        wait_for_text(visitor, "compare-notice", "Stopped.")
        visitor.wait_until_idle()
    assert isinstance(comparisons[0].exception(PATIENCE_SECONDS), Left)


def test_uploading_a_picture_draws_variations_of_it(visit: Visit, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "teal").save(tmp_path / "teal.png")
    visitor = visit()
    visitor.set("num-images", 2)
    visitor.vary_upload(tmp_path / "teal.png")
    assert len(captions(visitor, "upload-gallery")) == 2
    wait_for_text(visitor, "selected-facts", "teal")


def test_an_upload_is_found_and_edited(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    visitor.set("num-images", 1)
    visitor.draw("a man", 1)
    (tmp_path / "portrait.png").write_bytes(visitor.save_selected())
    visitor.find_upload(tmp_path / "portrait.png")
    wait_for_text(visitor, "upload-notice", "Found in the model’s world")
    wait_for_text(visitor, "selected-facts", "portrait")
    visitor.click("edit-this")
    visitor.edit("a man", "a man with glasses")
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
