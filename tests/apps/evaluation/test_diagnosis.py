"""Diagnoses of made-up embeddings, of which it is known what is wrong with them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from text2latent.apps.evaluation.alignment import measure_alignment
from text2latent.apps.evaluation.diagnosis import Subject, centred, diagnose, land, to_dict
from text2latent.apps.evaluation.diagnosis_page import WIDTH, page

DIM, IMAGES, TEXTS = 32, 600, 10


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def subject() -> Subject:
    """Ten kinds of images, a text for each, and two constants that lie far apart."""
    rng = np.random.default_rng(0)
    kinds, constants = unit(rng.standard_normal((TEXTS, DIM))), unit(rng.standard_normal((2, DIM)))
    which = rng.integers(0, TEXTS, IMAGES)
    images = unit(constants[0] + 0.5 * kinds[which] + 0.05 * rng.standard_normal((IMAGES, DIM)))
    texts = unit(constants[1] + 0.3 * kinds)
    general = unit(constants[1] + 0.3 * kinds[rng.integers(0, TEXTS, 300)])
    return Subject(
        name="made up",
        num_pairs=50_000,
        truncation=1.0,
        prompts=[f"kind {number}" for number in range(TEXTS)],
        images=images,
        texts=texts,
        general=general,
        image_conditions=centred(images, images.mean(axis=0)),
        text_conditions=centred(texts, general.mean(axis=0)),
    )


def changed(subject: Subject, **values: Any) -> Subject:
    return dataclasses.replace(subject, **values)


def advice(subject: Subject) -> str:
    return "\n".join(diagnose(subject).advice)


def test_alignment_equals_plain_formulas(subject: Subject) -> None:
    images, texts = subject.images.astype(float), subject.texts.astype(float)
    found = measure_alignment(images, texts)
    pairs = [images[i] @ images[j] for i in range(50) for j in range(50) if i != j]
    assert measure_alignment(images[:50], texts).image_cosine == pytest.approx(np.mean(pairs))
    assert found.gap == pytest.approx(np.linalg.norm(images.mean(0) - texts.mean(0)))
    assert found.cosine == pytest.approx((texts @ images.T).mean())
    assert found.best_cosine == pytest.approx((texts @ images.T).max(axis=1).mean())
    values = np.linalg.svd(images - images.mean(0), compute_uv=False) ** 2
    assert values[: found.components].sum() >= 0.9 * values.sum() > values[: found.components - 1].sum()


def test_centred_texts_find_their_images(subject: Subject) -> None:
    found = diagnose(subject)
    assert found.alignment.gap > 0.7
    assert found.conditions.seen.min() > 0.9
    assert found.conditions.distance < found.raw.distance
    assert found.conditions.text_cosine < found.raw.text_cosine
    assert found.conditions.nearest == TEXTS
    assert found.advice == []


def test_a_prior_that_sees_the_gap_is_to_be_trained_with_prompts(subject: Subject) -> None:
    as_they_are = changed(subject, image_conditions=subject.images, text_conditions=subject.texts, corrected=False)
    assert "--text.prompts auto" in advice(as_they_are)


def test_few_pairs_alike_images_and_alike_texts_are_named(subject: Subject) -> None:
    assert "120 pairs are few: sample 10000 or more" in advice(changed(subject, num_pairs=120))
    alike = unit(subject.images[0] + 0.01 * subject.images)
    assert "nearly all alike" in advice(changed(subject, images=alike))
    assert "--truncation 1" in advice(changed(subject, images=alike, truncation=0.5))
    common = unit(subject.text_conditions + np.linalg.svd(subject.image_conditions)[2][20])
    assert "Your texts are alike to the prior" in advice(changed(subject, text_conditions=common))


def test_a_text_of_what_no_image_shows_is_named(subject: Subject) -> None:
    conditions = subject.text_conditions.copy()
    conditions[3] = np.random.default_rng(7).standard_normal(DIM) / DIM**0.5
    found = diagnose(changed(subject, text_conditions=conditions))
    assert [line for line in found.advice if "sets text 4 apart" in line] == found.advice != []


def test_texts_that_say_the_same_are_named(subject: Subject) -> None:
    conditions = np.repeat(subject.text_conditions[:1], TEXTS, axis=0)
    assert f"{TEXTS} of {TEXTS} texts have the same nearest image" in advice(
        changed(subject, text_conditions=conditions)
    )


def test_one_text_alone_has_nobody_to_be_told_from(subject: Subject) -> None:
    one = land(subject.image_conditions, subject.text_conditions[:1])
    assert (one.nearest, one.crowd, one.seen.tolist()) == (1, 1, [1.0])


def test_the_page_tells_all_within_its_width(subject: Subject) -> None:
    long = changed(subject, prompts=["眼鏡をかけた金髪の女性" * 4, "a b " * 40, *subject.prompts[2:]], num_pairs=100)
    text = page(long, diagnose(long))
    assert max(len(line) for line in text.splitlines()) <= WIDTH
    for part in ("How texts and images lie", "Where your texts land", "Zero-shot", "What to change", "pairs are few"):
        assert part in text
    many = changed(
        subject,
        prompts=subject.prompts * 4,
        texts=np.tile(subject.texts, (4, 1)),
        text_conditions=np.tile(subject.text_conditions, (4, 1)),
    )
    assert "and 16 more" in page(many, diagnose(many))
    assert "Nothing that stands out" in page(subject, diagnose(subject))
    assert to_dict(subject, diagnose(subject))["texts"][0]["text"] == "kind 0"
