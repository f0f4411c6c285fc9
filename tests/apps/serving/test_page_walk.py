"""A walk through the page: what an artist does who stays on it, with eyes, with the keyboard, and on a phone."""

from __future__ import annotations

import io
import json
import re
import zipfile
from concurrent.futures import Future
from typing import Any

import pytest
from PIL import Image

from text2latent.benchmarks.browsing import Visitor, find_browser

pytest.importorskip("playwright", reason="playwright of the extra [dev] is not installed")
pytest.importorskip("gradio", reason="gradio of the extra [serve] is not installed")
sync_playwright = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-playwright-python here")

from text2latent.apps.serving.engine import Engine  # noqa: E402
from text2latent.tests.apps.serving.conftest import Visit  # noqa: E402

pytestmark = pytest.mark.skipif(find_browser() is None, reason="no Chromium here; apt-get install chromium")
TABS = ("draw", "mix", "edit", "compare", "upload")
FAST, SLOW = 0.02, 0.6
"""Seconds of a picture."""
FINGER = 44


def say_that_pictures_take(visitor: Visitor, seconds: float) -> None:
    """Make the page believe so, whatever this machine takes."""

    def answer(route: Any) -> None:
        *lines, last = route.fetch().text().splitlines()
        result = json.loads(last)
        for picture in result["result"]["pictures"]:
            picture["seconds"] = seconds
        route.fulfill(body="\n".join([*lines, json.dumps(result)]) + "\n", content_type="application/x-ndjson")

    visitor.page.route("**/page/draw", answer)


def count(visitor: Visitor, gallery: str) -> int:
    return visitor.page.locator(f"#{gallery} .tile").count()


def wait_for_count(visitor: Visitor, gallery: str, expected: int) -> None:
    script = "([gallery, count]) => document.querySelectorAll(`#${gallery} .tile`).length === count"
    visitor.page.wait_for_function(script, arg=[gallery, expected])


def wait_for_text(visitor: Visitor, name: str, text: str) -> None:
    visitor.page.locator(f"#{name}").filter(has_text=text).wait_for()


def seed_of(visitor: Visitor) -> int:
    return int(visitor.page.locator("#seed").input_value())


def drawn_seed(visitor: Visitor) -> int:
    found = re.search(r"(?:Seed|シード)\s+(\d+)", visitor.page.locator("#selected-facts").inner_text())
    assert found is not None
    return int(found[1])


def one_picture_of(visitor: Visitor, text: str) -> None:
    visitor.set("num-images", 1)
    visitor.page.locator("#live").uncheck()
    visitor.draw(text, 1)
    wait_for_text(visitor, "selected-facts", text)
    visitor.wait_until_idle()


# 1. Session history


def test_all_that_was_drawn_stays_over_a_reload_and_is_taken_up_again(visit: Visit) -> None:
    visitor = visit()
    one_picture_of(visitor, "an old man")
    visitor.click("vary")
    wait_for_count(visitor, "gallery", 2)
    visitor.set("refine-steps", 1)
    visitor.click("refine")
    wait_for_count(visitor, "gallery", 3)
    wait_for_count(visitor, "history-strip", 3)
    visitor.page.wait_for_function("""async () => (await new Promise(done => {
        const opening = indexedDB.open('text2latent');
        opening.onsuccess = () => {
            const asked = opening.result.transaction('pictures').objectStore('pictures').count();
            asked.onsuccess = () => done(asked.result);
        };
    })) === 3""")
    visitor.page.reload()
    visitor.wait_until_ready()
    visitor.wait_for_pictures("history-strip", count=3)
    assert count(visitor, "gallery") == 0

    visitor.page.locator("#history-strip button").nth(2).click()
    wait_for_text(visitor, "selected-facts", "an old man")
    seed = drawn_seed(visitor)
    with Image.open(io.BytesIO(visitor.save_selected())) as picture:
        assert (picture.info["prompt"], picture.info["seed"]) == ("an old man", str(seed))
    visitor.click("vary")
    wait_for_count(visitor, "gallery", 1)
    wait_for_count(visitor, "history-strip", 4)


def test_the_history_is_downloaded_with_its_recipes_and_deleted(visit: Visit) -> None:
    visitor = visit()
    visitor.set("num-images", 2)
    visitor.page.locator("#live").uncheck()
    visitor.draw("眼鏡をかけた女性", 2)
    with visitor.page.expect_download() as saved:
        visitor.click("download-all")
    with zipfile.ZipFile(saved.value.path()) as archive:
        assert archive.testzip() is None
        recipes = json.loads(archive.read("recipes.json"))
        assert {recipe["file"] for recipe in recipes} | {"recipes.json"} == set(archive.namelist())
        for recipe in recipes:
            with Image.open(io.BytesIO(archive.read(recipe["file"]))) as picture:
                assert picture.info["seed"] == str(recipe["seed"])
            assert recipe["prompt"] == "眼鏡をかけた女性"
            assert f"--seed {recipe['seed']}" in recipe["command"]
    visitor.click("delete-one")
    wait_for_count(visitor, "history-strip", 1)
    wait_for_text(visitor, "selected-facts", "Draw something")
    visitor.click("delete-all")
    visitor.page.locator("#confirm").get_by_text("Keep").click()
    assert count(visitor, "history-strip") == 1
    visitor.click("delete-all")
    visitor.click("confirm-yes")
    wait_for_count(visitor, "history-strip", 0)
    visitor.page.reload()
    visitor.wait_until_ready()
    visitor.page.locator("#history-empty").wait_for()


# 2. Seed


def test_each_draw_has_a_new_seed_unless_it_is_locked(visit: Visit) -> None:
    visitor = visit()
    one_picture_of(visitor, "a woman")
    first = drawn_seed(visitor)
    assert seed_of(visitor) == first
    one_picture_of(visitor, "a man")
    assert drawn_seed(visitor) == seed_of(visitor) != first
    visitor.page.locator("#history-strip button").nth(1).click()
    visitor.click("use-seed")
    assert seed_of(visitor) == first
    assert visitor.page.locator("#seed-lock").is_checked()
    one_picture_of(visitor, "a child")
    assert drawn_seed(visitor) == first
    visitor.click("new-seed")
    assert seed_of(visitor) != first


# 3. As one types


def test_pictures_follow_the_text_with_the_same_seed_and_come_into_the_history_once(visit: Visit) -> None:
    visitor = visit()
    say_that_pictures_take(visitor, FAST)
    visitor.set("num-images", 1)
    seed = seed_of(visitor)
    visitor.page.locator("#prompt").press_sequentially("a woman with a", delay=20)
    wait_for_text(visitor, "selected-facts", "a woman with a")
    visitor.page.locator("#prompt").press_sequentially(" hat", delay=20)
    wait_for_text(visitor, "selected-facts", "a woman with a hat")
    assert drawn_seed(visitor) == seed
    wait_for_count(visitor, "history-strip", 1)
    visitor.page.locator("#live").uncheck()
    visitor.write("prompt", "a man")
    visitor.page.reload()
    visitor.wait_until_ready()
    assert not visitor.page.locator("#live").is_checked()
    assert visitor.page.locator("#prompt").input_value() == "a man"


def test_what_is_overtaken_is_cancelled_on_the_server(
    visit: Visit, faces_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, endless = faces_engine.submit_draw, [Future[Any]()]
    asked: list[str | None] = []

    def first_never(request: Any, client: str | None = None) -> Future[Any]:
        asked.append(request.prompt)
        return endless[0] if len(asked) == 1 else submit(request, client)

    monkeypatch.setattr(faces_engine, "submit_draw", first_never)
    visitor = visit()
    say_that_pictures_take(visitor, FAST)
    visitor.set("num-images", 1)
    visitor.page.unroute("**/page/draw")
    visitor.write("prompt", "a woman")
    visitor.page.locator("#gallery[aria-busy]").wait_for()
    while not asked:
        visitor.page.wait_for_timeout(10)
    visitor.write("prompt", "an old woman")
    wait_for_text(visitor, "selected-facts", "an old woman")
    while not endless[0].cancelled():
        visitor.page.wait_for_timeout(10)
    assert asked == ["a woman", "an old woman"]


def test_a_slow_model_turns_drawing_while_typing_off_until_it_is_wanted(visit: Visit) -> None:
    visitor = visit()
    say_that_pictures_take(visitor, SLOW)
    visitor.set("num-images", 1)
    before = visitor.top_of("gallery")
    visitor.write("prompt", "a woman")
    wait_for_text(visitor, "live-note", "Turned off: this model takes 600 ms for a picture.")
    assert abs(visitor.top_of("gallery") - before) <= 1
    assert not visitor.page.locator("#live").is_checked()
    visitor.page.locator("#live").check()
    visitor.write("prompt", "a man")
    wait_for_text(visitor, "selected-facts", "a man")
    assert visitor.page.locator("#live").is_checked()


# 4. Compare


def test_a_comparison_shows_the_prior_at_once_and_the_optimisation_as_it_grows(visit: Visit) -> None:
    visitor = visit()
    visitor.go_to("compare")
    visitor.set("iterations", 500)
    visitor.write("compare-prompt", "a man with a beard", enter=True)
    visitor.wait_for_pictures("amortised", "selected-picture", "optimised")
    points = "() => document.querySelector('#curve polyline')?.points.length ?? 0"
    visitor.page.wait_for_function(f"() => ({points})() >= 3")
    before = visitor.page.evaluate(points)
    visitor.page.wait_for_function(f"before => ({points})() > before", arg=before)
    assert visitor.page.locator("#compare-notice.busy").is_visible()
    name = visitor.page.locator("#curve svg").get_attribute("aria-label")
    assert name is not None
    assert "the prior has 0." in name
    visitor.page.locator("#compare-notice .stop").click()
    wait_for_text(visitor, "compare-notice", "Stopped.")


# 5. Keyboard and screen readers


def test_arrow_keys_go_through_tabs_tiles_and_history_and_the_panel_agrees(visit: Visit) -> None:
    visitor = visit()
    visitor.page.locator("#live").uncheck()
    visitor.draw("a woman")
    seed, tile = drawn_seed(visitor), visitor.page.locator("#gallery .tile")
    tile.first.focus()
    for key, index in (("ArrowRight", 1), ("ArrowDown", 3), ("ArrowLeft", 2), ("ArrowUp", 0), ("End", 3), ("Home", 0)):
        visitor.page.keyboard.press(key)
        assert tile.nth(index).evaluate("one => one === document.activeElement")
        assert tile.nth(index).get_attribute("aria-pressed") == "true"
        assert visitor.page.locator("#history-strip .tile").nth(index).get_attribute("aria-pressed") == "true"
        assert drawn_seed(visitor) == seed + index
    visitor.page.locator("#tab-draw").focus()
    for key, tab in (("ArrowRight", "mix"), ("End", "upload"), ("ArrowRight", "draw"), ("ArrowLeft", "upload")):
        visitor.page.keyboard.press(key)
        assert visitor.page.locator(f"#{tab}-panel").is_visible()
        assert visitor.page.locator(f"#tab-{tab}").evaluate("one => one === document.activeElement")
    visitor.page.locator("#history-strip .tile").first.focus()
    visitor.page.keyboard.press("Delete")
    wait_for_count(visitor, "history-strip", 3)


def test_the_large_view_is_opened_turned_and_left_by_keys(visit: Visit) -> None:
    visitor = visit()
    visitor.page.locator("#live").uncheck()
    visitor.draw("a woman")
    seed = drawn_seed(visitor)
    visitor.page.locator("#selected-picture").press("Enter")
    assert visitor.page.locator("#large").is_visible()
    visitor.page.keyboard.press("ArrowRight")
    assert drawn_seed(visitor) == seed + 1
    wait_for_text(visitor, "large-caption", f"seed {seed + 1}")
    visitor.page.keyboard.press("Escape")
    assert not visitor.page.locator("#large").is_visible()
    assert visitor.page.locator("#selected-picture").evaluate("one => one === document.activeElement")


def test_what_has_the_focus_is_seen(visit: Visit) -> None:
    visitor = visit()
    outlined = """() => {
        const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
        return outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2;
    }"""
    seen = set()
    for _ in range(25):
        visitor.page.keyboard.press("Tab")
        seen.add(visitor.page.evaluate("() => document.activeElement.id"))
        assert visitor.page.evaluate("() => document.activeElement === document.body") or visitor.page.evaluate(
            outlined
        )
    assert {"model", "num-images", "seed", "tab-draw", "prompt", "draw", "live"} <= seen


@pytest.mark.parametrize(("scheme", "locale"), [("light", "en-US"), ("dark", "ja-JP")])
def test_axe_finds_nothing_wrong(visit: Visit, scheme: str, locale: str) -> None:
    visitor = visit(scheme=scheme, locale=locale)
    visitor.page.locator("#live").uncheck()
    for summary in visitor.page.locator("summary").all():
        if summary.is_visible():
            summary.click()
    visitor.page.locator("#word-groups button").first.click()
    visitor.draw("quantum physics")
    visitor.page.locator("#reproduce summary").click()
    visitor.edit("a woman", "a woman with glasses")
    visitor.go_to("mix")
    visitor.set("mix-frames", 3)
    visitor.mix("a child", "an old man")
    visitor.go_to("compare")
    visitor.set("iterations", 2)
    visitor.compare("a man")
    for tab in TABS:
        visitor.go_to(tab)
        found = sync_playwright.Axe().run(visitor.page)
        assert found.violations_count == 0, f"{tab}: {found.generate_report()}"


# 6. On a phone


def test_on_a_phone_results_come_into_sight_and_settings_are_behind_a_button(visit: Visit) -> None:
    visitor = visit(width=390, height=700)
    visitor.page.locator("#live").uncheck()
    assert not visitor.page.locator("#num-images").is_visible()
    visitor.click("settings-toggle")
    assert visitor.page.locator("#num-images").is_visible()
    visitor.page.locator("#seed").press("Escape")
    assert not visitor.page.locator("#num-images").is_visible()
    assert visitor.page.locator("#settings-toggle").evaluate("one => one === document.activeElement")
    visitor.draw("a woman")
    visitor.page.wait_for_function(
        "() => { const { top, bottom } = document.querySelector('#gallery').getBoundingClientRect();"
        " return top >= 0 && bottom <= innerHeight; }"
    )


def test_on_a_phone_all_can_be_hit_with_a_finger(visit: Visit) -> None:
    visitor = visit(width=390, height=844)
    visitor.page.locator("#live").uncheck()
    visitor.click("settings-toggle")
    visitor.draw("a woman")
    visitor.edit("a woman", "a woman with glasses")
    small = """least => [...document.querySelectorAll('button, select, summary, input, textarea')]
        .filter(one => one.checkVisibility() && !one.closest('label.check') && one.id !== 'upload-file')
        .map(one => [one.id || one.className || one.textContent, one.getBoundingClientRect()])
        .filter(([, box]) => box.height < least || box.width < least).map(([name]) => name)"""
    for tab in TABS:
        visitor.go_to(tab)
        assert visitor.page.evaluate(small, FINGER) == [], tab
    labels = "() => [...document.querySelectorAll('label.check')].map(one => one.getBoundingClientRect().height)"
    assert all(height >= FINGER for height in visitor.page.evaluate(labels) if height)


# 7. Captions, names of buttons, and the text of a picture


def test_text_and_settings_of_a_picture_are_taken_up(visit: Visit) -> None:
    visitor = visit()
    visitor.page.locator("#advanced summary").click()
    visitor.set("steps", 3)
    visitor.set("truncation", 0.5)
    visitor.write("negative", "a hat")
    one_picture_of(visitor, "a young woman")
    visitor.set("steps", 8)
    visitor.set("truncation", 1)
    visitor.write("negative", "")
    one_picture_of(visitor, "an old man")
    visitor.page.locator("#history-strip button").nth(1).click()
    visitor.click("use-text")
    values = [visitor.page.locator(f"#{name}").input_value() for name in ("prompt", "steps", "truncation", "negative")]
    assert values == ["a young woman", "3", "0.5", "a hat"]


def test_captions_are_seen_only_by_those_who_point_or_go_there(visit: Visit) -> None:
    visitor = visit()
    one_picture_of(visitor, "a woman")
    visitor.page.mouse.move(0, 0)
    opacity = "() => getComputedStyle(document.querySelector('#gallery .caption')).opacity"
    assert visitor.page.evaluate(opacity) == "0"
    visitor.page.locator("#gallery .tile").hover()
    assert visitor.page.evaluate(opacity) == "1"
    visitor.page.mouse.move(0, 0)
    visitor.page.locator("#gallery .tile").press("Home")
    assert visitor.page.evaluate(opacity) == "1"


def test_buttons_say_what_they_do_and_a_picture_keeps_its_text(visit: Visit) -> None:
    visitor = visit()
    one_picture_of(visitor, "a young woman")
    names = visitor.page.locator("#selection .buttons button").all_inner_texts()
    assert names == ["More like this", "Refine", "Edit this", "Mix with this", "Use this seed", "Use all settings",
        "Save PNG", "Save latents"]  # fmt: skip
    visitor.click("vary")
    wait_for_count(visitor, "gallery", 2)
    visitor.click("edit-this")
    visitor.edit("a woman", "a woman with a hat")
    wait_for_text(visitor, "selected-facts", "a young woman")
    visitor.go_to("mix")
    visitor.write("mix-from", "an old man")
    visitor.set("mix-frames", 2)
    visitor.click("mix-this")
    visitor.wait_for_pictures("mix-strip", count=2)
    assert visitor.page.locator("#mix-to").input_value() == "a young woman"
    visitor.page.locator("#history-strip button").last.click()
    visitor.click("use-text")
    assert visitor.page.locator("#prompt").input_value() == "a young woman"


# 8. Language


def test_a_japanese_visitor_reads_and_writes_japanese(visit: Visit) -> None:
    visitor = visit(locale="ja-JP")
    assert visitor.page.locator("#draw").inner_text() == "描く"
    first = visitor.page.locator("#examples button").first.inner_text()
    assert re.search(r"[\u3040-\u30ff\u4e00-\u9fff]", first)
    visitor.draw("眼鏡をかけた金髪の女性")
    wait_for_text(visitor, "notice", "枚")
    assert re.fullmatch(r"4 枚、[\d.]+ (ミリ秒|秒)", visitor.page.locator("#notice").inner_text().strip())
    wait_for_text(visitor, "selected-facts", "眼鏡をかけた金髪の女性")


def test_the_language_is_switched_and_stays_and_all_texts_follow(visit: Visit) -> None:
    visitor = visit()
    visitor.page.locator("#live").uncheck()
    assert visitor.page.locator("#examples button").first.inner_text() == "blonde woman with glasses"
    visitor.draw("a woman")
    visitor.page.locator("#languages button[lang=ja]").click()
    assert visitor.page.locator("html").get_attribute("lang") == "ja"
    assert visitor.page.locator("[role=tab]").all_inner_texts() == ["描く", "混ぜる", "変える", "比べる", "画像から"]
    wait_for_text(visitor, "notice", "4 枚")
    wait_for_text(visitor, "selected-facts", "作り方")
    alt = visitor.page.locator("#gallery img").first.get_attribute("alt")
    assert alt is not None
    assert alt.startswith("4 枚中 1 枚目")
    visitor.write("prompt", "  ", enter=True)
    wait_for_text(visitor, "notice", "文章を入力してください。")
    visitor.write("prompt", "a |", enter=True)
    wait_for_text(visitor, "notice", "| と | の間に文章を書いてください。")
    assert all("400" in error for error in visitor.errors)
    visitor.errors.clear()
    visitor.go_to("compare")
    visitor.set("iterations", 500)
    visitor.write("compare-prompt", "a man", enter=True)
    wait_for_text(visitor, "compare-notice", "最適化しています")
    visitor.page.locator("#compare-notice .stop").click()
    english = visitor.page.evaluate("""() => {
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        const found = [];
        while (walker.nextNode()) found.push(walker.currentNode);
        return found.filter(node => /[A-Za-z]{3}/.test(node.data) && !node.parentElement.closest(
            'h1, pre, option, footer, noscript, #examples, .text, script, [lang=en]')).map(node => node.data.trim());
    }""")
    assert [text for text in english if not re.search(r"CLIP|prior|Python|Enter|API|PNG", text)] == []
    visitor.page.reload()
    visitor.wait_until_ready()
    assert visitor.page.locator("#draw").inner_text() == "描く"


# 9. Attributes and sliders


def test_chips_write_words_into_the_text(visit: Visit) -> None:
    visitor = visit()
    visitor.page.locator("#live").uncheck()
    prompt = visitor.page.locator("#prompt")
    groups, words = visitor.page.locator("#word-groups"), visitor.page.locator("#word-chips")
    visitor.write("prompt", "a woman")
    groups.get_by_text("Glasses").click()
    words.get_by_text("sunglasses").click()
    assert prompt.input_value() == "a woman, sunglasses"
    assert words.locator("[aria-pressed=true]").all_inner_texts() == ["sunglasses"]
    words.get_by_text("glasses", exact=True).click()
    assert prompt.input_value() == "a woman, glasses"
    groups.get_by_text("Age").click()
    words.get_by_text("old").click()
    assert prompt.input_value() == "a woman, glasses, old"
    groups.get_by_text("Glasses").click()
    words.get_by_text("glasses", exact=True).click()
    assert prompt.input_value() == "a woman, old"
    visitor.write("prompt", "女性")
    words.get_by_text("sunglasses").click()
    assert prompt.input_value() == "女性、サングラス"


def test_sliders_move_the_picture_live_and_are_seen_before_and_after(visit: Visit) -> None:
    visitor = visit()
    one_picture_of(visitor, "a young woman")
    seed, before = drawn_seed(visitor), visitor.save_selected()
    visitor.click("edit-this")
    slider = visitor.page.get_by_label("Glasses", exact=True)
    slider.focus()
    for _ in range(3):
        slider.press("PageUp")
    visitor.page.locator("#edit-after").wait_for()
    visitor.page.wait_for_function("() => !document.querySelector('#curtain[aria-busy]')")
    assert drawn_seed(visitor) == seed
    assert visitor.save_selected() != before
    edge = "() => getComputedStyle(document.querySelector('#edit-after')).clipPath"
    halfway = visitor.page.evaluate(edge)
    visitor.page.locator("#curtain-edge").press("Home")
    assert visitor.page.evaluate(edge) != halfway
    wait_for_count(visitor, "history-strip", 2)
    visitor.click("edit-reset")
    assert visitor.save_selected() == before
    assert slider.input_value() == "0"


def test_ones_own_pairs_of_texts_become_sliders_that_are_kept(visit: Visit) -> None:
    visitor = visit()
    one_picture_of(visitor, "a young woman")
    visitor.edit("a woman", "a woman in a forest")
    visitor.page.reload()
    visitor.wait_until_ready()
    visitor.go_to("edit")
    slider = visitor.page.get_by_label("a woman → a woman in a forest", exact=True)
    slider.wait_for()
    assert slider.input_value() == "0"
    visitor.page.locator(".slider .remove").click()
    assert slider.count() == 0


# 10. Settings


def test_settings_that_a_tab_ignores_are_hidden(visit: Visit) -> None:
    visitor = visit()
    visitor.page.locator("#advanced summary").click()
    everything = {"num-images", "seed", "guidance", "steps", "truncation", "negative", "rerank"}
    ignored = {
        "draw": set(),
        "mix": {"num-images", "rerank"},
        "edit": everything,
        "compare": {"num-images"},
        "upload": set(),
    }
    for tab, hidden in ignored.items():
        visitor.go_to(tab)
        shown = {name for name in everything if visitor.page.locator(f"#{name}").is_visible()}
        assert shown == everything - hidden, tab


def test_one_picture_is_called_one(visit: Visit) -> None:
    visitor = visit()
    one_picture_of(visitor, "a woman")
    assert re.fullmatch(r"1 picture, [\d.]+ m?s", visitor.page.locator("#notice").inner_text().strip())


def test_a_changed_setting_draws_anew_while_pictures_follow_the_text(visit: Visit) -> None:
    visitor = visit()
    say_that_pictures_take(visitor, FAST)
    visitor.set("num-images", 1)
    visitor.draw("a woman", 1)
    visitor.set("num-images", 2)
    wait_for_count(visitor, "gallery", 2)


def test_a_server_that_is_gone_is_told_of(visit: Visit) -> None:
    visitor = visit()
    visitor.page.route("**/page/draw", lambda route: route.abort())
    visitor.write("prompt", "a woman", enter=True)
    wait_for_text(visitor, "notice", "The server can’t be reached.")
    visitor.wait_until_idle()
    assert all("ERR_FAILED" in error for error in visitor.errors)
    visitor.errors.clear()
