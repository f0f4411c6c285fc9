"""Streaming moments against numpy's two-pass ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from text2latent.common.errors import InputError
from text2latent.data.stats import Moments, PairStatistics, load_statistics, save_statistics

VALUES = st.floats(-1e3, 1e3, width=32)
ROWS = st.tuples(st.integers(1, 12), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=VALUES)
)


def assert_same(moments: Moments, rows: np.ndarray) -> None:
    rows = rows.astype(np.float64)
    scale = np.abs(rows).max() + 1
    assert moments.count == len(rows)
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-12, atol=1e-12 * scale)
    expected = np.atleast_2d(np.cov(rows, rowvar=False, bias=True))
    np.testing.assert_allclose(moments.cov, expected, rtol=1e-10, atol=1e-12 * scale**2)
    np.testing.assert_allclose(moments.std**2, rows.var(axis=0), rtol=1e-10, atol=1e-12 * scale**2)


@given(rows=ROWS, cuts=st.lists(st.integers(0, 12), max_size=3))
def test_any_split_gives_the_moments_of_the_whole(rows: np.ndarray, cuts: list[int]) -> None:
    parts = [Moments.of(part) for part in np.split(rows, sorted(cuts))]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    assert_same(total, rows)


@given(rows=ROWS, cut=st.integers(0, 12))
def test_merging_commutes(rows: np.ndarray, cut: int) -> None:
    first, second = Moments.of(rows[:cut]), Moments.of(rows[cut:])
    assert_same(first + second, rows)
    assert_same(second + first, rows)


@settings(max_examples=20)
@given(offset=st.sampled_from([1e3, 1e5, 1e7]))
def test_a_large_mean_does_not_cancel_a_small_spread(offset: float) -> None:
    rows = np.random.default_rng(0).standard_normal((1000, 3)) * 1e-2 + offset
    total = Moments.of(np.empty((0, 3)))
    for part in np.array_split(rows, 13):
        total = total + Moments.of(part)
    np.testing.assert_allclose(total.std, rows.std(axis=0), rtol=1e-4)


def test_float16_rows_are_accumulated_in_float64() -> None:
    rows = np.full((5000, 2), 100.0, np.float16)
    rows[::2] += np.float16(1)
    moments = Moments.of(rows[:1000]) + Moments.of(rows[1000:])
    assert moments.mean == pytest.approx([100.5, 100.5], abs=1e-12)
    assert moments.std == pytest.approx([0.5, 0.5], abs=1e-12)


def test_merging_changes_neither_side() -> None:
    first, second = Moments.of([[1.0, 2.0]]), Moments.of([[3.0, 5.0]])
    _ = first + second
    assert (first.count, first.mean.tolist(), first.scatter.any()) == (1, [1.0, 2.0], np.False_)
    assert (second.count, second.mean.tolist(), second.scatter.any()) == (1, [3.0, 5.0], np.False_)


def test_rows_of_any_shape_are_flattened() -> None:
    rows = np.random.default_rng(0).standard_normal((20, 3, 2))
    assert_same(Moments.of(rows), rows.reshape(20, 6))


def test_statistics_are_read_as_saved(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    latents, embeddings = rng.standard_normal((9, 2, 3)), rng.standard_normal((9, 4))
    saved = PairStatistics.from_moments(Moments.of(latents), Moments.of(embeddings), (2, 3))
    save_statistics(tmp_path, saved)
    loaded = load_statistics(tmp_path)
    assert loaded.count == 9
    np.testing.assert_allclose(loaded.latent_mean, latents.mean(axis=0))
    np.testing.assert_allclose(loaded.latent_std, latents.std(axis=0))
    assert loaded.latent_cov.shape == (6, 6)
    np.testing.assert_allclose(loaded.embedding_cov, np.cov(embeddings, rowvar=False, bias=True))
    assert [path.name for path in tmp_path.iterdir()] == ["statistics.npz"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x93NUMPY"])
def test_damaged_statistics_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "statistics.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"statistics\.npz"):
        load_statistics(tmp_path)


def test_missing_statistics_and_arrays_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"statistics\.npz: missing"):
        load_statistics(tmp_path)
    np.savez(tmp_path / "statistics.npz", count=3)
    with pytest.raises(InputError, match=r"statistics\.npz.*latent_mean"):
        load_statistics(tmp_path)
