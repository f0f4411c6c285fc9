"""Images moved along several directions at once, against the pipeline's own edits."""

from __future__ import annotations

import pytest
import torch

from text2latent.apps.serving.adjustments import KEPT_DIRECTIONS, MOST_CHANGES, Adjuster, AdjustRequest
from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.operations import Change
from text2latent.apps.serving.requests import DrawRequest
from text2latent.apps.serving.results import ServedImage
from text2latent.common.errors import UsageError
from text2latent.inference.editing import edit_direction
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.query import Query
from text2latent.inference.settings import Settings

HAT, OLD = Change("a man", "a man with a hat", 1.5), Change("a young man", "an old man", -0.5)


@pytest.fixture(scope="module")
def drawn(engine: Engine) -> ServedImage:
    (image,) = engine.submit_draw(DrawRequest("a man", seed=3, steps=4)).result().images
    return image


def adjusted(engine: Engine, start: ServedImage, *changes: Change) -> ServedImage:
    (image,) = engine.submit_adjust(AdjustRequest(start, changes)).result().images
    return image


def test_changes_add_up(engine: Engine, pipeline: Text2LatentPipeline, drawn: ServedImage) -> None:
    settings = Settings(num_inference_steps=4)
    expected = drawn.latent
    for change in (HAT, OLD):
        direction = edit_direction(pipeline, Query(change.source), Query(change.target), settings)
        expected = expected + change.strength * direction
    image = adjusted(engine, drawn, HAT, OLD)
    torch.testing.assert_close(image.latent, expected, rtol=0, atol=1e-5)
    assert image.seed == drawn.seed
    assert image.label == (
        "a man, edited from 'a man' to 'a man with a hat', edited from 'a young man' to 'an old man'"
    )
    assert image.description["settings"]["edits"] == [
        ["a man", "a man with a hat", 1.5],
        ["a young man", "an old man", -0.5],
    ]


def test_no_strength_changes_nothing(engine: Engine, drawn: ServedImage) -> None:
    still = Change("a man", "a woman", 0.0)
    assert torch.equal(adjusted(engine, drawn, still).latent, drawn.latent)
    assert torch.equal(adjusted(engine, drawn, still, HAT).latent, adjusted(engine, drawn, HAT).latent)


def test_the_score_is_with_the_last_target(engine: Engine, drawn: ServedImage) -> None:
    image = adjusted(engine, drawn, HAT, OLD)
    assert str(image.query.text) == "an old man"
    assert image.clip_score is not None


def test_one_change_has_a_command(engine: Engine, drawn: ServedImage) -> None:
    assert "--edit 'a man' 'a man with a hat' --strength=1.5" in adjusted(engine, drawn, HAT).recipe.command
    assert adjusted(engine, drawn, HAT, OLD).recipe.command == ""


def test_directions_are_kept_and_bounded(engine: Engine, drawn: ServedImage) -> None:
    task, adjuster = engine._prepare_from(drawn), Adjuster()

    def adjust(number: int) -> None:
        change = Change(f"man {number % 3}", "woman", 1.0)
        adjuster.adjust(task, AdjustRequest(drawn, (change,)), lambda share, what: None)

    for number in range(6):
        adjust(number)
    assert len(adjuster._directions) == 3 <= KEPT_DIRECTIONS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ((), "changes: expected a whole number >= 1, got 0"),
        ((HAT,) * (MOST_CHANGES + 1), f"changes: expected at most {MOST_CHANGES}, got {MOST_CHANGES + 1}"),
        ((Change(" ", "a hat", 1),), "source: prompt ' ': expected some words"),
        ((Change("a hat", "x" * 300, 1),), "target: expected at most 200 characters, got 300"),
        ((Change("a", "b", float("nan")),), "strength: expected a number in [-10, 10], got nan"),
        ((Change("a", "b", 11),), "strength: expected a number in [-10, 10], got 11"),
    ],
)
def test_what_is_wrong_is_named(engine: Engine, drawn: ServedImage, changes: tuple[Change, ...], message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        adjusted(engine, drawn, *changes)
    assert str(refusal.value).startswith(message)
