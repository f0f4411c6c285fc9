"""The engine: what it draws is what the pipeline draws, alone or in company, and its recipes draw it again."""

from __future__ import annotations

import io
import json
import shlex
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from text2latent import __main__
from text2latent.apps.serving.batching import Closed, QueueFull
from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.limits import Batching, Limits
from text2latent.apps.serving.operations import CompareRequest, EditRequest, MixRequest, RefineRequest
from text2latent.apps.serving.passes import draw_together
from text2latent.apps.serving.requests import DrawRequest
from text2latent.apps.serving.results import Recipe, ServedImage
from text2latent.common.errors import InputError, UsageError
from text2latent.inference import prompts
from text2latent.inference.domain import fit_domain
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.prompts import parse_prompt
from text2latent.tests.apps.serving.conftest import SMALL_LIMITS

TEXT, JAPANESE = "blonde woman with glasses", "眼鏡をかけた金髪の女性"
REQUESTS = [
    DrawRequest(TEXT, n=2, seed=3),
    DrawRequest(JAPANESE, seed=3),
    DrawRequest(TEXT, n=3, seed=4, steps=4, guidance_scale=2.0),
    DrawRequest("man:1 | hat:0.5", seed=8),
    DrawRequest(TEXT, seed=9, negative_prompt="hat"),
    DrawRequest(TEXT, n=2, seed=1, rerank=3),
    DrawRequest(JAPANESE, seed=5, truncation=0.6),
    DrawRequest(image=Image.new("RGB", (40, 40), "red"), seed=2, n=2),
    DrawRequest(TEXT, image=Image.new("RGB", (40, 40), "red"), image_weight=0.3, seed=2),
]


@pytest.fixture(scope="module")
def pipeline(tiny_model: Path) -> Text2LatentPipeline:
    return Text2LatentPipeline.from_pretrained(str(tiny_model))


def farthest(one: Image.Image, other: Image.Image) -> int:
    """Largest difference of two pictures' levels."""
    return int(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max())


def expected_images(pipeline: Text2LatentPipeline, request: DrawRequest) -> list[Image.Image]:
    """What the pipeline itself draws for a request."""
    assert request.seed is not None
    drawn = pipeline(
        request.prompt,
        request.n,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        truncation=request.truncation,
        rerank=request.rerank,
        seeds=list(range(request.seed, request.seed + request.n)),
        negative_prompt=request.negative_prompt,
        image=request.image,
        image_weight=request.image_weight,
    )
    return drawn.images


@pytest.mark.parametrize("request_number", range(len(REQUESTS)))
def test_the_engine_draws_what_the_pipeline_draws(
    engine: Engine, pipeline: Text2LatentPipeline, request_number: int
) -> None:
    request = REQUESTS[request_number]
    result = engine.submit_draw(request).result()
    assert [image.seed for image in result.images] == [request.seed + i for i in range(request.n)]
    for image, expected in zip(result.images, expected_images(pipeline, request), strict=True):
        assert farthest(image.picture, expected) <= 1
        assert -1 <= image.clip_score <= 1
        assert 0 < image.seconds <= result.seconds


def test_requests_at_once_share_passes_and_get_the_images_that_they_get_alone(tiny_model: Path) -> None:
    with Engine([f"tiny={tiny_model}"], "cpu", SMALL_LIMITS, Batching(64, 5.0)) as engine:
        alone = [draw_together([engine._prepare(request)])[0] for request in REQUESTS]
        passes = []
        run = engine._draws._run
        engine._draws._run = lambda tasks: passes.append(len(tasks)) or run(tasks)
        with ThreadPoolExecutor(len(REQUESTS)) as pool:
            together = [future.result() for future in pool.map(engine.submit_draw, REQUESTS)]
    # Four settings that differ from the default ones, of which the five others share a pass.
    assert sorted(passes) == [1, 1, 1, 1, 5]
    for one, other in zip(alone, together, strict=True):
        for image, same in zip(one.images, other.images, strict=True):
            assert image.seed == same.seed
            assert farthest(image.picture, same.picture) <= 1
            assert image.clip_score == pytest.approx(same.clip_score, abs=1e-3)


def test_without_a_seed_images_differ_and_tell_theirs(engine: Engine) -> None:
    first, second = (engine.submit_draw(DrawRequest(TEXT)).result().images[0] for _ in range(2))
    assert first.seed != second.seed
    again = engine.submit_draw(DrawRequest(TEXT, seed=first.seed)).result().images[0]
    assert farthest(first.picture, again.picture) <= 1


def test_files_tell_how_an_image_was_made(engine: Engine, tiny_model: Path) -> None:
    request = DrawRequest(JAPANESE, seed=5, steps=4, guidance_scale=2.5, negative_prompt="hat", truncation=0.9)
    image = engine.submit_draw(request).result().images[0]
    written = Image.open(io.BytesIO(image.png()))
    everything = json.loads(written.text["text2latent"])
    assert written.tobytes() == image.picture.tobytes()
    assert (written.text["prompt"], written.text["seed"]) == (JAPANESE, "5")
    assert everything["settings"] == {
        "num_inference_steps": 4,
        "guidance_scale": 2.5,
        "truncation": 0.9,
        "rerank": 1,
        "refine": 0,
        "negative_text": "hat",
    }
    assert str(tiny_model.parent) not in written.text["text2latent"]
    assert Image.open(io.BytesIO(image.png((64, 64)))).size == (64, 64)
    with np.load(io.BytesIO(image.npz())) as arrays:
        assert np.array_equal(arrays["w"], image.latent.expand(image.num_ws, -1)[None])


def test_variations_follow_the_image_and_keep_the_settings(engine: Engine, pipeline: Text2LatentPipeline) -> None:
    start = engine.submit_draw(DrawRequest(TEXT, seed=3, steps=4, truncation=0.8)).result().images[0]
    varied = engine.submit_vary(start, n=2, seed=7).result()
    expected = pipeline(
        image=start.picture, num_images_per_prompt=2, num_inference_steps=4, truncation=0.8, seeds=[7, 8]
    )
    assert [image.seed for image in varied.images] == [7, 8]
    for image, other in zip(varied.images, expected.images, strict=True):
        assert farthest(image.picture, other) <= 1
    assert varied.images[0].label == start.stem


def test_a_mix_goes_from_one_text_to_the_other(engine: Engine) -> None:
    told: list[tuple[float, str]] = []
    mixed = engine.submit_mix(
        MixRequest(TEXT, JAPANESE, 5, DrawRequest(seed=4)), lambda *step: told.append(step)
    ).result()
    ends = [engine.submit_draw(DrawRequest(text, seed=4)).result().images[0] for text in (TEXT, JAPANESE)]
    assert farthest(mixed.frames[0].picture, ends[0].picture) <= 1
    assert farthest(mixed.frames[-1].picture, ends[1].picture) <= 1
    assert [frame.seed for frame in mixed.frames] == [4] * 5
    assert mixed.strip().size == (5 * 34 - 2, 32)
    assert [share for share, _ in told] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    moving = Image.open(io.BytesIO(mixed.animation()))
    assert (moving.format, moving.n_frames) == ("GIF", 8)


def test_an_edit_of_no_strength_changes_nothing_and_opposite_ones_cancel_out(engine: Engine) -> None:
    start = engine.submit_draw(DrawRequest(TEXT, n=2, seed=3)).result().images
    nothing = engine.submit_edit(EditRequest(tuple(start), "a woman", "a man", 0.0)).result()
    assert nothing.before == start
    assert [farthest(a.picture, b.picture) for a, b in zip(start, nothing.after, strict=True)] == [0, 0]
    there = engine.submit_edit(EditRequest(tuple(start), "a woman", "a man", 2.0)).result()
    assert farthest(there.after[0].picture, start[0].picture) > 1
    back = engine.submit_edit(EditRequest(tuple(there.after), "a woman", "a man", -2.0)).result()
    assert [farthest(a.picture, b.picture) for a, b in zip(start, back.after, strict=True)] <= [1, 1]


def test_an_edit_can_draw_its_start(engine: Engine) -> None:
    request = DrawRequest(TEXT, n=2, seed=3)
    edited = engine.submit_edit(EditRequest(request, "a woman", "a man", 1.0)).result()
    drawn = engine.submit_draw(request).result().images
    for before, image in zip(edited.before, drawn, strict=True):
        assert farthest(before.picture, image.picture) <= 1
    assert {image.label for image in edited.after} == {f"{TEXT}, edited from 'a woman' to 'a man'"}
    same = engine.submit_edit(EditRequest(tuple(drawn), "a woman", "a man", 1.0)).result()
    for one, other in zip(edited.after, same.after, strict=True):
        assert farthest(one.picture, other.picture) <= 1


def test_refining_is_what_the_pipeline_does(engine: Engine, pipeline: Text2LatentPipeline) -> None:
    told: list[float] = []
    start = engine.submit_draw(DrawRequest(TEXT, seed=3)).result().images[0]
    refined = engine.submit_refine(RefineRequest(start, 4), lambda share, what: told.append(share)).result()
    expected = pipeline(TEXT, seeds=[3], refine=4)
    assert refined.before is start
    assert farthest(refined.after.picture, expected.images[0]) <= 1
    assert refined.after.clip_score == pytest.approx(float(expected.clip_scores[0]), abs=1e-3)
    assert told == pytest.approx([0.25, 0.5, 0.75, 1.0])
    other = engine.submit_refine(RefineRequest(start, 4, "a man")).result().after
    assert farthest(other.picture, refined.after.picture) > 0
    assert other.label == "a man"


def test_a_comparison_has_both_ways_and_their_times(engine: Engine) -> None:
    told: list[float] = []
    compared = engine.submit_compare(
        CompareRequest(TEXT, 4, DrawRequest(seed=6)), lambda share, what: told.append(share)
    ).result()
    assert (
        farthest(compared.amortised.picture, engine.submit_draw(DrawRequest(TEXT, seed=6)).result().images[0].picture)
        <= 1
    )
    assert [point.iteration for point in compared.points] == [0, 1, 2, 3, 4]
    assert compared.optimised.clip_score == pytest.approx(max(point.clip_score for point in compared.points), abs=1e-4)
    assert compared.optimised.seconds == compared.points[-1].seconds > 0
    assert told[-1] == 1
    assert json.loads(Image.open(io.BytesIO(compared.optimised.png())).text["text2latent"])["optimizer"] == "adam"


def all_kinds(engine: Engine) -> Iterator[tuple[str, ServedImage, ServedImage | None]]:
    """Name, image, and the image that it was made of, if any, for each way in which images come about."""
    for number in (0, 4, 5, 6):
        yield f"draw {number}", engine.submit_draw(REQUESTS[number]).result().images[-1], None
    start = engine.submit_draw(REQUESTS[2]).result().images[1]
    yield "variation", engine.submit_vary(start, 2, seed=3).result().images[1], start
    yield (
        "mixed with an image",
        engine.submit_draw(replace(REQUESTS[8], image=start.picture, image_name=start.stem)).result().images[0],
        start,
    )
    yield (
        "mix",
        engine.submit_mix(MixRequest("a 'sad' child", JAPANESE, 4, DrawRequest(seed=4, negative_prompt="hat")))
        .result()
        .frames[2],
        None,
    )
    edited = engine.submit_edit(EditRequest((start,), "a woman", "a man", -1.5)).result().after[0]
    yield "edit", edited, start
    yield (
        "refined",
        engine.submit_refine(RefineRequest(engine.submit_draw(REQUESTS[5]).result().images[0], 3)).result().after,
        None,
    )
    yield "refined edit", engine.submit_refine(RefineRequest(edited, 3)).result().after, edited
    yield "optimised", engine.submit_compare(CompareRequest(TEXT, 3, DrawRequest(seed=6))).result().optimised, None


def follow(recipe: Recipe, way: str) -> None:
    """Do what a recipe says in the current folder."""
    if way == "command":
        words = shlex.split(recipe.command)
        assert words[0] == "text2latent"
        assert __main__.main([*words[1:], "--device", "cpu"]) == 0
    else:
        exec(compile(recipe.python, "recipe", "exec"), {})


def drawn_picture(folder: Path) -> Image.Image:
    """The picture that a recipe drew into a folder; of a GIF the third frame, of a run the best image."""
    files = {file for file in folder.rglob("*") if file.suffix in (".png", ".gif")}
    files = {file for file in files if file.name == "best.png"} or files
    (path,) = files
    picture = Image.open(path)
    if path.suffix == ".gif":
        picture.seek(2)
    return picture.convert("RGB")


def test_recipes_draw_the_same_images(
    engine: Engine,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for kind, image, start in all_kinds(engine):
        for way in ("command", "python"):
            if way == "command" and not image.recipe.command:
                assert kind == "refined edit"
                continue
            folder = tmp_path / way / kind / "drawn"
            folder.mkdir(parents=True)
            monkeypatch.chdir(folder.parent)
            Path("tiny").symlink_to(tiny_model)
            if start is not None:
                assert start.stem in image.recipe.needs
                Path(f"{start.stem}.png").write_bytes(start.png())
                Path(f"{start.stem}.npz").write_bytes(start.npz())
            else:
                assert image.recipe.needs == ""
            before = set(Path().rglob("*"))
            follow(image.recipe, way)
            for file in set(Path().glob("*")) - before:
                file.rename(folder / file.name)
            difference = farthest(drawn_picture(folder), image.picture)
            # A GIF has 256 colours for all its frames.
            assert difference <= (100 if kind == "mix" and way == "command" else 1), (kind, way, image.recipe)


def test_recipes_name_no_path_of_the_server(engine: Engine, tiny_model: Path) -> None:
    for _, image, _ in all_kinds(engine):
        told = image.recipe.command + image.recipe.python + json.dumps(image.description)
        assert str(tiny_model.parent) not in told


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (DrawRequest(), "prompt: expected a text, got none"),
        (DrawRequest(" "), "prompt"),
        (DrawRequest("x" * 201), "prompt: expected at most 200 characters, got 201"),
        (DrawRequest("a\0b"), r"expected no control characters, got U\+0000"),
        (DrawRequest("a | b:-1"), "expected weights whose sum is positive"),
        (DrawRequest("a", negative_prompt="y" * 201), "negative_prompt: expected at most 200 characters"),
        (DrawRequest("a", negative_prompt="b", guidance_scale=1), "guidance_scale: expected other than 1"),
        (DrawRequest("a", n=5), "n: expected at most 4, got 5"),
        (DrawRequest("a", n=0), "n: expected a whole number >= 1, got 0"),
        (DrawRequest("a", n=1.5), "n: expected a whole number"),
        (DrawRequest("a", steps=9), "steps: expected at most 8, got 9"),
        (DrawRequest("a", rerank=4), "rerank: expected at most 3, got 4"),
        (DrawRequest("a", seed=-1), "seed: expected a whole number >= 0, got -1"),
        (DrawRequest("a", seed=2**63), r"seed: expected less than 2\^63"),
        (DrawRequest("a", seed=2**63 - 2, n=4), r"seed: expected less than 2\^63 - 3 for 4 images"),
        (DrawRequest("a", guidance_scale=float("nan")), r"guidance_scale: expected a number in \[0, 20\], got nan"),
        (DrawRequest("a", truncation=2.1), r"truncation: expected a number in \[0, 2\], got 2.1"),
        (DrawRequest("a", image_weight=1.1), r"image_weight: expected a number in \[0, 1\]"),
        (DrawRequest("a", model="other"), "model: expected one of tiny, got 'other'"),
        (MixRequest("a", ""), "end"),
        (MixRequest("a", "b", 7), "frames: expected at most 6, got 7"),
        (MixRequest("a", "b", 1), "frames: expected a whole number >= 2, got 1"),
        (EditRequest(DrawRequest("a"), "x", "y", 11), r"strength: expected a number in \[-10, 10\], got 11"),
        (EditRequest(DrawRequest("a", n=9), "x", "y"), "n: expected at most 4, got 9"),
        (EditRequest((), "x", "y"), "images: expected a whole number >= 1, got 0"),
        (CompareRequest("a", 6), "iterations: expected at most 5, got 6"),
    ],
)
def test_what_is_beyond_the_limits_is_refused(engine: Engine, request_: object, message: str) -> None:
    ask = {
        DrawRequest: engine.submit_draw,
        MixRequest: engine.submit_mix,
        EditRequest: engine.submit_edit,
        CompareRequest: engine.submit_compare,
    }
    with pytest.raises(UsageError, match=message):
        ask[type(request_)](request_)
    assert engine.num_waiting == 0


def test_a_text_is_parsed_once_a_request(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    monkeypatch.setattr(prompts, "parse_prompt", lambda text: parsed.append(text) or parse_prompt(text))
    start = tuple(engine.submit_draw(DrawRequest(TEXT, n=3, seed=3, negative_prompt="hat")).result().images)
    assert [parsed.pop() for _ in parsed[:]] == ["hat", TEXT]
    engine.submit_mix(MixRequest(TEXT, JAPANESE, 3, DrawRequest(seed=4, negative_prompt="hat"))).result()
    assert [parsed.pop() for _ in parsed[:]] == ["hat", JAPANESE, TEXT]
    engine.submit_edit(EditRequest(start, "a woman", "a man")).result()
    assert [parsed.pop() for _ in parsed[:]] == ["a man", "a woman"]
    engine.submit_refine(RefineRequest(start[0], 2, "a man")).result()
    assert [parsed.pop() for _ in parsed[:]] == ["a man"]


def test_refining_has_limits_too(engine: Engine) -> None:
    image = engine.submit_draw(DrawRequest(TEXT, seed=3)).result().images[0]
    with pytest.raises(UsageError, match="iterations: expected at most 5, got 6"):
        engine.submit_refine(RefineRequest(image, 6)).result()


def test_infinite_latents_fail_alone(tiny_model: Path) -> None:
    wide = replace(SMALL_LIMITS, max_guidance_scale=1e38)
    with Engine([f"tiny={tiny_model}"], "cpu", wide, Batching(64, 0.05)) as engine:
        good, bad = engine.submit_draw(DrawRequest(TEXT)), engine.submit_draw(DrawRequest(TEXT, guidance_scale=1e38))
        with pytest.raises(InputError, match="guidance_scale"):
            bad.result()
        assert len(good.result().images) == 1


def test_prompts_that_cancel_out_fail_alone_in_a_shared_pass(tiny_model: Path) -> None:
    with Engine([f"tiny={tiny_model}"], "cpu", SMALL_LIMITS, Batching(8, 1.0)) as engine:
        futures = [engine.submit_draw(DrawRequest(text, seed=1)) for text in (TEXT, "a:1 | a:-0.99999", JAPANESE)]
        with pytest.raises(UsageError, match="cancel out"):
            futures[1].result()
        assert [futures[i].result().images[0].label for i in (0, 2)] == [TEXT, JAPANESE]


def test_a_full_engine_refuses_draws_and_long_work(tiny_model: Path) -> None:
    batching = Batching(1, 0.0, max_waiting=1, max_waiting_long=1)
    with Engine([f"tiny={tiny_model}"], "cpu", SMALL_LIMITS, batching) as engine:
        engine.submit_draw(DrawRequest(TEXT)).result()
        with pytest.raises(QueueFull):
            deque((engine.submit_draw(DrawRequest(TEXT, seed=seed, n=4)) for seed in range(1000)), 0)
        with pytest.raises(QueueFull):
            deque((engine.submit_mix(MixRequest(TEXT, JAPANESE, 5, DrawRequest(seed=seed))) for seed in range(1000)), 0)


def test_long_work_does_not_hold_up_what_is_done_sooner(tiny_model: Path) -> None:
    with Engine([f"tiny={tiny_model}"], "cpu", Limits(max_iterations=100_000), Batching()) as engine:
        long = [engine.submit_compare(CompareRequest(TEXT, 100_000)) for _ in range(3)]
        drawn = engine.submit_draw(DrawRequest(TEXT)).result().images[0]
        engine.submit_mix(MixRequest(TEXT, JAPANESE, 2)).result()
        engine.submit_edit(EditRequest((drawn,), TEXT, JAPANESE)).result()
        engine.submit_refine(RefineRequest(drawn, 1)).result()
        assert not any(future.done() for future in long)
        assert engine.num_waiting <= 3
    # An engine that is closed doesn't finish what takes long.
    for future in long:
        with pytest.raises(Closed):
            future.result(0)


def test_one_client_cannot_have_all_places(tiny_model: Path) -> None:
    batching = Batching(max_of_client=2, max_long_of_client=1)
    with Engine([f"tiny={tiny_model}"], "cpu", Limits(max_iterations=100_000), batching) as engine:
        engine.submit_compare(CompareRequest(TEXT, 100_000), client="greedy")
        for _ in range(25):
            with pytest.raises(QueueFull, match="busy: 1 of your requests"):
                engine.submit_compare(CompareRequest(TEXT, 100_000), client="greedy")
        engine.submit_compare(CompareRequest(TEXT, 100_000), client="another").cancel()
        assert engine.submit_mix(MixRequest(TEXT, JAPANESE, 2), client="greedy").result()
        with pytest.raises(QueueFull, match="busy: 2 of your requests"):
            deque((engine.submit_draw(DrawRequest(TEXT, n=4), "greedy") for _ in range(1000)), 0)


def test_out_of_domain_prompts_say_so(tiny_model: Path) -> None:
    with Engine([f"tiny={tiny_model}"], "cpu", SMALL_LIMITS) as engine:
        pipeline = engine.library.get()
        assert engine.submit_draw(DrawRequest(TEXT)).result().out_of_domain is None
        assert engine.domain_score(TEXT) is None
        condition = pipeline.text_condition(pipeline.encode_prompts([TEXT]))
        rng = torch.Generator().manual_seed(0)
        noise = torch.nn.functional.normalize(torch.randn(64, 16, generator=rng), dim=1)
        near = torch.nn.functional.normalize(condition + 0.1 * noise, dim=1)
        pipeline.domain = fit_domain(torch.cat([near, -near[:32]]), near)
        with pytest.warns(UserWarning, match="seems to be beyond"):
            foreign = engine.submit_draw(DrawRequest("a steam engine")).result().out_of_domain
        assert foreign == engine.domain_score("a steam engine")
        assert (foreign.percentile, foreign.is_outside) == (100, True)
        assert engine.submit_draw(DrawRequest(TEXT)).result().out_of_domain.percentile < 99
        assert engine.submit_draw(DrawRequest(image=Image.new("RGB", (9, 9)))).result().out_of_domain is None
