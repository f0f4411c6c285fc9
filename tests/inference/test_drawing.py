import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from text2latent.inference.drawing import describe, draw_pairs
from text2latent.inference.pipeline import Settings, Text2LatentPipeline
from text2latent.inference.query import Query
from text2latent.inference.writing import png_metadata


def test_images_come_with_their_prompts_seeds_and_scores(pipe: Text2LatentPipeline) -> None:
    asked = [(text, seed) for text in ("a man", "a dog") for seed in (4, 5, 6)]
    drawn = list(draw_pairs(pipe, [(Query(text), seed) for text, seed in asked], Settings(batch_size=4)))
    expected = pipe(["a man", "a dog"], num_images_per_prompt=3, seeds=[4, 5, 6])
    assert [(*image.prompts, *image.seeds) for image in drawn] == [
        (p, s) for p in ("a man", "a dog") for s in (4, 5, 6)
    ]
    assert [image.record["clip_score"] for image in drawn] == pytest.approx(expected.clip_scores.tolist(), abs=1e-3)
    for image, picture in zip(drawn, expected.images, strict=True):
        assert max(abs(a - b) for a, b in zip(image.picture.tobytes(), picture.tobytes(), strict=True)) <= 1


def test_scores_may_be_missing(pipe: Text2LatentPipeline) -> None:
    (image,) = draw_pairs(pipe, [(Query("a man"), 0)], Settings(return_scores=False))
    assert image.record == {"prompt": "a man", "seed": 0, "clip_score": None}


def test_metadata_tells_everything_and_no_paths(pipe: Text2LatentPipeline) -> None:
    settings = Settings(num_inference_steps=3, guidance_scale=1.5)
    drawn = next(pipe.stream(["a man"], [7], settings))
    scored = replace(drawn, clip_scores=torch.tensor([0.5]))
    images = [scored.named([(text, 7, None)]) for text in ("眼鏡", "a man")]
    metadata = png_metadata(describe(pipe, settings), images)
    everything = json.loads(metadata["text2latent"])
    assert (metadata["prompt"], metadata["seed"]) == ("眼鏡\na man", "7")
    assert everything["settings"] == {
        "num_inference_steps": 3,
        "guidance_scale": 1.5,
        "truncation": 1.0,
        "rerank": 1,
        "refine": 0,
    }
    for part, identity in (("model", pipe.identity), ("generator", pipe.generator.identity)):
        assert identity is not None
        assert everything[part] == {"name": identity.name, "sha256": identity.sha256}
    assert everything["images"][0] == {"prompt": "眼鏡", "seed": 7, "clip_score": 0.5}
    assert str(Path(pipe.generator.identity.source).parent) not in metadata["text2latent"]


def test_whoever_draws_keeps_gradients(pipe: Text2LatentPipeline) -> None:
    coming = pipe.stream(["a man", "a woman"], [7, 8], Settings(batch_size=1))
    next(coming)
    assert torch.is_grad_enabled()
