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
    judge_accuracy,
    own_images,
    prompt_faithfulness,
    zero_shot_accuracy,
)
from text2latent.zoo.judge import WEIGHTS as JUDGE
from text2latent.zoo.language.captions import LANGUAGES
from text2latent.zoo.world import load_world

FACES = load_world("faces")

WEIGHTS = JUDGE.parent.parent
FILES = {
    "judge": "model.safetensors",
    "generator": "diffusion_pytorch_model.safetensors",
    "clip": "open_clip_model.safetensors",
    "prior": "diffusion_pytorch_model.safetensors",
}


@pytest.fixture(scope="module")
def generator() -> Generator:
    return load_generator("faces").to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def clip() -> ClipEncoder:
    return ClipEncoder.from_pretrained("faces")


@pytest.fixture(scope="module")
def pipeline() -> Text2LatentPipeline:
    return Text2LatentPipeline.from_pretrained("faces")


def test_all_weights_are_small():
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert {part: (WEIGHTS / part / name).is_file() for part, name in FILES.items()} == dict.fromkeys(FILES, True)
    assert sum(path.stat().st_size for path in files) <= 40 * 2**20
    known = {".safetensors", ".json", ".md", ".txt"}
    assert {path.suffix for path in files} <= known, "weights hold nothing but tensors and text"


@pytest.mark.parametrize("part", FILES)
def test_weights_are_halves(part):
    tensors = load_file(WEIGHTS / part / FILES[part])
    assert {t.dtype for t in tensors.values() if t.is_floating_point()} == {torch.float16}
    assert all(t.isfinite().all() for t in tensors.values())


def test_open_clip_alone_loads_the_clip(clip, renders):
    folder = Path(WEIGHTS / "clip").as_posix()
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    texts = ["a blonde woman", "帽子をかぶった男性"]
    with torch.no_grad():
        text = torch.nn.functional.normalize(model.encode_text(tokenizer(texts)), dim=-1)
    torch.testing.assert_close(clip.encode_text(texts), text, atol=1e-4, rtol=0)
    assert callable(preprocess)


@pytest.mark.parametrize("language", LANGUAGES)
def test_clip_tells_attributes_of_held_out_renders(clip, renders, language):
    scores = zero_shot_accuracy(FACES, clip, language, renders[0][:300], renders[1][:300])
    assert np.mean(list(scores.values())) >= 0.85, scores


def test_generator_draws_what_z_stands_for(generator, judge):
    images, codes = own_images(FACES, generator, 200)
    scores = judge_accuracy(FACES, judge, images, codes)
    assert np.mean(list(scores.values())) >= 0.9, scores


def test_mapping_network_knows_the_world(generator):
    z = generator.sample_latents(300, seed=77_000_000)
    w = generator.map(z)[:, 0]
    assert (w - FACES.latents(*FACES.meaning(z))).abs().mean() < 0.15


def test_generator_draws_different_faces_of_different_z(generator):
    images = own_images(FACES, generator, 8)[0]
    differences = (images[:, None] - images[None]).abs().mean(dim=(2, 3, 4))
    assert (differences + torch.eye(8) > 0.1).all()


def test_prior_was_trained_with_the_shipped_generator_and_clip(pipeline):
    """It names them by the world's name, so that it works wherever the package is installed."""
    for part in ("generator", "clip"):
        assert pipeline.record[part]["source"] == "faces"


@pytest.mark.parametrize("language", LANGUAGES)
def test_prior_draws_what_held_out_captions_name(pipeline, judge, language):
    fit = prompt_faithfulness(FACES, pipeline, judge, held_out_captions(FACES, 20, language), num_images=2)
    assert fit.named >= 0.85, fit


def test_prior_draws_faces_as_plain_as_the_generators_own(pipeline, judge, generator):
    own = confidence(judge, own_images(FACES, generator, 24)[0])
    drawn = pipeline(["a man", "a woman"], num_images_per_prompt=12, seeds=range(12), output_type="pt").images
    assert confidence(judge, drawn) > 0.9 * own


@pytest.mark.parametrize("prompt", ["blonde woman with glasses", "金髪の眼鏡をかけた女性"])
def test_prompt_of_the_readme_is_answered(pipeline, judge, prompt):
    images = pipeline(prompt, num_images_per_prompt=4, seeds=range(4), output_type="pt").images
    wanted = {"gender": "woman", "hair_color": "blonde", "eyewear": "glasses"}
    codes = judge.classify(images)
    right = [
        all(FACES.attributes[name][row[FACES.names.index(name)]] == value for name, value in wanted.items())
        and FACES.attributes["hair_style"][row[FACES.names.index("hair_style")]] != "bald"
        for row in codes
    ]
    assert sum(right) >= 3, codes.tolist()
