from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch

from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.zoo.drawing.renders import render
from text2latent.zoo.evaluation import (
    class_embeddings,
    confidence,
    held_out_captions,
    held_out_renders,
    judge_accuracy,
    prompt_faithfulness,
    score_pictures,
    zero_shot_accuracy,
)
from text2latent.zoo.fit.batches import to_tensor
from text2latent.zoo.language.captions import Caption, draw_caption, make_caption
from text2latent.zoo.world import load_world

FACES = load_world("faces")

FACE = {
    "gender": "man",
    "age": "old",
    "skin": "light",
    "hair_color": "white",
    "hair_style": "curly",
    "eyewear": "glasses",
    "facial_hair": "beard",
    "earrings": "no",
    "headwear": "none",
    "expression": "happy",
    "background": "sea",
}


def caption(**values: str) -> Caption:
    """A caption that names these values, several of an attribute separated by spaces."""
    allowed = FACES.valid.copy()
    for name, words in values.items():
        allowed[FACES.names.index(name)] = False
        allowed[FACES.names.index(name), [FACES.attributes[name].index(word) for word in words.split()]] = True
    return make_caption(FACES, " ".join(values.values()), "en", allowed)


def pictures(*changes: dict[str, str]) -> torch.Tensor:
    codes = FACES.encode([{**FACE, **change} for change in changes])
    return to_tensor(render(FACES, codes, np.zeros((len(codes), len(FACES.nuisances)))))


def test_scores_of_a_case_by_hand(judge):
    images = pictures({}, {"expression": "angry"}, {"gender": "woman", "facial_hair": "none"}, {})
    captions = [
        caption(gender="man", expression="happy", background="sea"),
        caption(gender="man", expression="happy sad"),
        caption(facial_hair="beard moustache", eyewear="glasses"),
        caption(hair_color="gray white"),
    ]
    scores = score_pictures(FACES, judge, images, captions)
    assert scores.named == pytest.approx(6 / 8)
    assert scores.complete == pytest.approx(2 / 4)
    assert scores.by_attribute == {
        "gender": 1.0,
        "hair_color": 1.0,
        "eyewear": 1.0,
        "facial_hair": 0.0,
        "expression": 0.5,
        "background": 1.0,
    }
    assert 0.9 < scores.confidence <= 1


def test_captions_that_name_nothing_are_fulfilled(judge):
    scores = score_pictures(FACES, judge, pictures({}, {"expression": "sad"}), [caption(), caption()])
    assert (scores.named, scores.complete, scores.by_attribute) == (1, 1, {})
    assert np.isfinite([scores.confidence, scores.diversity]).all()


def test_a_bald_head_shows_no_hair_colour(judge):
    images = pictures({"hair_style": "bald"})
    every_color = " ".join(FACES.attributes["hair_color"][:-1])
    assert score_pictures(FACES, judge, images, [caption(hair_color=every_color)]).named == 0
    assert score_pictures(FACES, judge, images, [caption(hair_style="bald")]).named == 1


def test_renders_fit_their_own_captions_and_not_those_of_others(judge, renders):
    images, codes = renders[0][:50], renders[1][:50]
    rng = np.random.default_rng(3)
    captions = [draw_caption(FACES, rng, row, language) for row, language in zip(codes, ["en", "ja"] * 25, strict=True)]
    own = score_pictures(FACES, judge, images, captions)
    assert own.named >= 0.98
    assert own.complete >= 0.95
    others = score_pictures(FACES, judge, images, captions[1:] + captions[:1])
    assert others.named < 0.75
    assert others.complete < 0.4


def test_diversity_is_entropy_of_what_is_left_open(judge):
    little = caption(skin="light")
    same = score_pictures(FACES, judge, pictures({}, {}, {}, {}), [little] * 4)
    assert same.diversity == pytest.approx(0)
    mixed = score_pictures(FACES, judge, pictures({}, {}, {"earrings": "yes"}, {"headwear": "hat"}), [little] * 4)
    quarter = (log(4) / 4 + 3 / 4 * log(4 / 3)) / log(2)
    assert mixed.diversity == pytest.approx(2 * quarter / len(FACES.names))


def test_diversity_leaves_out_what_is_named(judge):
    images = pictures({}, {"expression": "sad"}, {"expression": "angry"}, {"expression": "neutral"})
    left_open = score_pictures(FACES, judge, images, [caption(gender="man")] * 4).diversity
    named = score_pictures(FACES, judge, images, [caption(expression="happy sad angry")] * 4).diversity
    assert left_open == pytest.approx(1 / len(FACES.names))
    assert named == pytest.approx(0)


def test_diversity_of_random_faces_is_near_its_maximum(judge, renders):
    images = renders[0][:80]
    scores = score_pictures(FACES, judge, images, [caption(background="sea city")] * len(images))
    facial_hair_share = 1 / len(FACES.names)
    assert 1 - facial_hair_share - 0.07 < scores.diversity <= 1


def test_confidence_falls_between_two_faces(judge, renders):
    images = renders[0][:24]
    assert confidence(judge, images) > 0.97
    ghosts = (images[:12] + images[12:]) / 2
    assert confidence(judge, ghosts) < confidence(judge, images) - 0.03


def test_accuracy_counts_visible_attributes_only(judge, renders):
    images, codes = renders[0][:60], renders[1][:60]
    wrong = codes.copy()
    column = FACES.names.index("hair_color")
    bald = ~FACES.visible(codes)[:, column]
    assert bald.any()
    wrong[bald, column] = (wrong[bald, column] + 1) % FACES.sizes[column]
    assert judge_accuracy(FACES, judge, images, wrong) == judge_accuracy(FACES, judge, images, codes)
    wrong[:, column] = (codes[:, column] + 1) % FACES.sizes[column]
    assert judge_accuracy(FACES, judge, images, wrong)["hair_color"] < 0.1


def test_held_out_draws_depend_on_their_seed():
    (images, codes), (others, _) = held_out_renders(FACES, 8), held_out_renders(FACES, 8, seed=5)
    assert torch.equal(images, held_out_renders(FACES, 8)[0])
    np.testing.assert_array_equal(codes, held_out_renders(FACES, 8)[1])
    assert not torch.equal(images, others)
    texts = [[c.text for c in held_out_captions(FACES, 12, language)] for language in ("en", "en", "ja")]
    assert texts[0] == texts[1]
    assert not set(texts[0]) & set(texts[2])
    assert len(set(texts[0])) > 8


def test_class_embeddings_are_mean_directions_of_prompts(tiny_world):
    clip = ClipEncoder.from_pretrained(str(tiny_world))
    embeddings = class_embeddings(FACES, clip, "headwear", "en")
    assert embeddings.shape == (2, clip.embedding_dim)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))


def test_an_unfitted_clip_classifies_at_chance(tiny_world, renders):
    clip = ClipEncoder.from_pretrained(str(tiny_world))
    scores = zero_shot_accuracy(FACES, clip, "en", renders[0][:100], renders[1][:100])
    assert list(scores) == list(FACES.names)
    chance = np.mean([1 / size for size in FACES.sizes])
    assert np.mean(list(scores.values())) == pytest.approx(chance, abs=0.12)


def test_faithfulness_draws_each_picture_from_a_seed_of_its_own(judge, tiny_model):
    """The tiny generator draws 32 pixels, which are enlarged to what the judge takes."""
    pipeline = Text2LatentPipeline.from_pretrained(str(tiny_model))
    synthesize = pipeline.generator.synthesize
    pipeline.generator.synthesize = lambda *args, **kw: (
        synthesize(*args, **kw).repeat_interleave(4, 2).repeat_interleave(4, 3)
    )
    captions = [caption(gender="man"), caption(gender="woman")]
    scores = prompt_faithfulness(
        FACES, pipeline, judge, captions, num_images=2, guidance_scale=1.0, num_inference_steps=1
    )
    drawn = [
        pipeline(
            c.text,
            num_images_per_prompt=2,
            seeds=[20_000_000 + 2 * row, 20_000_001 + 2 * row],
            output_type="pt",
            guidance_scale=1.0,
            num_inference_steps=1,
        ).images
        for row, c in enumerate(captions)
    ]
    expected = score_pictures(FACES, judge, torch.cat(drawn), [captions[0], captions[0], captions[1], captions[1]])
    assert scores.named == expected.named
    assert scores.confidence == pytest.approx(expected.confidence, abs=1e-4)
