"""Measures of drawn images by their CLIP embeddings, and bootstrap intervals; plain functions of arrays, in float64.

Embeddings are `[N, E]`, one row per image, L2-normalised unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
NEIGHBOURS = 5
RESAMPLES = 2000
CONFIDENCE = 0.95


def retrieval_ranks(images: ArrayLike, texts: ArrayLike, own: ArrayLike) -> NDArray[np.int64]:
    """Rank of each image's own text among all texts by cosine similarity, `[N]` from 0; ties count against it.

    Args:
        images: `[N, E]`.
        texts: `[P, E]`, embeddings of different prompts.
        own: integer `[N]`, row of each image's prompt in `texts`.
    """
    similarities = _float(images) @ _float(texts).T
    rows = np.asarray(own)
    best = similarities[np.arange(len(rows)), rows][:, None]
    return (similarities >= best).sum(axis=1) - 1


def r_precision(ranks: ArrayLike, k: int) -> Array:
    """1 where the own text is among the k best, else 0, `[N]` (AttnGAN, arXiv:1711.10485, section 4, with CLIP)."""
    return (np.asarray(ranks) < k).astype(np.float64)


def pairwise_diversity(images: ArrayLike) -> float:
    """Mean cosine distance between different images of `[N, E]`; NaN for fewer than two."""
    vectors = _float(images)
    n = len(vectors)
    if n < 2:
        return float("nan")
    similarities = vectors @ vectors.T
    return float(1 - (similarities.sum() - np.trace(similarities)) / (n * (n - 1)))


def frechet_distance(one: ArrayLike, other: ArrayLike) -> float:
    """Squared Frechet distance of the normal distributions of two sets of vectors `[N, E]` and `[M, E]`.

    It is `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))` (Dowson and Landau, 1982; FID, arXiv:1706.08500, eq. 6), with
    the trace of the root taken from the eigenvalues of `C1^(1/2) C2 C1^(1/2)`, which stay real.

    Raises:
        ValueError: for fewer than two vectors in a set.
    """
    (mean_one, cov_one), (mean_other, cov_other) = _moments(one), _moments(other)
    values, vectors = np.linalg.eigh(cov_one)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_other @ root), 0)).sum()
    distance = np.square(mean_one - mean_other).sum() + np.trace(cov_one) + np.trace(cov_other) - 2 * shared
    return float(max(distance, 0.0))


def _moments(vectors: ArrayLike) -> tuple[Array, Array]:
    rows = _float(vectors)
    if len(rows) < 2:
        raise ValueError(f"expected at least two vectors for a covariance, got {len(rows)}")
    return rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False))


@dataclass(frozen=True)
class Manifolds:
    """How N real and M drawn vectors cover each other; the measures of these names are the means.

    Attributes:
        precision: `[M]`, 1 for a drawn vector within the real ones' neighbourhoods (arXiv:1904.06991, section 2), or 0.
        recall: `[N]`, 1 for a real vector within the drawn ones' neighbourhoods.
        density: `[M]`, number of real neighbourhoods that a drawn vector is in, over k (arXiv:2002.09797, eq. 4); it
            may exceed 1.
        coverage: `[N]`, 1 for a real vector with a drawn one in its neighbourhood (same, eq. 5).
    """

    precision: Array
    recall: Array
    density: Array
    coverage: Array


def compare_manifolds(real: ArrayLike, drawn: ArrayLike, k: int = NEIGHBOURS) -> Manifolds:
    """Precision, recall, density and coverage of `drawn` `[M, E]` against `real` `[N, E]`.

    A vector's neighbourhood is the ball up to its k-th nearest other vector of its own set, in Euclidean distance.

    Raises:
        ValueError: when a set has not more than k vectors.
    """
    real, drawn = _float(real), _float(drawn)
    if min(len(real), len(drawn)) <= k:
        raise ValueError(f"expected more than {k} vectors in each set, got {len(real)} and {len(drawn)}")
    real_radii, drawn_radii = _radii(real, k), _radii(drawn, k)
    distances = _distances(real, drawn)
    in_real = distances < real_radii[:, None]
    return Manifolds(
        precision=_float(in_real.any(axis=0)),
        recall=_float((distances < drawn_radii[None]).any(axis=1)),
        density=_float(in_real.sum(axis=0) / k),
        coverage=_float(distances.min(axis=1) < real_radii),
    )


def _radii(vectors: Array, k: int) -> Array:
    # The nearest of a set's own vectors is the vector itself.
    return np.partition(_distances(vectors, vectors), k, axis=1)[:, k]


def _distances(one: Array, other: Array) -> Array:
    squares = np.square(one).sum(axis=1)[:, None] + np.square(other).sum(axis=1)[None] - 2 * one @ other.T
    return np.sqrt(np.maximum(squares, 0))


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        value: the mean over all.
        low: lower end of the 95 % bootstrap interval.
        high: its upper end.
    """

    value: float
    low: float
    high: float


def estimate_mean(values: ArrayLike, groups: ArrayLike, weights: ArrayLike | None = None, seed: int = 0) -> Estimate:
    """Weighted mean and its 95 % percentile bootstrap interval (Efron and Tibshirani, 1993, section 13.3).

    Groups are drawn anew, not values: images of one prompt are not independent, and prompts are the sample.

    Args:
        values: `[N]`; those that are NaN don't count.
        groups: `[N]`, which prompt each value belongs to.
        weights: `[N]`, None for equal ones.

    Returns:
        All NaN without a value that counts.
    """
    values = _float(values)
    weights = np.where(np.isnan(values), 0.0, 1.0 if weights is None else _float(weights))
    _, rows = np.unique(np.asarray(groups), return_inverse=True)
    totals = _float(np.bincount(rows, weights=np.nan_to_num(values) * weights))
    masses = _float(np.bincount(rows, weights=weights))
    counted = masses > 0
    return _bootstrap(totals[counted], masses[counted], seed)


def _bootstrap(totals: Array, masses: Array, seed: int) -> Estimate:
    if not len(totals):
        return Estimate(*[float("nan")] * 3)
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(totals), size=(RESAMPLES, len(totals)))
    means = totals[draws].sum(axis=1) / masses[draws].sum(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(totals.sum() / masses.sum()), float(low), float(high))


def _float(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)
