"""PyTorch's normal random numbers without PyTorch: needs `numpy`."""

from __future__ import annotations

import numpy as np

BLOCK = 16


def torch_randn(seed: int, size: int) -> np.ndarray:
    """What `torch.randn(size, generator=torch.Generator().manual_seed(seed))` gives on a CPU, float32 `[size]`.

    Both start from the same Mersenne twister. Torch turns its words into normal numbers (Box and Muller 1958) in double
    precision, one pair after the other, if there are few, else in blocks of 16: 8 for the radius, 8 for the angle.
    Agrees to about 1e-6, as torch takes faster approximations of logarithm and cosine.
    """
    count = 4 * BLOCK if size < BLOCK else size + BLOCK
    words = np.frombuffer(np.random.RandomState(seed % 2**32).bytes(4 * count), "<u4")
    return _in_double(words)[:size].astype(np.float32) if size < BLOCK else _in_blocks(words, size)


def _in_double(words: np.ndarray) -> np.ndarray:
    wide = words.astype(np.uint64)
    bits = (wide[0::2] << np.uint64(32) | wide[1::2]) & np.uint64(2**53 - 1)
    angle, radius = (bits * 2.0**-53).reshape(-1, 2).T
    radius, angle = np.sqrt(-2 * np.log1p(-radius)), 2 * np.pi * angle
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel()


def _in_blocks(words: np.ndarray, size: int) -> np.ndarray:
    """The last 16 numbers are drawn anew where the blocks don't come out even."""
    uniform = (words & np.uint32(2**24 - 1)).astype(np.float32) * np.float32(2**-24)
    whole = size // BLOCK * BLOCK
    blocks = np.concatenate([uniform[:whole], uniform[size:]]).reshape(-1, 2, BLOCK // 2)
    radius, angle = np.sqrt(-2 * np.log(1 - blocks[:, 0])), np.float32(2 * np.pi) * blocks[:, 1]
    normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel()
    return normal[:size] if whole == size else np.concatenate([normal[:whole][: size - BLOCK], normal[-BLOCK:]])
