"""What the controls of drawing do to faces, as the judge sees it."""

from __future__ import annotations

import pytest
import torch

from text2latent.inference.images import to_pil
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.zoo.evaluation import see
from text2latent.zoo.world import load_world

FACES = load_world("faces")

SEEDS = range(12)


@pytest.fixture(scope="module")
def pipeline() -> Text2LatentPipeline:
    return Text2LatentPipeline.from_pretrained("faces")


def agreement(before: list[dict[str, str]], after: list[dict[str, str]], but: str = "") -> float:
    pairs = [(one.get(name), other.get(name)) for one, other in zip(before, after, strict=True) for name in one | other
             if name != but]  # fmt: skip
    return sum(one == other for one, other in pairs) / len(pairs)


def count(seen: list[dict[str, str]], name: str, value: str) -> int:
    return sum(one.get(name) == value for one in seen)


@pytest.mark.parametrize(
    ("source", "target"), [("without glasses", "with sunglasses"), ("眼鏡のない顔", "サングラスをかけた顔")]
)
def test_edit_changes_what_is_asked_for_and_nothing_else(
    pipeline: Text2LatentPipeline, source: str, target: str
) -> None:
    start = pipeline("a woman with blonde hair", num_images_per_prompt=12, seeds=SEEDS, output_type="pt")
    edited = pipeline.edit(source, target, latents=start.latents, output_type="pt")
    before, after = see(FACES, start.images), see(FACES, edited.images)
    assert count(before, "eyewear", "sunglasses") <= 6
    assert count(after, "eyewear", "sunglasses") >= 10
    assert agreement(before, after, but="eyewear") >= 0.9


@pytest.mark.parametrize(
    ("text", "unwanted", "attribute", "value"),
    [("a man", "sunglasses", "eyewear", "sunglasses"), ("男性", "帽子", "headwear", "hat")],
)
def test_negative_text_takes_away_what_is_not_wanted(
    pipeline: Text2LatentPipeline, text: str, unwanted: str, attribute: str, value: str
) -> None:
    how = {"num_images_per_prompt": 40, "seeds": range(40), "output_type": "pt", "return_scores": False}
    plain, negative = (see(FACES, pipeline(text, negative_prompt=prompt, **how).images) for prompt in (None, unwanted))
    assert count(plain, attribute, value) >= 4
    assert count(negative, attribute, value) <= count(plain, attribute, value) / 2
    assert count(negative, "gender", "man") >= 35


def test_variations_are_like_the_picture_and_differ(pipeline: Text2LatentPipeline) -> None:
    start = pipeline("an old man with a hat and glasses in the forest", seeds=[5], output_type="pt").images
    varied = pipeline.variations(to_pil(start)[0], num_images_per_prompt=6, seeds=range(6), output_type="pt").images
    assert agreement(see(FACES, start) * 6, see(FACES, varied)) >= 0.85
    distances = torch.cdist(varied.flatten(1), varied.flatten(1), p=1) / varied[0].numel()
    assert distances[~torch.eye(6, dtype=torch.bool)].min() > 0.01


def test_interpolation_goes_in_small_steps_and_never_back(pipeline: Text2LatentPipeline) -> None:
    frames = pipeline.interpolate("young woman", "old man with a beard", num_frames=9, seeds=[0], output_type="pt")
    genders = [one["gender"] for one in see(FACES, frames.images)]
    assert genders == sorted(genders, reverse=True)
    assert {genders[0], genders[-1]} == {"woman", "man"}
    steps = frames.latents.diff(dim=0).flatten(1).norm(dim=1)
    assert steps.max() < (frames.latents[-1] - frames.latents[0]).norm()


def test_weights_say_how_much_a_part_counts(pipeline: Text2LatentPipeline) -> None:
    shares = [
        count(see(FACES, pipeline(f"a woman:1 | a hat:{weight}", num_images_per_prompt=12, seeds=SEEDS,
                           output_type="pt", return_scores=False).images), "headwear", "hat")
        for weight in (-0.5, 0, 1)
    ]  # fmt: skip
    assert shares == sorted(shares)
    assert shares[0] <= 4
    assert shares[2] >= 11
