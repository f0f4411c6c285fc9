"""The page without a browser: endpoints through gradio_client, recipes, and what is known of worlds."""

from __future__ import annotations

import contextlib
import inspect
import json
import re
import shlex
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest
from PIL import Image

from text2latent import Text2LatentPipeline, infer
from text2latent.apps.serving.adjustments import AdjustRequest
from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.operations import Change, EditRequest, RefineRequest
from text2latent.apps.serving.requests import DrawRequest
from text2latent.inference.domain import DomainScore
from text2latent.inference.latents_file import load_latents
from text2latent.models.sources.zoo import ZOO
from text2latent.tests.apps.serving.drawing import variations_of

gradio = pytest.importorskip("gradio")
gradio_client = pytest.importorskip("gradio_client")

from gradio.state_holder import StateHolder  # noqa: E402

from text2latent.apps.serving.controls import read_controls  # noqa: E402
from text2latent.apps.serving.page import calls, endpoints, shown, texts  # noqa: E402
from text2latent.apps.serving.page.static import read_files  # noqa: E402
from text2latent.apps.serving.page.visits import Left, Visits  # noqa: E402
from text2latent.apps.serving.page.worlds import describe_world, read_examples  # noqa: E402
from text2latent.apps.serving.visitor_files import Uploads  # noqa: E402

TEXT = "blonde woman with glasses"
PATIENCE = 300.0
SETTINGS = {"model": "faces", "n": 2, "seed": 5, "guidance_scale": 1.5, "steps": 4, "truncation": 1.0,
    "negative_prompt": "", "rerank": 1}  # fmt: skip


@pytest.fixture(scope="module")
def page(page_address: str) -> Iterator[Any]:
    client = gradio_client.Client(page_address, verbose=False, analytics_enabled=False)
    yield client
    client.close()


def pixels(picture: str | Path | Image.Image) -> np.ndarray:
    image = picture if isinstance(picture, Image.Image) else Image.open(picture)
    return np.asarray(image.convert("RGB")).astype(int)


def levels_apart(one: Any, other: Any) -> int:
    return int(np.abs(pixels(one) - pixels(other)).max())


def files_of(gallery: list[dict[str, Any]]) -> list[str]:
    return [item["image"] for item in gallery]


def test_endpoints_are_named_and_take_what_the_api_takes(page: Any) -> None:
    endpoints = page.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/draw", "/mix", "/edit", "/compare", "/vary", "/find"}
    names = {name: [one["parameter_name"] for one in endpoint["parameters"]] for name, endpoint in endpoints.items()}
    settings = list(calls.SETTINGS)
    assert names["/draw"] == ["prompt", *settings]
    assert names["/mix"] == ["start", "end", "frames", *settings]
    assert names["/edit"] == ["source", "target", "strength", "start", *settings]
    assert names["/compare"] == ["prompt", "iterations", *settings]
    assert names["/vary"] == ["image", "prompt", "image_weight", *settings]
    assert names["/find"] == ["image", *settings]


def test_draws_what_the_pipeline_draws(page: Any, faces_engine: Engine) -> None:
    gallery, notice = page.predict(prompt=TEXT, api_name="/draw", **SETTINGS)
    pipeline = faces_engine.library.get("faces")
    expected = pipeline(TEXT, 2, 4, 1.5, seeds=[5, 6])
    for file, picture, seed, item in zip(files_of(gallery), expected.images, (5, 6), gallery, strict=True):
        assert levels_apart(file, picture) <= 1
        assert re.fullmatch(rf"CLIP 0\.\d\d · seed {seed} · .+ (ms|s)", item["caption"])
    assert "t2l-warning" not in notice


def test_pictures_say_how_they_were_made(page: Any) -> None:
    gallery, _ = page.predict(prompt="眼鏡をかけた金髪の女性", api_name="/draw", **{**SETTINGS, "n": 1})
    with Image.open(files_of(gallery)[0]) as picture:
        assert picture.format == "PNG"
        assert picture.info["prompt"] == "眼鏡をかけた金髪の女性"
        assert json.loads(picture.info["text2latent"])["settings"]["num_inference_steps"] == 4


def test_defaults_will_do(page: Any) -> None:
    gallery, _ = page.predict(prompt=TEXT, api_name="/draw")
    assert len(gallery) == 4


def test_a_prompt_beyond_the_model_is_warned_of(page: Any) -> None:
    _, notice = page.predict(prompt="quantum physics", api_name="/draw", **{**SETTINGS, "n": 1})
    assert "t2l-warning" in notice
    assert "beyond what the model can draw" in notice
    assert "範囲" in notice


def test_the_other_tabs_warn_too(page: Any) -> None:
    far, near = "quantum physics", "a woman"
    mixed = page.predict(start=near, end=far, frames=2, api_name="/mix", **SETTINGS)
    edited = page.predict(source=near, target=far, strength=1, start=near, api_name="/edit", **SETTINGS)
    compared = page.predict(prompt=far, iterations=1, api_name="/compare", **SETTINGS)
    assert all("t2l-warning" in result[2] for result in (mixed, edited, compared))
    assert "t2l-warning" not in page.predict(start=near, end=near, frames=2, api_name="/mix", **SETTINGS)[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": "  "}, "Write a text first"),
        ({"prompt": "x" * 1001}, "prompt: expected at most 1000 characters, got 1001"),
        ({"n": 17}, "17"),
        ({"model": "nobody"}, "nobody"),
    ],
)
def test_what_is_wrong_is_told_in_words(page: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(gradio_client.exceptions.AppError, match=re.escape(message)):
        page.predict(api_name="/draw", **{"prompt": TEXT, **SETTINGS, **change})


def test_mix_draws_the_way_between_two_texts(page: Any, faces_engine: Engine) -> None:
    strip, animation, _, gif = page.predict(
        start="a sad child", end="a happy old man", frames=3, api_name="/mix", **SETTINGS
    )
    files = files_of(strip)
    pipeline = faces_engine.library.get("faces")
    for file, text in ((files[0], "a sad child"), (files[2], "a happy old man")):
        assert levels_apart(file, pipeline(text, 1, 4, 1.5, seeds=[5]).images[0]) <= 1
    with Image.open(animation) as moving:
        assert moving.n_frames == 4  # there and back, without the ends twice
    with Image.open(gif) as moving:
        assert (moving.format, moving.n_frames) == ("GIF", 4)


def test_an_edit_of_no_strength_changes_nothing(page: Any) -> None:
    edit = {"source": "a woman", "target": "a woman with a hat", "start": "a young woman", "api_name": "/edit"}
    before, after, _ = page.predict(strength=0, **edit, **SETTINGS)
    for one, other in zip(files_of(before), files_of(after), strict=True):
        assert levels_apart(one, other) <= 1
    _, moved, _ = page.predict(strength=2, **edit, **SETTINGS)
    assert levels_apart(files_of(before)[0], files_of(moved)[0]) > 20


def test_an_edit_needs_something_to_start_with(page: Any) -> None:
    with pytest.raises(gradio_client.exceptions.AppError, match="Write a text first"):
        page.predict(source="a", target="b", strength=1, start="", api_name="/edit", **SETTINGS)


def test_compare_shows_both_ways_and_their_times(page: Any) -> None:
    amortised, optimised, notice = page.predict(prompt=TEXT, iterations=2, api_name="/compare", **SETTINGS)
    assert levels_apart(files_of(amortised)[0], files_of(optimised)[0]) > 20
    assert len(re.findall(r"\d (?:ms|s)\b", notice)) == 2
    assert re.search(r"\d+×", notice)


def test_a_comparison_that_its_client_cancels_ends(
    page: Any, faces_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: Queue[Future[Any]] = Queue()
    submit = faces_engine.submit_compare

    def noted(*arguments: Any, client: str | None = None) -> Future[Any]:
        future = submit(*arguments, client=client)
        begun.put(future)
        return future

    monkeypatch.setattr(faces_engine, "submit_compare", noted)
    job = page.submit(prompt=TEXT, iterations=500, api_name="/compare", **SETTINGS)
    comparison = begun.get(timeout=PATIENCE)
    assert job.cancel()
    with contextlib.suppress(CancelledError):  # it hadn't begun yet
        assert isinstance(comparison.exception(PATIENCE), Left)


def test_variations_of_an_upload_are_those_of_the_pipeline(page: Any, faces_engine: Engine, tmp_path: Path) -> None:
    pipeline = faces_engine.library.get("faces")
    picture = pipeline("an old man with a beard", 1, 4, seeds=[1]).images[0]
    picture.save(tmp_path / "old man.png")
    upload = gradio_client.handle_file(str(tmp_path / "old man.png"))
    gallery, _ = page.predict(image=upload, prompt="", image_weight=0.5, api_name="/vary", **SETTINGS)
    expected = pipeline(image=picture, num_images_per_prompt=2, num_inference_steps=4, guidance_scale=1.5, seeds=[5, 6])
    for file, drawn in zip(files_of(gallery), expected.images, strict=True):
        assert levels_apart(file, drawn) <= 1


def test_an_upload_is_found_as_the_pipeline_finds_it(page: Any, faces_engine: Engine, tmp_path: Path) -> None:
    pipeline = faces_engine.library.get("faces")
    picture = pipeline("an old man with a beard", 1, 4, seeds=[1]).images[0]
    picture.save(tmp_path / "old man.png")
    upload = gradio_client.handle_file(str(tmp_path / "old man.png"))
    gallery, notice = page.predict(image=upload, api_name="/find", **SETTINGS)
    expected = pipeline.project(picture, seed=5)
    (file,) = files_of(gallery)
    assert levels_apart(file, expected.pil_images[0]) <= 1
    assert expected.psnr[0] > 25
    assert "Found in" in notice


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
def test_uploads_that_are_no_pictures_are_refused_in_words(page: Any, data: bytes, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(data)
    upload = gradio_client.handle_file(str(tmp_path / "picture.png"))
    with pytest.raises(gradio_client.exceptions.AppError, match="image: expected a whole PNG") as refusal:
        page.predict(image=upload, prompt="", image_weight=0.5, api_name="/vary", **SETTINGS)
    assert "/tmp" not in str(refusal.value)


def test_variations_need_a_picture(page: Any) -> None:
    with pytest.raises(gradio_client.exceptions.AppError, match="Choose a picture first"):
        page.predict(image=None, prompt=TEXT, image_weight=0.5, api_name="/vary", **SETTINGS)


@pytest.fixture(scope="module")
def drawn(faces_engine: Engine) -> Any:
    return (
        faces_engine.submit_draw(DrawRequest(TEXT, seed=5, steps=4, negative_prompt="hat", rerank=2, truncation=0.8))
        .result()
        .images[0]
    )


def run_command(command: str) -> None:
    program, verb, *arguments = shlex.split(command)
    assert (program, verb) == ("text2latent", "infer")
    assert infer.main([*arguments, "--device", "cpu"]) == 0


def test_the_command_draws_the_picture_again(drawn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert drawn.recipe.needs == ""
    run_command(drawn.recipe.command)
    (file,) = tmp_path.glob("*.png")
    assert levels_apart(file, drawn.picture) <= 1


def test_the_python_code_draws_the_picture_again(drawn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(drawn.recipe.python, "snippet", "exec"), {})
    (file,) = tmp_path.glob("*.png")
    assert levels_apart(file, drawn.picture) <= 1


def test_commands_of_variations_refinements_and_edits_go_on_from_what_the_page_saves(
    drawn: Any, faces_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{drawn.stem}.png").write_bytes(drawn.png())
    (tmp_path / f"{drawn.stem}.npz").write_bytes(drawn.npz())
    variation = faces_engine.submit_draw(variations_of(drawn, 1, 3)).result().images[0]
    refined = faces_engine.submit_refine(RefineRequest(drawn, 2)).result().after
    edited = faces_engine.submit_edit(EditRequest((drawn,), "a woman", "a woman with a beard", 1.5)).result().after[0]
    for image in (variation, refined, edited):
        output = shlex.split(image.recipe.command)[-1]
        Path(output).unlink(missing_ok=True)
        run_command(image.recipe.command)
        assert levels_apart(output, image.picture) <= 2, image.recipe.command
        if output == f"{drawn.stem}.png":
            Path(output).write_bytes(drawn.png())


def test_a_program_draws_an_adjusted_picture_again(
    drawn: Any, faces_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{drawn.stem}.npz").write_bytes(drawn.npz())
    changes = (Change("a woman", "a woman with a hat", 1.0), Change("young", "old", -0.5))
    (adjusted,) = faces_engine.submit_adjust(AdjustRequest(drawn, changes)).result().images
    assert adjusted.recipe.command == ""
    exec(compile(adjusted.recipe.python, "snippet", "exec"), {})
    (file,) = tmp_path.glob("*.png")
    assert levels_apart(file, adjusted.picture) <= 1


def test_saved_latents_are_those_of_the_picture(drawn: Any, faces_engine: Engine, tmp_path: Path) -> None:
    pipeline = faces_engine.library.get("faces")
    (tmp_path / "saved.npz").write_bytes(drawn.npz())
    latents = load_latents(tmp_path / "saved.npz", pipeline.generator.latent_shape)
    assert levels_apart(Image.fromarray(to_levels(pipeline, latents)), drawn.picture) <= 1


def to_levels(pipeline: Text2LatentPipeline, latents: Any) -> np.ndarray:
    images = pipeline.generator.synthesize(latents).clamp(-1, 1)
    return ((images[0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()


def test_the_page_remembers_a_bounded_number_of_visits(faces_engine: Engine) -> None:
    states = StateHolder()
    states.set_blocks(endpoints.build_endpoints(faces_engine, Visits(), Uploads(0)))
    for visit in map(str, range(endpoints.REMEMBERED_VISITS + 1)):
        assert states[visit] is states[visit]
    assert "0" not in states
    assert len(states.session_data) == endpoints.REMEMBERED_VISITS <= 200


def test_settings_stand_in_the_place_of_the_request() -> None:
    async def handler(text: str, how: DrawRequest, last: int = 3) -> str:
        """What it does."""
        return ""

    call = calls.takes_settings(handler)
    assert list(inspect.signature(call).parameters) == ["text", *calls.SETTINGS, "last"]
    assert call.__doc__ == "What it does."
    assert set(calls.SETTINGS) <= set(inspect.signature(DrawRequest).parameters)


@pytest.mark.parametrize(("seconds", "text"), [(0.0304, "30 ms"), (0.9, "900 ms"), (1, "1.0 s"), (75.04, "75.0 s")])
def test_durations(seconds: float, text: str) -> None:
    assert shown.duration(seconds) == text


def test_warnings_come_only_for_prompts_outside() -> None:
    assert "t2l-warning" not in shown.notice("4", DomainScore(98.0, 99.0, False))
    assert "t2l-warning" in shown.notice("4", DomainScore(100.0, 99.0, True))


def test_files_lie_where_gradio_serves_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    first, again, other = shown.keep(b"a", "x.png"), shown.keep(b"a", "x.png"), shown.keep(b"b", "x.png")
    assert first == again != other
    assert Path(first).is_relative_to(tmp_path)
    assert Path(first).read_bytes() == b"a"


def test_files_that_are_kept_again_are_whole_all_the_while(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    data = bytes(2**22)
    path = Path(shown.keep(data, "x.png"))
    with ThreadPoolExecutor(2) as pool:
        again = [pool.submit(shown.keep, data, "x.png") for _ in range(30)]
        sizes = {len(path.read_bytes()) for _ in range(30)}
        assert {future.result() for future in again} == {str(path)}
    assert sizes == {len(data)}
    assert [file.name for file in path.parent.iterdir()] == ["x.png"]


def test_all_texts_are_there_in_both_languages() -> None:
    assert all(english.strip() and japanese.strip() for english, japanese in texts.TEXTS.values())
    assert 'lang="en">pictures<' in texts.both("pictures")
    assert 'lang="ja">枚<' in texts.both("pictures")


def test_the_pages_texts_are_all_used_and_all_there() -> None:
    files = {name: data.decode() for name, data in read_files().items() if name.endswith((".js", ".html"))}
    named = re.findall(r"^  '?([\w ]+)'?: \[", files.pop("texts.js"), re.MULTILINE)
    used = "".join(files.values())
    told = {"drawing frames", "editing", "refining", "optimising", "looking for the picture"}
    unused = [name for name in named if not re.search(rf"['\"`]{name}['\"`]", used) and name not in told]
    assert [name for name in unused if not name.startswith(("kind_", "many_", "one_"))] == []
    assert set(re.findall(r'data-(?:text|label|title|hint)="(\w+)"', used)) <= set(named)


def test_controls_have_both_languages_and_are_in_the_domain(faces_engine: Engine) -> None:
    world = describe_world(faces_engine, "faces")
    words = [word for group in world["chips"] for word in (group["name"], *group["words"])]
    ends = [slider[end] for slider in world["sliders"] for end in ("from", "to")]
    said = [*words, *ends, *(slider["name"] for slider in world["sliders"])]
    assert len({slider["key"] for slider in world["sliders"]}) == len(world["sliders"])
    assert all(set(one) == {"en", "ja"} and all(map(str.strip, one.values())) for one in said)
    pipeline = faces_engine.library.get("faces")
    scores = pipeline.domain_scores([one[language] for one in ends for language in ("en", "ja")])
    assert scores is not None
    assert not any(score.is_outside for score in scores)
    assert read_controls("a model that nobody knows") == {}


def test_examples_are_in_the_domain(faces_engine: Engine) -> None:
    examples = read_examples("faces")
    assert len(examples) >= 4
    scores = faces_engine.library.get("faces").domain_scores(examples)
    assert scores is not None
    assert not any(score.is_outside for score in scores)
    assert read_examples("a model that nobody knows") == []


def test_what_is_known_of_a_world_follows_the_generator_where_the_name_tells_nothing(engine: Engine) -> None:
    with Engine([f"mine={ZOO / 'faces' / 'weights' / 'prior'}"]) as renamed:
        world = describe_world(renamed, "mine")
    assert world == {"examples": read_examples("faces"), **read_controls("faces")}
    assert describe_world(engine, "tiny") == {"examples": []}
    assert read_examples("../examples/faces") == []
    assert read_controls("../controls/faces") == {}


def test_the_page_asks_nothing_of_other_servers() -> None:
    for name, data in read_files().items():
        if name.endswith((".css", ".html", ".js")):
            assert not re.search(r"@import|url\(|https?:(?!//www\.w3\.org/2000/svg)", data.decode()), name
