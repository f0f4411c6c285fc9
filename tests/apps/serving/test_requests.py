"""Requests are checked against the limits, and their texts parsed once."""

from __future__ import annotations

import pytest

from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.operations import CompareRequest, EditRequest, MixRequest, RefineRequest
from text2latent.apps.serving.requests import DrawRequest
from text2latent.common.errors import UsageError
from text2latent.inference import prompts
from text2latent.inference.prompts import parse_prompt
from text2latent.tests.apps.serving.drawing import JAPANESE, TEXT


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
