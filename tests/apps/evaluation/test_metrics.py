"""Measures against independent references: scipy's matrix root, loops that follow the definitions, torchmetrics."""

import itertools

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.stats import bootstrap

from text2latent.apps.evaluation.metrics import (
    compare_manifolds,
    estimate_mean,
    frechet_distance,
    pairwise_diversity,
    r_precision,
    retrieval_ranks,
)


def vectors(n: int, size: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, size)) @ rng.standard_normal((size, size)) + shift


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(("n", "size"), [(60, 8), (40, 40), (10, 32)])
def test_frechet_distance_is_that_of_the_matrix_root(n: int, size: int) -> None:
    one, other = vectors(n, size, 0), vectors(n + 7, size, 1, 0.5)
    covariances = np.cov(one.T), np.cov(other.T)
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = np.square(one.mean(0) - other.mean(0)).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-4)


def test_frechet_distance_is_torchmetrics_too() -> None:
    from torchmetrics.image.fid import _compute_fid

    one, other = vectors(80, 12, 2), vectors(90, 12, 3, 1.0)
    arguments = [torch.from_numpy(part) for rows in (one, other) for part in (rows.mean(0), np.cov(rows.T))]
    assert frechet_distance(one, other) == pytest.approx(float(_compute_fid(*arguments)), rel=1e-6)


def test_frechet_distance_of_a_set_from_itself_and_a_shifted_one() -> None:
    rows = vectors(50, 6, 4)
    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(rows, rows + 2.0) == pytest.approx(6 * 4)
    with pytest.raises(ValueError, match="at least two"):
        frechet_distance(rows[:1], rows)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_manifolds_by_their_definitions(k: int) -> None:
    real, drawn = vectors(40, 3, 5), vectors(35, 3, 6, 0.7)

    def radius(rows: np.ndarray, i: int) -> float:
        return sorted(np.linalg.norm(rows[i] - rows[j]) for j in range(len(rows)) if j != i)[k - 1]

    real_radii = [radius(real, i) for i in range(len(real))]
    drawn_radii = [radius(drawn, j) for j in range(len(drawn))]
    inside_real = [[np.linalg.norm(x - y) < r for x, r in zip(real, real_radii, strict=True)] for y in drawn]
    inside_drawn = [[np.linalg.norm(x - y) < r for y, r in zip(drawn, drawn_radii, strict=True)] for x in real]
    measured = compare_manifolds(real, drawn, k)
    assert measured.precision.mean() == pytest.approx(np.mean([any(row) for row in inside_real]))
    assert measured.recall.mean() == pytest.approx(np.mean([any(row) for row in inside_drawn]))
    assert measured.density.mean() == pytest.approx(np.mean([sum(row) / k for row in inside_real]))
    assert measured.coverage.mean() == pytest.approx(
        np.mean([any(column) for column in zip(*inside_real, strict=True)])
    )
    assert 0 < measured.precision.mean() < 1


def test_manifolds_of_the_same_and_of_far_sets() -> None:
    rows = vectors(60, 4, 7)
    same, far = compare_manifolds(rows, rows), compare_manifolds(rows, rows + 1000)
    assert (same.precision.min(), same.recall.min(), same.coverage.min()) == (1, 1, 1)
    assert max(part.max() for part in (far.precision, far.recall, far.density, far.coverage)) == 0
    with pytest.raises(ValueError, match="more than 5"):
        compare_manifolds(rows[:5], rows)


def test_retrieval_ranks_and_precision_by_sorting() -> None:
    images, texts = unit(vectors(30, 6, 8)), unit(vectors(12, 6, 9))
    own = np.arange(30) % 12
    ranks = retrieval_ranks(images, texts, own)
    for image, row, rank in zip(images, own, ranks, strict=True):
        assert list(np.argsort(-(texts @ image))).index(row) == rank
    for k in (1, 10):
        assert r_precision(ranks, k).mean() == pytest.approx(np.mean([rank < k for rank in ranks]))
    assert set(r_precision(ranks, 12)) == {1.0}


def test_ties_do_not_count_as_found() -> None:
    same = unit(np.ones((1, 4)))
    assert retrieval_ranks(same, np.repeat(same, 3, axis=0), [0]).tolist() == [2]


def test_diversity_is_the_mean_over_pairs() -> None:
    rows = unit(vectors(6, 5, 10))
    expected = np.mean([1 - one @ other for one, other in itertools.combinations(rows, 2)])
    assert pairwise_diversity(rows) == pytest.approx(expected)
    assert pairwise_diversity(np.repeat(rows[:1], 4, axis=0)) == pytest.approx(0)
    assert np.isnan(pairwise_diversity(rows[:1]))


def test_interval_is_scipys_percentile_bootstrap() -> None:
    values = np.random.default_rng(0).exponential(size=80)
    ours = estimate_mean(values, np.arange(80))
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=5000, rng=1).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.04)


def test_groups_are_drawn_as_one() -> None:
    values = np.random.default_rng(1).standard_normal(40)
    alone = estimate_mean(values, np.arange(40))
    repeated = estimate_mean(np.repeat(values, 10), np.repeat(np.arange(40), 10))
    assert (repeated.value, repeated.low, repeated.high) == pytest.approx((alone.value, alone.low, alone.high))


def test_weights_and_missing_values() -> None:
    estimate = estimate_mean([1.0, 0.0, np.nan, 0.5], [0, 0, 1, 2], weights=[3, 1, 5, 2])
    assert estimate.value == pytest.approx((3 + 0 + 1) / 6)
    assert estimate.low <= estimate.value <= estimate.high
    nothing = estimate_mean([np.nan, np.nan], [0, 1])
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()


def test_interval_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        estimate = estimate_mean(rng.standard_normal(50) + 3, np.arange(50))
        covered += estimate.low <= 3 <= estimate.high
    assert 0.88 < covered / 200 <= 0.995
