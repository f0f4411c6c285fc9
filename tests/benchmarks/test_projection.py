"""The figures of projection on few pictures, and the rival's schedules against its paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from text2latent.benchmarks import projection
from text2latent.benchmarks.projection import EDITS, SAID, half_interval, main, share_kept
from text2latent.benchmarks.projection_rival import LEARNING_RATE, NOISE, noise_at, project_as_stylegan, rate_at
from text2latent.benchmarks.report import read_parts
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.projection.features import ClipFeatures, feature_distance
from text2latent.zoo.world import load_world

FACES = load_world("faces")


def test_rate_rises_in_a_line_and_falls_as_a_cosine() -> None:
    rates = [rate_at(step, 1000) for step in range(1000)]
    assert rates[0] == 0
    assert rates[25] == pytest.approx(LEARNING_RATE / 2)
    assert rates[50:751] == [LEARNING_RATE] * 701
    assert rates[875] == pytest.approx(LEARNING_RATE / 2)
    assert rates[999] < 1e-5
    assert np.all(np.diff(rates[750:]) <= 0)


def test_noise_falls_as_a_square_and_ends_at_three_quarters() -> None:
    assert noise_at(0, 1000) == NOISE
    assert noise_at(375, 1000) == pytest.approx(NOISE / 4)
    assert noise_at(750, 1000) == noise_at(999, 1000) == 0


def test_the_rival_comes_closer_and_its_pictures_stay_apart(tiny_model: Path) -> None:
    pipeline = Text2LatentPipeline.from_pretrained(str(tiny_model))
    features = ClipFeatures(pipeline.clip)
    pictures = pipeline.generator.synthesize(pipeline.generator.sample_w(2, 900))
    near, far = (project_as_stylegan(pipeline.generator, features, pictures, steps) for steps in (60, 2))

    def distances(latents: torch.Tensor) -> torch.Tensor:
        return feature_distance(features(pipeline.generator.synthesize(latents)), features(pictures))

    assert (distances(near) < distances(far)).all()
    alone = project_as_stylegan(pipeline.generator, features, pictures[1:], 60)
    torch.testing.assert_close(near[1:], alone, atol=1e-2, rtol=1e-2)


def test_every_value_of_an_edited_attribute_can_be_said() -> None:
    assert all({*SAID[name]} == {*FACES.attributes[name]} for name in SAID)
    assert all(value in SAID[name] for name, value in EDITS.values())


def test_shares_and_intervals() -> None:
    truth = {"eyewear": "none", "headwear": "hat", "age": "old"}
    assert share_kept(truth, {**truth, "age": "young"}) == pytest.approx(2 / 3)
    assert share_kept(truth, {"headwear": "hat"}, ("age",)) == 0.5
    assert half_interval(np.ones(8)) == 0
    assert 0.2 < half_interval(np.random.default_rng(0).standard_normal(50)) < 0.4


def test_figures_of_few_pictures(tmp_path: Path) -> None:
    file = tmp_path / "projection.json"
    few = ["--num-pictures", "2", "--steps", "0", "2", "--rival-steps", "2", "--json", str(file)]
    assert main([*few, "--only", "own"]) == 0
    found = {figure.name: figure.value for figure in read_parts(file)["own"]["figures"]}
    ways = {name.rpartition(", ")[0] for name in found}
    assert len(ways) == 4
    assert found["from the prior, 2 steps, PSNR"] > found["from the prior, 0 steps, PSNR"] > 10
    assert all(0 <= found[f"{way}, attributes kept"] <= 1 and found[f"{way}, error in w"] > 0 for way in ways)
    assert projection.PARTS.keys() == {"own", "renders", "single", "edits"}
