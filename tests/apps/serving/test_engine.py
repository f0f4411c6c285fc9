"""The engine: what it draws is what the pipeline draws, alone or in company."""

from __future__ import annotations

import io
import json
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from text2latent.apps.serving.batching import Closed, QueueFull
from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.limits import Batching, Limits
from text2latent.apps.serving.operations import CompareRequest, EditRequest, MixRequest, RefineRequest
from text2latent.apps.serving.passes import draw_together
from text2latent.apps.serving.requests import DrawRequest
from text2latent.common.errors import InputError, UsageError
from text2latent.inference.domain import fit_domain
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.tests.apps.serving.conftest import SMALL_LIMITS
from text2latent.tests.apps.serving.drawing import JAPANESE, REQUESTS, TEXT, farthest, variations_of


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
    varied = engine.submit_draw(variations_of(start, n=2, seed=7)).result()
    expected = pipeline(
        image=start.picture, num_images_per_prompt=2, num_inference_steps=4, truncation=0.8, seeds=[7, 8]
    )
    assert [image.seed for image in varied.images] == [7, 8]
    for image, other in zip(varied.images, expected.images, strict=True):
        assert farthest(image.picture, other) <= 1
    assert varied.images[0].label == start.stem


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
