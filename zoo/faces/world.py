"""What a z of the faces generator stands for: a fixed map from the standard normal to attributes and nuisance.

z is first scaled to unit second moment, as StyleGAN2's mapping network does. Then each attribute has a coordinate of
its own, cut into values of equal probability, and each nuisance has one, made uniform by the normal distribution
function. The generator's w is fitted to hold the same: one coordinate a value (one-hot), one a nuisance.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from text2latent.zoo.faces.attributes import NAMES, NUISANCES, SIZES, restrict

Z_DIM = 32
NUM_VALUES = sum(SIZES)
W_DIM = NUM_VALUES + len(NUISANCES)
W_SCALE = 2.0
"""Value of a w coordinate that is fully on; makes the second moment of w about 1."""


def _uniforms(z: Tensor) -> np.ndarray:
    normalized = z * z.square().mean(dim=1, keepdim=True).rsqrt()
    return torch.special.ndtr(normalized.double()).numpy()


def meaning(z: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return what `z` `[N, 32]` means: value indices `[N, len(NAMES)]`, nuisance `[N, len(NUISANCES)]` in [-1, 1]."""
    uniforms = _uniforms(z)
    sizes = np.array(SIZES)
    codes = np.minimum((uniforms[:, : len(NAMES)] * sizes).astype(np.int64), sizes - 1)
    nuisance = 2 * uniforms[:, len(NAMES) : len(NAMES) + len(NUISANCES)] - 1
    return restrict(codes), nuisance


def one_hot(codes: np.ndarray) -> np.ndarray:
    """Return the one-hot values of all attributes side by side, float32 `[N, NUM_VALUES]`."""
    return np.concatenate([np.eye(size, dtype=np.float32)[codes[:, i]] for i, size in enumerate(SIZES)], axis=1)


def latents(codes: np.ndarray, nuisance: np.ndarray) -> Tensor:
    """Return the w `[N, W_DIM]` of faces: `W_SCALE` at their values, nuisance from [-1, 1] to [0, `W_SCALE`]."""
    parts = [one_hot(codes), (nuisance.astype(np.float32) + 1) / 2]
    return W_SCALE * torch.from_numpy(np.concatenate(parts, axis=1))


def blur_values(w: Tensor, rng: np.random.Generator, most: float) -> Tensor:
    """Mix half of the attributes of `w` with another value by up to `most`, and add noise of up to a third of that.

    A synthesis network that still draws the nearest clean face learns to round a vague w to a plain one.
    """
    n = len(w)
    share = np.repeat(rng.uniform(0, most, (n, len(SIZES))) * (rng.random((n, len(SIZES))) < 0.5), SIZES, axis=1)
    others = one_hot(np.stack([rng.integers(0, size, n) for size in SIZES], axis=1))
    jitter = rng.uniform(0, most / 3, (n, 1)) * rng.standard_normal((n, NUM_VALUES))
    values = w[:, :NUM_VALUES] / W_SCALE
    mixed = values + torch.from_numpy((share * (others - values.numpy()) + jitter).astype(np.float32))
    return torch.cat([W_SCALE * mixed, w[:, NUM_VALUES:]], dim=1)
