"""How a CLIP and a set of pairs stand: how texts and images lie, where prompts land among images, what to change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from text2latent.apps.evaluation.alignment import VARIANCE_SHARE, Alignment, measure_alignment, principal_components

Embeddings = NDArray[np.float32]
BEST_IMAGES = 20
"""Images that fit a text best, which are asked whether it fits them better than the other texts do."""
UNSEEN_SHARE = 0.1
"""Texts that fewer of their best images prefer aren't distinguished from the others by what is in the images."""
CROWDED_SHARE = 0.25
"""Share of the texts with one nearest image that is too large, where there are at least `MANY_TEXTS`."""
MANY_TEXTS = 8
WIDE_GAP = 0.7
ALIKE_IMAGES = 0.85
FEW_PAIRS = 10_000
PAIRS_PER_COMPONENT = 50
ALIKE_TEXTS = 0.35
"""Cosine of two texts as the prior sees them; around 0 they are as different as texts of all kinds are."""


@dataclass(frozen=True)
class Landing:
    """Where texts land among images.

    Attributes:
        distance: root-mean-square distance of a text from the mean image along the images' components that hold
            `VARIANCE_SHARE` of their variance, in standard deviations of the images; that of images is 1. Averaged.
        nearest: how many different images are the nearest of a text.
        crowd: most texts with the same nearest image.
        text_cosine: mean cosine of two texts.
        seen: `[M]`, share of each text's `BEST_IMAGES` best images which no other text fits better.
        best: `[M, BEST_IMAGES]`, those images, the best first.
    """

    distance: float
    nearest: int
    crowd: int
    text_cosine: float
    seen: NDArray[np.float64]
    best: NDArray[np.int64]


@dataclass(frozen=True)
class Subject:
    """What is looked at.

    Attributes:
        name: of the pairs, for people.
        num_pairs: all of them; the images are some.
        truncation: psi that they were drawn with.
        prompts: M texts.
        images: `[N, E]`, embeddings of images, L2-normalised.
        texts: `[M, E]`, of the prompts.
        general: `[K, E]`, of texts of all kinds.
        image_conditions, text_conditions: what a prior sees of images and texts, `[N, E]` and `[M, E]`.
        corrected: whether that is anything else than the embeddings; a prior trained without prompts sees those.
    """

    name: str
    num_pairs: int
    truncation: float
    prompts: Sequence[str]
    images: Embeddings
    texts: Embeddings
    general: Embeddings
    image_conditions: Embeddings
    text_conditions: Embeddings
    corrected: bool = True


@dataclass(frozen=True)
class Diagnosis:
    """What is found: statistics, where texts land as they are and as conditions, and what to change, a line each."""

    alignment: Alignment
    raw: Landing
    conditions: Landing
    advice: list[str]


def centred(embeddings: Embeddings, mean: Embeddings) -> Embeddings:
    """Embeddings `[N, E]` as seen from a mean `[E]`, L2-normalised; what training does by default."""
    moved = embeddings - mean
    return moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)


def diagnose(subject: Subject) -> Diagnosis:
    """Measure how images and texts lie in CLIP, before and after what the prior does to them, and give advice."""
    alignment = measure_alignment(subject.images, subject.general)
    raw = land(subject.images, subject.texts)
    conditions = land(subject.image_conditions, subject.text_conditions)
    found = [rule(subject, alignment, conditions) for rule in RULES]
    return Diagnosis(alignment, raw, conditions, [line for lines in found for line in lines])


def to_dict(subject: Subject, diagnosis: Diagnosis) -> dict[str, Any]:
    """All figures, JSON-ready; those of each text beside it."""
    landings = {"as_they_are": diagnosis.raw, "conditions": diagnosis.conditions}
    figures = ("distance", "nearest", "crowd", "text_cosine")
    return {
        "pairs": subject.name,
        "alignment": asdict(diagnosis.alignment),
        "landing": {name: {key: getattr(one, key) for key in figures} for name, one in landings.items()},
        "texts": [
            {"text": text, **{name: float(one.seen[row]) for name, one in landings.items()}}
            for row, text in enumerate(subject.prompts)
        ],
        "advice": diagnosis.advice,
    }


def land(images: Embeddings, texts: Embeddings) -> Landing:
    """Where texts `[M, E]` land among images `[N, E]`, all L2-normalised."""
    cosines = texts @ images.T
    best = np.argsort(-cosines, axis=1, kind="stable")[:, : min(BEST_IMAGES, len(images))]
    favourite = cosines.argmax(axis=0)
    _, crowds = np.unique(best[:, 0], return_counts=True)
    return Landing(
        distance=_distance(images.astype(np.float64), texts.astype(np.float64)),
        nearest=len(crowds),
        crowd=int(crowds.max()),
        text_cosine=_mean_cosine(texts),
        seen=(favourite[best] == np.arange(len(texts))[:, None]).mean(axis=1),
        best=best,
    )


def _distance(images: NDArray[np.float64], texts: NDArray[np.float64]) -> float:
    variances, directions = principal_components(images)
    held = int((np.cumsum(variances) < VARIANCE_SHARE * variances.sum()).sum()) + 1
    along = (texts - images.mean(axis=0)) @ directions[:, :held] / np.sqrt(np.maximum(variances[:held], 1e-12))
    return float(np.sqrt(np.square(along).mean(axis=1)).mean())


def _mean_cosine(texts: Embeddings) -> float:
    off_diagonal = ~np.eye(len(texts), dtype=bool)
    return float((texts @ texts.T)[off_diagonal].mean()) if len(texts) > 1 else 1.0


def _advise_on_gap(subject: Subject, alignment: Alignment, landing: Landing) -> list[str]:
    if subject.corrected or alignment.gap < WIDE_GAP:
        return []
    return [
        f"Texts lie {alignment.gap:.2f} from images, and this prior was trained without asking where texts lie. Train "
        "it with --text.prompts auto."
    ]


def _advise_on_pairs(subject: Subject, alignment: Alignment, landing: Landing) -> list[str]:
    wanted = max(FEW_PAIRS, PAIRS_PER_COMPONENT * alignment.components)
    if subject.num_pairs >= wanted:
        return []
    return [f"{subject.num_pairs} pairs are few: sample {wanted} or more (sample --num-pairs)."]


def _advise_on_images(subject: Subject, alignment: Alignment, landing: Landing) -> list[str]:
    if alignment.image_cosine < ALIKE_IMAGES:
        return []
    hint = " Sample with --truncation 1." if subject.truncation < 1 else " A larger CLIP may distinguish them better."
    return [f"To this CLIP the images are nearly all alike (cosine {alignment.image_cosine:.2f}).{hint}"]


def _advise_on_kind(subject: Subject, alignment: Alignment, landing: Landing) -> list[str]:
    if len(subject.prompts) < MANY_TEXTS or landing.text_cosine < ALIKE_TEXTS:
        return []
    return [
        f"Your texts are alike to the prior (cosine {landing.text_cosine:.2f}) in what the general ones lack. "
        "Put many texts like yours, without images to them, into a file for --text.prompts."
    ]


def _advise_on_crowds(subject: Subject, alignment: Alignment, landing: Landing) -> list[str]:
    texts = len(subject.prompts)
    if texts < MANY_TEXTS or landing.crowd <= CROWDED_SHARE * texts:
        return []
    return [f"{landing.crowd} of {texts} texts have the same nearest image: to this CLIP they say much the same."]


def _advise_on_texts(subject: Subject, alignment: Alignment, landing: Landing) -> list[str]:
    if len(subject.prompts) < 2:
        return []
    unseen = [str(number) for number, share in enumerate(landing.seen, start=1) if share < UNSEEN_SHARE]
    if not unseen:
        return []
    return [
        f"CLIP does not find in these images what sets text {', '.join(unseen)} apart from the others: it is rarely in "
        "them, is one of the others in other words, or is in a language that this CLIP does not know."
    ]


Rule = Callable[[Subject, Alignment, Landing], list[str]]
RULES: tuple[Rule, ...] = (
    _advise_on_gap,
    _advise_on_pairs,
    _advise_on_images,
    _advise_on_kind,
    _advise_on_crowds,
    _advise_on_texts,
)
