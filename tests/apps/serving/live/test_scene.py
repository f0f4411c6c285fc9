"""Scenes: at rest they show what the pipeline draws, and between two states what it interpolates."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from text2latent.apps.serving.limits import Limits
from text2latent.apps.serving.live.changes import Change
from text2latent.apps.serving.live.edits import EditDirections
from text2latent.apps.serving.live.moments import MomentTask, draw_moments
from text2latent.apps.serving.live.scene import Moment, Scene
from text2latent.common.errors import UsageError
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.settings import Settings
from text2latent.tests.apps.serving.drawing import farthest

PAIRS = {"hat": ("a man", "a man with a hat"), "age": ("young", "old")}
HOW = Settings(return_scores=False)


def begun(pipeline: Text2LatentPipeline, **beginning: object) -> Scene:
    return Scene(pipeline, Change(**{"prompt": "a man", **beginning}), EditDirections(pipeline, PAIRS))


def change(scene: Scene, now: float, **targets: object) -> None:
    scene.aim(scene.prepare(Change(**targets)), now)


def drawn(pipeline: Text2LatentPipeline, *moments: Moment) -> list[Image.Image]:
    return draw_moments([MomentTask(moment, pipeline, HOW) for moment in moments])


def test_at_rest_it_is_what_the_pipeline_draws(pipeline: Text2LatentPipeline) -> None:
    scene = begun(pipeline, seed=5, truncation=0.7)
    expected = pipeline("a man", seeds=[5], truncation=0.7).images[0]
    moment = scene.at(0.0)
    assert not moment.is_moving
    assert farthest(drawn(pipeline, moment)[0], expected) <= 1
    change(scene, 1.0, prompt="an old woman | hat:0.5", seed=9, truncation=1.0, ease=2.0)
    assert scene.at(2.0).is_moving
    expected = pipeline("an old woman | hat:0.5", seeds=[9]).images[0]
    after = scene.at(3.01)
    assert not after.is_moving
    assert farthest(drawn(pipeline, after)[0], expected) <= 1


def test_the_middle_of_a_mix_is_the_middle_of_an_interpolation(pipeline: Text2LatentPipeline) -> None:
    scene = begun(pipeline, mix_prompt="a woman", mix=0.5, seed=3)
    expected = pipeline.interpolate("a man", "a woman", 3, seeds=[3]).images[1]
    assert farthest(drawn(pipeline, scene.at(0.0))[0], expected) <= 1


def test_edits_are_the_pipelines(pipeline: Text2LatentPipeline) -> None:
    scene = begun(pipeline, edits={"hat": 1.5}, seed=2, truncation=0.8)
    expected = pipeline.edit(*PAIRS["hat"], 1.5, prompt="a man", seeds=[2], truncation=0.8).images[0]
    assert farthest(drawn(pipeline, scene.at(0.0))[0], expected) <= 1


def test_moments_are_drawn_alike_together_and_alone(pipeline: Text2LatentPipeline) -> None:
    scene = begun(pipeline)
    change(scene, 0.0, prompt="a woman", seed=4, truncation=0.5, edits={"age": 1.0})
    moments = [scene.at(share) for share in (0.0, 0.3, 0.6, 1.0)]
    together = drawn(pipeline, *moments)
    for moment, picture in zip(moments, together, strict=True):
        assert farthest(drawn(pipeline, moment)[0], picture) <= 1
    assert farthest(together[0], together[-1]) > 1


@pytest.mark.parametrize(
    "targets",
    [
        {"prompt": "a woman"},
        {"mix_prompt": "a woman"},
        {"mix": 1.0},
        {"seed": 8},
        {"truncation": 0.2},
        {"edits": {"age": 2.0, "hat": -1.0}},
    ],
)
def test_no_change_jumps(pipeline: Text2LatentPipeline, targets: dict[str, object]) -> None:
    """Not when it comes, nor when another comes on top of it, nor at its end."""
    scene = begun(pipeline, mix_prompt="a child", mix=0.4)
    times = sorted([*np.linspace(0, 2.5, 126).tolist(), 0.7, 0.7 + 1e-9])
    seen = []
    change(scene, 0.0, **targets)
    for now in times:
        if now == 0.7:
            change(scene, now, prompt="an old man", seed=1, truncation=1.0, mix=0.1)
        seen.append(scene.at(now))
    for one, two in itertools.pairwise(seen):
        for before, after in ((one.condition, two.condition), (one.noise, two.noise)):
            assert float((before - after).norm() / before.norm()) < 0.1
        assert abs(one.truncation - two.truncation) < 0.05
        edits = [torch.zeros(1) if moment.edit is None else moment.edit for moment in (one, two)]
        assert float((edits[0] - edits[1]).abs().max()) < 0.3
    assert seen[5].is_moving
    assert not seen[-1].is_moving


def test_mixing_without_a_second_text_shows_the_first(pipeline: Text2LatentPipeline) -> None:
    scene = begun(pipeline, mix=0.7)
    change(scene, 0.0, prompt="a woman", ease=0.0)
    alone = begun(pipeline, prompt="a woman")
    assert torch.allclose(scene.at(0.0).condition, alone.at(0.0).condition, atol=1e-6)


def test_what_is_wanted_already_changes_nothing(pipeline: Text2LatentPipeline) -> None:
    """Tools that send all they have sixty times a second cost neither embeddings nor frames."""
    scene = begun(pipeline, seed=3)
    change(scene, 0.0, edits={"age": 0.0}, ease=0.0)
    before = scene.at(0.0)
    again = scene.prepare(Change("a man", seed=3, mix=0.0, truncation=1.0, edits={"age": 0.0}))
    assert (again.condition, again.noise) == (None, None)
    scene.aim(again, 1.0)
    after = scene.at(1.0)
    assert not after.is_moving
    assert after.version == before.version
    assert after.edit is None


def test_states_say_where_numbers_are_and_what_texts_are_wanted(pipeline: Text2LatentPipeline) -> None:
    scene = begun(pipeline)
    change(scene, 0.0, prompt="a woman", truncation=0.0, edits={"age": 2.0}, ease=2.0)
    state = scene.at(1.0).state
    assert state == {
        "prompt": "a woman", "mix_prompt": None, "mix": 0.0, "seed": 0, "truncation": pytest.approx(0.5),
        "edits": {"age": pytest.approx(1.0)}, "ease": 2.0,
    }  # fmt: skip
    assert scene.wanted["truncation"] == 0.0


def test_changes_join_to_the_latest_word_on_each() -> None:
    first = Change("a", mix=0.1, edits={"x": 1.0, "y": 1.0})
    later = Change(seed=3, mix=0.2, edits={"y": 2.0})
    assert first.then(later) == Change("a", mix=0.2, seed=3, edits={"x": 1.0, "y": 2.0})
    assert Change().then(first) == first.then(Change()) == first


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ({"prompt": " "}, "prompt"),
        ({"prompt": "x" * 1001}, "prompt: expected at most 1000 characters, got 1001"),
        ({"mix_prompt": ""}, "mix_prompt: prompt"),
        ({"mix": 1.1}, "mix: expected a number in [0, 1], got 1.1"),
        ({"mix": float("nan")}, "mix: expected a number in [0, 1], got nan"),
        ({"seed": -1}, "seed: expected a whole number >= 0, got -1"),
        ({"seed": 2**63}, "seed: expected less than 2^63"),
        ({"truncation": 3.0}, "truncation: expected a number in [0, 2], got 3.0"),
        ({"ease": 61.0}, "ease: expected a number in [0, 60], got 61.0"),
        ({"edits": {"beard": 1.0}}, "edits: expected one of hat, age, got 'beard'"),
        ({"edits": {"hat": float("inf")}}, "edits: hat: expected a number in [-10, 10], got inf"),
    ],
)
def test_unusable_changes_are_refused(targets: dict[str, object], expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        Change(**targets).check(Limits(), list(PAIRS))
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)
