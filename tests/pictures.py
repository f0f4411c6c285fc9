"""Texts to draw, and comparing the pictures that were drawn of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

TEXT, JAPANESE = "blonde woman with glasses", "眼鏡をかけた金髪の女性"
Infer = Callable[..., tuple[int, str, str]]
"""Type of the fixture `run_infer`."""


def pixels(path: str | Path) -> bytes:
    """Values of a picture's pixels, row by row, RGB."""
    with Image.open(path) as picture:
        return picture.convert("RGB").tobytes()


def differ(one: bytes, other: bytes) -> int:
    """Largest difference of two pictures' bytes."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))
