"""From measured images to the numbers of `metrics.json`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from text2latent.apps.evaluation.judging import find_wanted
from text2latent.apps.evaluation.measuring import PROMPTS_PER_GROUP, Measured, iterate_rows
from text2latent.apps.evaluation.metrics import (
    Estimate,
    compare_manifolds,
    estimate_mean,
    frechet_distance,
    pairwise_diversity,
    r_precision,
    retrieval_ranks,
)
from text2latent.inference.prompts import PromptLine

DIGITS = 5


def summarize(
    lines: Sequence[PromptLine],
    seeds: Sequence[int],
    measured: Measured,
    texts: NDArray[np.float32],
    own: NDArray[np.float32],
    outside: Sequence[bool] | None,
) -> dict[str, Any]:
    """All measures of drawn images.

    Args:
        lines: P prompts.
        seeds: S seeds of each.
        measured: of their P * S images.
        texts: `[P, E]`, CLIP embeddings of the prompts.
        own: `[N, E]`, CLIP embeddings of the generator's own images.
        outside: whether each prompt is out of domain; None where that isn't known.

    Returns:
        Averages by name, None where there is nothing to average; `intervals`, by name the 95 % bootstrap interval of
        those that are means; `by_attribute` and `attribute_intervals`; and `images`, what is measured of each.
    """
    images = describe_images(lines, seeds, measured, texts)
    groups = np.repeat(np.arange(len(lines)), len(seeds))
    estimates = {name: _estimate(images, name, groups) for name in ("clip_score", "r_precision_1", "r_precision_10")}
    estimates["attribute_accuracy"] = _estimate(images, "attribute_accuracy", groups, "num_wanted")
    estimates["prompt_accuracy"] = _estimate(images, "prompt_accuracy", groups)
    by_prompt, prompts = measured.embeddings.reshape(len(lines), len(seeds), -1), np.arange(len(lines))
    estimates["diversity"] = estimate_mean([pairwise_diversity(rows) for rows in by_prompt], prompts)
    estimates |= _estimate_manifolds(own, measured.embeddings, groups)
    known = np.full(len(lines), np.nan) if outside is None else np.asarray(outside, dtype=np.float64)
    estimates["out_of_domain_rate"] = estimate_mean(known, prompts)
    estimates["seconds_per_image"] = estimate_mean(measured.seconds, groups // PROMPTS_PER_GROUP)
    attributes = attribute_shares(lines, seeds, measured)
    return {
        **{name: _number(estimate.value) for name, estimate in estimates.items()},
        "frechet_distance": _number(frechet_distance(own, measured.embeddings)),
        "intervals": _intervals(estimates),
        "by_attribute": {name: _number(estimate.value) for name, estimate in attributes.items()},
        "attribute_intervals": _intervals(attributes),
        "images": images,
    }


def _estimate_manifolds(own: NDArray, drawn: NDArray, groups: NDArray) -> dict[str, Estimate]:
    """Precision and density over the drawn images by prompt, recall and coverage over the generator's own."""
    manifolds, alone = compare_manifolds(own, drawn), np.arange(len(own))
    by_name = {"precision": groups, "recall": alone, "density": groups, "coverage": alone}
    return {name: estimate_mean(getattr(manifolds, name), rows) for name, rows in by_name.items()}


def _intervals(estimates: Mapping[str, Estimate]) -> dict[str, list[float | None]]:
    """Lower and upper ends by name, of those that there is a value of."""
    return {
        name: [_number(estimate.low), _number(estimate.high)]
        for name, estimate in estimates.items()
        if not np.isnan(estimate.value)
    }


def describe_images(
    lines: Sequence[PromptLine], seeds: Sequence[int], measured: Measured, texts: NDArray[np.float32]
) -> list[dict[str, Any]]:
    """What is measured of each image: prompt, seed, scores, and where a judge has seen it, what is wanted and there.

    `attribute_accuracy` is the share of wanted attributes that are there and `prompt_accuracy` 1 where all are; both
    are None where nothing is wanted or there is no judge.
    """
    rows_of_texts = {line.text: row for row, line in enumerate(lines)}
    columns = {text: column for column, text in enumerate(rows_of_texts)}
    own = [columns[line.text] for line, _ in iterate_rows(lines, seeds)]
    ranks = retrieval_ranks(measured.embeddings, texts[list(rows_of_texts.values())], own)
    described = []
    for row, (line, seed) in enumerate(iterate_rows(lines, seeds)):
        found = find_wanted(line.want, measured.seen[row]) if measured.seen else {}
        described.append(
            {
                "prompt": line.text,
                "seed": seed,
                "clip_score": _number(measured.clip_scores[row]),
                "r_precision_1": int(r_precision(ranks[row], 1)),
                "r_precision_10": int(r_precision(ranks[row], 10)),
                "num_wanted": len(found),
                "attribute_accuracy": _number(np.mean(list(found.values()))) if found else None,
                "prompt_accuracy": int(all(found.values())) if found else None,
                "missing": [attribute for attribute, there in found.items() if not there],
            }
        )
    return described


def attribute_shares(lines: Sequence[PromptLine], seeds: Sequence[int], measured: Measured) -> dict[str, Estimate]:
    """Of each attribute that is wanted, the share of images in which it is there."""
    answers: defaultdict[str, list[tuple[int, bool]]] = defaultdict(list)
    for row, ((line, _), seen) in enumerate(zip(iterate_rows(lines, seeds), measured.seen, strict=False)):
        for attribute, there in find_wanted(line.want, seen).items():
            answers[attribute].append((row // len(seeds), there))
    columns = {attribute: np.array(found).T for attribute, found in sorted(answers.items())}
    return {attribute: estimate_mean(there, prompts) for attribute, (prompts, there) in columns.items()}


def _estimate(images: Sequence[dict[str, Any]], name: str, groups: NDArray, weights: str | None = None) -> Estimate:
    values = [np.nan if image[name] is None else image[name] for image in images]
    return estimate_mean(values, groups, None if weights is None else [image[weights] for image in images])


def _number(value: Any) -> float | None:
    return None if value is None or np.isnan(value) else round(float(value), DIGITS)
