from __future__ import annotations

from math import erf, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from text2latent.zoo.world import W_SCALE, Z_DIM, load_world

FACES = load_world("faces")

FACIAL_HAIR = FACES.names.index("facial_hair")


def draw_z(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, Z_DIM, generator=torch.Generator().manual_seed(seed))


def draw_w(n: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return FACES.latents(FACES.draw_codes(rng, n), FACES.draw_nuisance(rng, n))


def test_values_are_equally_likely_and_independent():
    n = 20_000
    codes, _ = FACES.meaning(draw_z(n))
    grown_men = (codes[:, FACES.names.index("gender")] == 0) & (codes[:, FACES.names.index("age")] != 0)
    for i, size in enumerate(FACES.sizes):
        drawn = codes[grown_men, i] if i == FACIAL_HAIR else codes[:, i]
        shares = np.bincount(drawn, minlength=size) / len(drawn)
        # A coordinate of a z of unit second moment is not quite normal: hence up to 4 % off.
        assert shares == pytest.approx(1 / size, rel=0.04, abs=5 * sqrt(1 / size / len(drawn))), FACES.names[i]
    free = [i for i in range(len(FACES.names)) if i != FACIAL_HAIR]
    assert np.abs(np.corrcoef(codes[:, free].T) - np.eye(len(free))).max() < 5 / sqrt(n)


def test_codes_are_possible_faces():
    codes, _ = FACES.meaning(draw_z(2000))
    np.testing.assert_array_equal(codes, FACES.restrict(codes))
    assert (codes >= 0).all()
    assert (codes < FACES.sizes).all()


def test_nuisance_is_uniform():
    _, nuisance = FACES.meaning(draw_z(20_000, seed=1))
    quantiles = np.quantile(nuisance, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    expected = np.array([[-0.9, -0.5, 0, 0.5, 0.9]]).T * np.ones(len(FACES.nuisances))
    np.testing.assert_allclose(quantiles, expected, atol=0.04)
    assert np.abs(nuisance).max() <= 1


def test_meaning_against_the_normal_distribution_function_by_hand():
    z = draw_z(50, seed=2)
    codes, nuisance = FACES.meaning(z)
    unrestricted = np.zeros_like(codes)
    for row, values in enumerate(z.double().tolist()):
        norm = sqrt(sum(value * value for value in values) / Z_DIM)
        uniform = [(1 + erf(value / norm / sqrt(2))) / 2 for value in values]
        unrestricted[row] = [int(u * size) for u, size in zip(uniform, FACES.sizes, strict=False)]
        expected = [2 * u - 1 for u in uniform[len(FACES.names) : len(FACES.names) + len(FACES.nuisances)]]
        np.testing.assert_allclose(nuisance[row], expected, atol=1e-6)
    np.testing.assert_array_equal(codes, FACES.restrict(unrestricted))


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(0, 1000))
def test_meaning_does_not_depend_on_the_length_of_z(scale, seed):
    z = draw_z(4, seed)
    (codes, nuisance), (scaled_codes, scaled_nuisance) = FACES.meaning(z), FACES.meaning(z * scale)
    np.testing.assert_array_equal(codes, scaled_codes)
    np.testing.assert_allclose(nuisance, scaled_nuisance, atol=1e-5)


def test_extreme_z_stays_within_range():
    z = torch.zeros(2, Z_DIM)
    z[0], z[1] = 1e-3, -1e-3
    z[0, 0], z[1, 0] = 1e6, -1e6
    codes, nuisance = FACES.meaning(z)
    assert codes[:, 0].tolist() == [FACES.sizes[0] - 1, 0]
    assert np.isfinite(nuisance).all()


def test_latents_are_one_hot_values_beside_nuisance():
    rng = np.random.default_rng(0)
    codes, nuisance = FACES.draw_codes(rng, 40), FACES.draw_nuisance(rng, 40)
    w = FACES.latents(codes, nuisance)
    assert w.shape == (40, FACES.w_dim)
    assert w.dtype == torch.float32
    start = 0
    for i, size in enumerate(FACES.sizes):
        block = w[:, start : start + size].numpy()
        np.testing.assert_array_equal(np.sort(block, axis=1)[:, :-1], 0)
        np.testing.assert_array_equal(block[np.arange(40), codes[:, i]], W_SCALE)
        start += size
    assert start == FACES.num_values
    np.testing.assert_allclose(w[:, start:].numpy(), W_SCALE * (nuisance + 1) / 2, atol=1e-6)


def test_second_moment_of_latents_is_about_one():
    assert 0.8 < draw_w(2000).square().mean() < 1.25


def test_one_hot_of_a_face_by_hand():
    codes = np.zeros((1, len(FACES.sizes)), dtype=int)
    codes[0, :2] = 1, 3
    row = FACES.one_hot(codes)[0]
    assert row[:6].tolist() == [0, 1, 0, 0, 0, 1]
    assert row.sum() == len(FACES.sizes)


def test_blurring_by_nothing_changes_nothing():
    w = draw_w(64)
    assert torch.equal(FACES.blur_values(w, np.random.default_rng(0), 0.0), w)


def test_blurring_mixes_values_within_bounds_and_keeps_nuisance():
    w = draw_w(3000)
    before, most = w.clone(), 0.4
    blurred = FACES.blur_values(w, np.random.default_rng(1), most)
    assert torch.equal(w, before), "the argument was changed"
    assert torch.equal(blurred[:, FACES.num_values :], w[:, FACES.num_values :])
    change = ((blurred - w)[:, : FACES.num_values] / W_SCALE).abs()
    assert 0.02 < change.mean() < 0.2
    assert change.max() < most + 5.5 * most / 3
    blocks = zip(
        blurred[:, : FACES.num_values].split(FACES.sizes, dim=1),
        w[:, : FACES.num_values].split(FACES.sizes, dim=1),
        strict=True,
    )
    kept = [(block.argmax(1) == clean.argmax(1)).float().mean() for block, clean in blocks]
    assert min(kept) > 0.9


def test_blurring_leaves_half_of_the_attributes_unmixed():
    w = draw_w(4000)
    blurred = FACES.blur_values(w, np.random.default_rng(2), 0.3)
    # Jitter is centred, so only mixing lowers the value that was on; drawing the same value again mixes nothing.
    drop = 1 - (blurred * w)[:, : FACES.num_values].sum(dim=1) / W_SCALE**2 / len(FACES.sizes)
    expected = np.mean([0.5 * 0.15 * (1 - 1 / size) for size in FACES.sizes])
    assert float(drop.mean()) == pytest.approx(expected, rel=0.05)
