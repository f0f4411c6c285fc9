from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch

from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.zoo.faces.attributes import ATTRIBUTES, NAMES, NUISANCES, SIZES, encode, visible
from text2latent.zoo.faces.evaluation import (
    class_embeddings,
    confidence,
    held_out_captions,
    held_out_renders,
    judge_accuracy,
    prompt_faithfulness,
    score_pictures,
    zero_shot_accuracy,
)
from text2latent.zoo.faces.fit.batches import to_tensor
from text2latent.zoo.faces.language.captions import Caption, draw_caption
from text2latent.zoo.faces.language.lexicon import VALID
from text2latent.zoo.faces.portraits.renderer import render

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
    allowed = VALID.copy()
    for name, words in values.items():
        allowed[NAMES.index(name)] = False
        allowed[NAMES.index(name), [ATTRIBUTES[name].index(word) for word in words.split()]] = True
    return Caption(" ".join(values.values()), "en", allowed)


def pictures(*changes: dict[str, str]) -> torch.Tensor:
    codes = encode([{**FACE, **change} for change in changes])
    return to_tensor(render(codes, np.zeros((len(codes), len(NUISANCES)))))


def test_scores_of_a_case_by_hand(judge):
    images = pictures({}, {"expression": "angry"}, {"gender": "woman", "facial_hair": "none"}, {})
    captions = [
        caption(gender="man", expression="happy", background="sea"),
        caption(gender="man", expression="happy sad"),
        caption(facial_hair="beard moustache", eyewear="glasses"),
        caption(hair_color="gray white"),
    ]
    scores = score_pictures(judge, images, captions)
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
    scores = score_pictures(judge, pictures({}, {"expression": "sad"}), [caption(), caption()])
    assert (scores.named, scores.complete, scores.by_attribute) == (1, 1, {})
    assert np.isfinite([scores.confidence, scores.diversity]).all()


def test_a_bald_head_shows_no_hair_colour(judge):
    images = pictures({"hair_style": "bald"})
    every_color = " ".join(ATTRIBUTES["hair_color"][:-1])
    assert score_pictures(judge, images, [caption(hair_color=every_color)]).named == 0
    assert score_pictures(judge, images, [caption(hair_style="bald")]).named == 1


def test_renders_fit_their_own_captions_and_not_those_of_others(judge, renders):
    images, codes = renders[0][:50], renders[1][:50]
    rng = np.random.default_rng(3)
    captions = [draw_caption(rng, row, language) for row, language in zip(codes, ["en", "ja"] * 25, strict=True)]
    own = score_pictures(judge, images, captions)
    assert own.named >= 0.98
    assert own.complete >= 0.95
    others = score_pictures(judge, images, captions[1:] + captions[:1])
    assert others.named < 0.75
    assert others.complete < 0.4


def test_diversity_is_entropy_of_what_is_left_open(judge):
    little = caption(skin="light")
    same = score_pictures(judge, pictures({}, {}, {}, {}), [little] * 4)
    assert same.diversity == pytest.approx(0)
    mixed = score_pictures(judge, pictures({}, {}, {"earrings": "yes"}, {"headwear": "hat"}), [little] * 4)
    quarter = (log(4) / 4 + 3 / 4 * log(4 / 3)) / log(2)
    assert mixed.diversity == pytest.approx(2 * quarter / len(NAMES))


def test_diversity_leaves_out_what_is_named(judge):
    images = pictures({}, {"expression": "sad"}, {"expression": "angry"}, {"expression": "neutral"})
    left_open = score_pictures(judge, images, [caption(gender="man")] * 4).diversity
    named = score_pictures(judge, images, [caption(expression="happy sad angry")] * 4).diversity
    assert left_open == pytest.approx(1 / len(NAMES))
    assert named == pytest.approx(0)


def test_diversity_of_random_faces_is_near_its_maximum(judge, renders):
    images = renders[0][:80]
    scores = score_pictures(judge, images, [caption(background="sea city")] * len(images))
    facial_hair_share = 1 / len(NAMES)
    assert 1 - facial_hair_share - 0.07 < scores.diversity <= 1


def test_confidence_falls_between_two_faces(judge, renders):
    images = renders[0][:24]
    assert confidence(judge, images) > 0.97
    ghosts = (images[:12] + images[12:]) / 2
    assert confidence(judge, ghosts) < confidence(judge, images) - 0.03


def test_accuracy_counts_visible_attributes_only(judge, renders):
    images, codes = renders[0][:60], renders[1][:60]
    wrong = codes.copy()
    column = NAMES.index("hair_color")
    bald = ~visible(codes)[:, column]
    assert bald.any()
    wrong[bald, column] = (wrong[bald, column] + 1) % SIZES[column]
    assert judge_accuracy(judge, images, wrong) == judge_accuracy(judge, images, codes)
    wrong[:, column] = (codes[:, column] + 1) % SIZES[column]
    assert judge_accuracy(judge, images, wrong)["hair_color"] < 0.1


def test_held_out_draws_depend_on_their_seed():
    (images, codes), (others, _) = held_out_renders(8), held_out_renders(8, seed=5)
    assert torch.equal(images, held_out_renders(8)[0])
    np.testing.assert_array_equal(codes, held_out_renders(8)[1])
    assert not torch.equal(images, others)
    texts = [[c.text for c in held_out_captions(12, language)] for language in ("en", "en", "ja")]
    assert texts[0] == texts[1]
    assert not set(texts[0]) & set(texts[2])
    assert len(set(texts[0])) > 8


def test_class_embeddings_are_mean_directions_of_prompts(tiny_world):
    clip = ClipEncoder.from_pretrained(str(tiny_world))
    embeddings = class_embeddings(clip, "headwear", "en")
    assert embeddings.shape == (2, clip.embedding_dim)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))


def test_an_unfitted_clip_classifies_at_chance(tiny_world, renders):
    clip = ClipEncoder.from_pretrained(str(tiny_world))
    scores = zero_shot_accuracy(clip, "en", renders[0][:100], renders[1][:100])
    assert list(scores) == list(NAMES)
    chance = np.mean([1 / size for size in SIZES])
    assert np.mean(list(scores.values())) == pytest.approx(chance, abs=0.12)


def test_faithfulness_draws_each_picture_from_a_seed_of_its_own(judge, tiny_model):
    """The tiny generator draws 32 pixels, which are enlarged to what the judge takes."""
    pipeline = Text2LatentPipeline.from_pretrained(str(tiny_model))
    synthesize = pipeline.generator.synthesize
    pipeline.generator.synthesize = lambda *args, **kw: (
        synthesize(*args, **kw).repeat_interleave(4, 2).repeat_interleave(4, 3)
    )
    captions = [caption(gender="man"), caption(gender="woman")]
    scores = prompt_faithfulness(pipeline, judge, captions, num_images=2, guidance_scale=1.0, num_inference_steps=1)
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
    expected = score_pictures(judge, torch.cat(drawn), [captions[0], captions[0], captions[1], captions[1]])
    assert scores.named == expected.named
    assert scores.confidence == pytest.approx(expected.confidence, abs=1e-4)
