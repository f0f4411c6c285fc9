"""Ways between texts, edits, refinements and comparisons are what the pipeline makes of them."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image

from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.operations import CompareRequest, EditRequest, MixRequest, RefineRequest
from text2latent.apps.serving.requests import DrawRequest
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.tests.apps.serving.drawing import JAPANESE, TEXT, farthest


def test_a_mix_goes_from_one_text_to_the_other(engine: Engine) -> None:
    reported: list[tuple[float, str]] = []
    mixed = engine.submit_mix(
        MixRequest(TEXT, JAPANESE, 5, DrawRequest(seed=4)), lambda *step: reported.append(step)
    ).result()
    ends = [engine.submit_draw(DrawRequest(text, seed=4)).result().images[0] for text in (TEXT, JAPANESE)]
    assert farthest(mixed.frames[0].picture, ends[0].picture) <= 1
    assert farthest(mixed.frames[-1].picture, ends[1].picture) <= 1
    assert [frame.seed for frame in mixed.frames] == [4] * 5
    assert mixed.strip().size == (5 * 34 - 2, 32)
    assert [share for share, _ in reported] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
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
    reported: list[float] = []
    start = engine.submit_draw(DrawRequest(TEXT, seed=3)).result().images[0]
    refined = engine.submit_refine(RefineRequest(start, 4), lambda share, what: reported.append(share)).result()
    expected = pipeline(TEXT, seeds=[3], refine=4)
    assert refined.before is start
    assert farthest(refined.after.picture, expected.images[0]) <= 1
    assert refined.after.clip_score == pytest.approx(float(expected.clip_scores[0]), abs=1e-3)
    assert reported == pytest.approx([0.25, 0.5, 0.75, 1.0])
    other = engine.submit_refine(RefineRequest(start, 4, "a man")).result().after
    assert farthest(other.picture, refined.after.picture) > 0
    assert other.label == "a man"


def test_a_comparison_has_both_ways_and_their_times(engine: Engine) -> None:
    reported: list[float] = []
    compared = engine.submit_compare(
        CompareRequest(TEXT, 4, DrawRequest(seed=6)), lambda share, what: reported.append(share)
    ).result()
    assert (
        farthest(compared.amortised.picture, engine.submit_draw(DrawRequest(TEXT, seed=6)).result().images[0].picture)
        <= 1
    )
    assert [point.iteration for point in compared.points] == [0, 1, 2, 3, 4]
    assert compared.optimised.clip_score == pytest.approx(max(point.clip_score for point in compared.points), abs=1e-4)
    assert compared.optimised.seconds == compared.points[-1].seconds > 0
    assert reported[-1] == 1
    assert json.loads(Image.open(io.BytesIO(compared.optimised.png())).text["text2latent"])["optimizer"] == "adam"
