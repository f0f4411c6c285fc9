"""The attributes of a face in this world, their values and how they are drawn."""

from __future__ import annotations

import numpy as np

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "gender": ("man", "woman"),
    "age": ("child", "young", "middle-aged", "old"),
    "skin": ("light", "medium", "dark"),
    "hair_color": ("blonde", "brown", "black", "red", "gray", "white", "blue"),
    "hair_style": ("bald", "short", "long", "curly"),
    "eyewear": ("none", "glasses", "sunglasses"),
    "facial_hair": ("none", "moustache", "beard"),
    "earrings": ("no", "yes"),
    "headwear": ("none", "hat"),
    "expression": ("happy", "neutral", "sad", "angry"),
    "background": ("plain", "sea", "forest", "mountains", "city", "sunset"),
}
NAMES: tuple[str, ...] = tuple(ATTRIBUTES)
SIZES: tuple[int, ...] = tuple(len(values) for values in ATTRIBUTES.values())

Face = dict[str, str]
"""A value for every attribute."""

NUISANCES: tuple[str, ...] = (
    "x",
    "y",
    "scale",
    "tilt",
    "light",
    "skin_tone",
    "hair_tone",
    "clothes_red",
    "clothes_green",
    "clothes_blue",
    "hat_red",
    "hat_green",
    "hat_blue",
    "backdrop_red",
    "backdrop_green",
    "backdrop_blue",
    "layout",
    "horizon",
)
"""What varies continuously, each in [-1, 1]."""


def restrict(codes: np.ndarray) -> np.ndarray:
    """Return `codes` with facial hair removed from women and children, so that it never contradicts gender or age.

    Args:
        codes: integer value indices `[N, len(NAMES)]`, columns in the order of `NAMES`.
    """
    restricted = codes.copy()
    man = codes[:, NAMES.index("gender")] == ATTRIBUTES["gender"].index("man")
    child = codes[:, NAMES.index("age")] == ATTRIBUTES["age"].index("child")
    restricted[~man | child, NAMES.index("facial_hair")] = ATTRIBUTES["facial_hair"].index("none")
    return restricted


def draw_codes(rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw `n` faces, every attribute uniform and independent but for `restrict`; int64 `[n, len(NAMES)]`."""
    return restrict(np.stack([rng.integers(0, size, n) for size in SIZES], axis=1))


def visible(codes: np.ndarray) -> np.ndarray:
    """Which attributes can be seen: all, but for the hair colour of a bald head. Bool `[N, len(NAMES)]`."""
    mask = np.ones(codes.shape, dtype=bool)
    bald = codes[:, NAMES.index("hair_style")] == ATTRIBUTES["hair_style"].index("bald")
    mask[bald, NAMES.index("hair_color")] = False
    return mask


def decode(codes: np.ndarray) -> list[Face]:
    """Turn value indices `[N, len(NAMES)]` into faces."""
    return [{name: ATTRIBUTES[name][code] for name, code in zip(NAMES, row, strict=True)} for row in codes]


def encode(faces: list[Face]) -> np.ndarray:
    """Turn faces into value indices, int64 `[N, len(NAMES)]`; raises `ValueError` on an unknown value."""
    return np.array([[ATTRIBUTES[name].index(face[name]) for name in NAMES] for face in faces], dtype=np.int64)
