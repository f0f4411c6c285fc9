from __future__ import annotations

from math import erf, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from text2latent.zoo.faces.attributes import NAMES, NUISANCES, SIZES, draw_codes, restrict
from text2latent.zoo.faces.portraits.renderer import draw_nuisance
from text2latent.zoo.faces.world import (
    NUM_VALUES,
    W_DIM,
    W_SCALE,
    Z_DIM,
    blur_values,
    latents,
    meaning,
    one_hot,
)

FACIAL_HAIR = NAMES.index("facial_hair")


def draw_z(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, Z_DIM, generator=torch.Generator().manual_seed(seed))


def draw_w(n: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return latents(draw_codes(rng, n), draw_nuisance(rng, n))


def test_values_are_equally_likely_and_independent():
    n = 20_000
    codes, _ = meaning(draw_z(n))
    grown_men = (codes[:, NAMES.index("gender")] == 0) & (codes[:, NAMES.index("age")] != 0)
    for i, size in enumerate(SIZES):
        drawn = codes[grown_men, i] if i == FACIAL_HAIR else codes[:, i]
        shares = np.bincount(drawn, minlength=size) / len(drawn)
        # A coordinate of a z of unit second moment is not quite normal: hence up to 4 % off.
        assert shares == pytest.approx(1 / size, rel=0.04, abs=5 * sqrt(1 / size / len(drawn))), NAMES[i]
    free = [i for i in range(len(NAMES)) if i != FACIAL_HAIR]
    assert np.abs(np.corrcoef(codes[:, free].T) - np.eye(len(free))).max() < 5 / sqrt(n)


def test_codes_are_possible_faces():
    codes, _ = meaning(draw_z(2000))
    np.testing.assert_array_equal(codes, restrict(codes))
    assert (codes >= 0).all()
    assert (codes < SIZES).all()


def test_nuisance_is_uniform():
    _, nuisance = meaning(draw_z(20_000, seed=1))
    quantiles = np.quantile(nuisance, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    expected = np.array([[-0.9, -0.5, 0, 0.5, 0.9]]).T * np.ones(len(NUISANCES))
    np.testing.assert_allclose(quantiles, expected, atol=0.04)
    assert np.abs(nuisance).max() <= 1


def test_meaning_against_the_normal_distribution_function_by_hand():
    z = draw_z(50, seed=2)
    codes, nuisance = meaning(z)
    unrestricted = np.zeros_like(codes)
    for row, values in enumerate(z.double().tolist()):
        norm = sqrt(sum(value * value for value in values) / Z_DIM)
        uniform = [(1 + erf(value / norm / sqrt(2))) / 2 for value in values]
        unrestricted[row] = [int(u * size) for u, size in zip(uniform, SIZES, strict=False)]
        expected = [2 * u - 1 for u in uniform[len(NAMES) : len(NAMES) + len(NUISANCES)]]
        np.testing.assert_allclose(nuisance[row], expected, atol=1e-6)
    np.testing.assert_array_equal(codes, restrict(unrestricted))


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(0, 1000))
def test_meaning_does_not_depend_on_the_length_of_z(scale, seed):
    z = draw_z(4, seed)
    (codes, nuisance), (scaled_codes, scaled_nuisance) = meaning(z), meaning(z * scale)
    np.testing.assert_array_equal(codes, scaled_codes)
    np.testing.assert_allclose(nuisance, scaled_nuisance, atol=1e-5)


def test_extreme_z_stays_within_range():
    z = torch.zeros(2, Z_DIM)
    z[0], z[1] = 1e-3, -1e-3
    z[0, 0], z[1, 0] = 1e6, -1e6
    codes, nuisance = meaning(z)
    assert codes[:, 0].tolist() == [SIZES[0] - 1, 0]
    assert np.isfinite(nuisance).all()


def test_latents_are_one_hot_values_beside_nuisance():
    rng = np.random.default_rng(0)
    codes, nuisance = draw_codes(rng, 40), draw_nuisance(rng, 40)
    w = latents(codes, nuisance)
    assert w.shape == (40, W_DIM)
    assert w.dtype == torch.float32
    start = 0
    for i, size in enumerate(SIZES):
        block = w[:, start : start + size].numpy()
        np.testing.assert_array_equal(np.sort(block, axis=1)[:, :-1], 0)
        np.testing.assert_array_equal(block[np.arange(40), codes[:, i]], W_SCALE)
        start += size
    assert start == NUM_VALUES
    np.testing.assert_allclose(w[:, start:].numpy(), W_SCALE * (nuisance + 1) / 2, atol=1e-6)


def test_second_moment_of_latents_is_about_one():
    assert 0.8 < draw_w(2000).square().mean() < 1.25


def test_one_hot_of_a_face_by_hand():
    codes = np.zeros((1, len(SIZES)), dtype=int)
    codes[0, :2] = 1, 3
    row = one_hot(codes)[0]
    assert row[:6].tolist() == [0, 1, 0, 0, 0, 1]
    assert row.sum() == len(SIZES)


def test_blurring_by_nothing_changes_nothing():
    w = draw_w(64)
    assert torch.equal(blur_values(w, np.random.default_rng(0), 0.0), w)


def test_blurring_mixes_values_within_bounds_and_keeps_nuisance():
    w = draw_w(3000)
    before, most = w.clone(), 0.4
    blurred = blur_values(w, np.random.default_rng(1), most)
    assert torch.equal(w, before), "the argument was changed"
    assert torch.equal(blurred[:, NUM_VALUES:], w[:, NUM_VALUES:])
    change = ((blurred - w)[:, :NUM_VALUES] / W_SCALE).abs()
    assert 0.02 < change.mean() < 0.2
    assert change.max() < most + 5.5 * most / 3
    blocks = zip(blurred[:, :NUM_VALUES].split(SIZES, dim=1), w[:, :NUM_VALUES].split(SIZES, dim=1), strict=True)
    kept = [(block.argmax(1) == clean.argmax(1)).float().mean() for block, clean in blocks]
    assert min(kept) > 0.9


def test_blurring_leaves_half_of_the_attributes_unmixed():
    w = draw_w(4000)
    blurred = blur_values(w, np.random.default_rng(2), 0.3)
    # Jitter is centred, so only mixing lowers the value that was on; drawing the same value again mixes nothing.
    drop = 1 - (blurred * w)[:, :NUM_VALUES].sum(dim=1) / W_SCALE**2 / len(SIZES)
    expected = np.mean([0.5 * 0.15 * (1 - 1 / size) for size in SIZES])
    assert float(drop.mean()) == pytest.approx(expected, rel=0.05)
