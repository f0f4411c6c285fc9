"""The weights that ship: their size and form, and that every part does its work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file

from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.generators import load_generator
from text2latent.models.generators.base import Generator
from text2latent.zoo.evaluation import (
    confidence,
    held_out_captions,
    held_out_renders,
    judge_accuracy,
    own_images,
    prompt_faithfulness,
    zero_shot_accuracy,
)
from text2latent.zoo.judge import Judge, load_judge
from text2latent.zoo.language.captions import LANGUAGES
from text2latent.zoo.world import World, load_world

MEBIBYTES = {"faces": 40, "landscapes": 16}
"""How large the weights of the worlds may be."""
FILES = {
    "judge": "model.safetensors",
    "generator": "diffusion_pytorch_model.safetensors",
    "clip": "open_clip_model.safetensors",
    "prior": "diffusion_pytorch_model.safetensors",
}


@pytest.fixture(scope="module", params=sorted(MEBIBYTES))
def world(request: pytest.FixtureRequest) -> World:
    return load_world(request.param)


@pytest.fixture(scope="module")
def generator(world: World) -> Generator:
    return load_generator(world.name).to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def clip(world: World) -> ClipEncoder:
    return ClipEncoder.from_pretrained(world.name)


@pytest.fixture(scope="module")
def pipeline(world: World) -> Text2LatentPipeline:
    return Text2LatentPipeline.from_pretrained(world.name)


@pytest.fixture(scope="module")
def judge(world: World) -> Judge:
    return load_judge(world)


def test_all_weights_are_small(world):
    files = [path for path in world.weights.rglob("*") if path.is_file()]
    assert {part for part, name in FILES.items() if (world.weights / part / name).is_file()} == set(FILES)
    assert sum(path.stat().st_size for path in files) <= MEBIBYTES[world.name] * 2**20
    known = {".safetensors", ".json", ".md", ".txt"}
    assert {path.suffix for path in files} <= known, "weights hold nothing but tensors and text"


@pytest.mark.parametrize("part", FILES)
def test_weights_are_halves(world, part):
    tensors = load_file(world.weights / part / FILES[part])
    assert {t.dtype for t in tensors.values() if t.is_floating_point()} == {torch.float16}
    assert all(t.isfinite().all() for t in tensors.values())


def test_open_clip_alone_loads_the_clip(world, clip):
    folder = Path(world.weights / "clip").as_posix()
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    texts = ["a blonde woman", "夕日の山"]
    with torch.no_grad():
        text = torch.nn.functional.normalize(model.encode_text(tokenizer(texts)), dim=-1)
    torch.testing.assert_close(clip.encode_text(texts), text, atol=1e-4, rtol=0)
    assert callable(preprocess)


@pytest.mark.parametrize("language", LANGUAGES)
def test_clip_tells_attributes_of_held_out_renders(world, clip, language):
    scores = zero_shot_accuracy(world, clip, language, *held_out_renders(world, 300))
    assert np.mean(list(scores.values())) >= 0.85, scores


def test_judge_reads_held_out_renders(world):
    scores = judge_accuracy(world, load_judge(world), *held_out_renders(world, 200))
    assert min(scores.values()) >= 0.94, scores


def test_generator_draws_what_z_stands_for(world, generator, judge):
    images, codes = own_images(world, generator, 200)
    scores = judge_accuracy(world, judge, images, codes)
    assert np.mean(list(scores.values())) >= 0.9, scores


def test_mapping_network_knows_the_world(world, generator):
    z = generator.sample_latents(300, seed=77_000_000)
    w = generator.map(z)[:, 0]
    assert (w - world.latents(*world.meaning(z))).abs().mean() < 0.15


def test_generator_draws_different_pictures_of_different_z(world, generator):
    images = own_images(world, generator, 8)[0]
    differences = (images[:, None] - images[None]).abs().mean(dim=(2, 3, 4))
    assert (differences + torch.eye(8) > 0.1).all()


def test_prior_was_trained_with_the_shipped_generator_and_clip(world, pipeline):
    """It names them by the world's name, so that it works wherever the package is installed."""
    for part in ("generator", "clip"):
        assert pipeline.record[part]["source"] == world.name


@pytest.mark.parametrize("language", LANGUAGES)
def test_prior_draws_what_held_out_captions_name(world, pipeline, judge, language):
    fit = prompt_faithfulness(world, pipeline, judge, held_out_captions(world, 20, language), num_images=2)
    assert fit.named >= 0.85, fit


def test_prior_draws_pictures_as_plain_as_the_generators_own(world, pipeline, judge, generator):
    own = confidence(judge, own_images(world, generator, 24)[0])
    prompts = [caption.text for caption in held_out_captions(world, 12, "en", num_mentioned=1)]
    drawn = pipeline(prompts, num_images_per_prompt=2, seeds=range(24), output_type="pt").images
    assert confidence(judge, drawn) > 0.9 * own


WANTED = [
    ("landscapes", "tropical beach with palm trees", "place=beach trees=palms"),
    ("landscapes", "山の向こうの夕暮れ", "time=sunset mountains=bare,snowy"),
    ("faces", "blonde woman with glasses", "gender=woman hair_color=blonde hair_style!=bald eyewear=glasses"),
    ("faces", "金髪の眼鏡をかけた女性", "gender=woman hair_color=blonde hair_style!=bald eyewear=glasses"),
]


@pytest.mark.parametrize(("name", "prompt", "meaning"), WANTED)
def test_prompt_of_the_readme_is_answered(name, prompt, meaning):
    world = load_world(name)
    drawn = Text2LatentPipeline.from_pretrained(name)(
        prompt, num_images_per_prompt=4, seeds=range(4), output_type="pt"
    ).images
    codes = load_judge(world).classify(drawn)
    right = [world.allow(meaning)[np.arange(len(row)), row].all() for row in codes]
    assert sum(right) >= 3, world.decode(codes)
