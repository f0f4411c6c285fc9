"""Trees: one function per kind, each drawn from its foot upwards."""

from __future__ import annotations

from collections.abc import Callable

from text2latent.zoo.drawing.pen import Color, Pen, Point, mix, shade
from text2latent.zoo.landscapes.scenes.palette import LEAF, SNOW, Scene

BARK: Color = (104, 72, 52)
NEEDLES: Color = (28, 92, 72)
BLOSSOM: Color = (252, 164, 200)
Part = tuple[float, float, float]
"""Middle (across, up) and radius of a part of a crown, in heights of the tree."""
CROWN: tuple[Part, ...] = (
    (-0.2, 0.5, 0.2),
    (0.2, 0.52, 0.19),
    (0.0, 0.44, 0.2),
    (-0.14, 0.72, 0.19),
    (0.14, 0.74, 0.18),
    (0, 0.82, 0.18),
)
FAR_CROWN: tuple[Part, ...] = ((-0.17, 0.54, 0.24), (0.17, 0.56, 0.23), (0.0, 0.76, 0.24))


def draw_tree(pen: Pen, scene: Scene, x: float, y: float, height: float, distance: float = 0.0) -> None:
    """Draw a tree of the landscape's kind, `height` pixels above its foot (`x`, `y`)."""
    if (kind := scene["trees"]) != "none":
        TREES[kind](pen, scene, x, y, height, distance)


def _round(pen: Pen, scene: Scene, x: float, y: float, height: float, distance: float, leaf: Color) -> None:
    """Draw a tree with a round crown: its shadow, its leaves and where the light falls on them."""
    frosted = leaf == LEAF["winter"]
    bark, foot, neck = scene.lit(BARK, distance), height * 0.045, height * 0.025
    fork = y - height * 0.5
    pen.polygon([(x - foot, y), (x - neck, fork), (x + neck, fork), (x + foot, y)], bark)
    shadow = mix(leaf, (120, 140, 190), 0.5) if frosted else shade(leaf, -0.2)
    crown, lights = (FAR_CROWN, ()) if distance > 0.1 else (CROWN, CROWN[3:])
    for parts, color, scale, shift in (
        (crown, shadow, 1.0, 0.0),
        (crown, leaf, 0.8, 0.025),
        (lights, shade(leaf, 0.14), 0.47, 0.055),
    ):
        shown = scene.lit(color, distance)
        for across, up, radius in parts:
            size = radius * height * scale
            pen.oval(x + (across + shift) * height, y - (up + shift) * height, size, size * 0.9, shown)
    if frosted:
        _limbs(pen, x, y, height, bark)


def _limbs(pen: Pen, x: float, y: float, height: float, bark: Color) -> None:
    for side in (-1, 1):
        start, end = (x, y - height * 0.4), (x + side * height * 0.2, y - height * 0.72)
        pen.curve(start, (x + side * height * 0.05, y - height * 0.6), end, bark, max(height * 0.03, 1.0))


def _leafy(pen: Pen, scene: Scene, x: float, y: float, height: float, distance: float) -> None:
    _round(pen, scene, x, y, height, distance, LEAF[scene["season"]])


def _cherry(pen: Pen, scene: Scene, x: float, y: float, height: float, distance: float) -> None:
    _round(pen, scene, x, y, height, distance, BLOSSOM)


def _pine(pen: Pen, scene: Scene, x: float, y: float, height: float, distance: float) -> None:
    light, dark = scene.lit(shade(NEEDLES, 0.08), distance), scene.lit(shade(NEEDLES, -0.28), distance)
    snow = scene.lit(SNOW, distance)
    pen.rect(x - height * 0.03, y - height * 0.16, x + height * 0.03, y, scene.lit(BARK, distance))
    for lift, width in ((0.1, 0.25), (0.33, 0.2), (0.56, 0.145)):
        low, tip, half = y - height * lift, y - height * (lift + 0.42), height * width
        pen.polygon([(x - half, low), (x, tip), (x, low - height * 0.02)], dark)
        pen.polygon([(x + half, low), (x, tip), (x, low - height * 0.02)], light)
        if scene.winter:
            hem, drop = low - height * 0.155, low - height * 0.13
            edge = [(x + half * 0.62, hem), (x + half * 0.2, hem - height * 0.055), (x - half * 0.2, drop)]
            pen.polygon([(x - half * 0.62, hem), (x, tip), *edge], snow)


FRONDS: tuple[tuple[float, tuple[Point, ...]], ...] = (
    (-0.3, ((-0.42, 0.1), (0.4, 0.14), (-0.2, 0.26))),
    (0.06, ((-0.36, -0.1), (0.36, -0.08), (0.24, 0.24), (-0.1, -0.2))),
)
"""How dark the fronds behind and before are, and where each ends from where it starts, in heights of the tree."""


def _palm(pen: Pen, scene: Scene, x: float, y: float, height: float, distance: float) -> None:
    top_x, top_y = x + height * 0.16, y - height * 0.8
    trunk, nut = scene.lit((150, 112, 78), distance), scene.lit((122, 78, 46), distance)
    pen.curve((x, y), (x - height * 0.02, y - height * 0.5), (top_x, top_y), trunk, max(height * 0.065, 1.4))
    for tone, ends in FRONDS:
        color = scene.lit(shade((54, 142, 74), tone), distance)
        for dx, dy in ends:
            _frond(pen, (top_x, top_y), dx * height, dy * height, color, height * 0.055)
    size = height * 0.03
    for side in (-1, 1):
        pen.oval(top_x + side * size * 0.8, top_y + size, size, size, nut)


def _frond(pen: Pen, start: Point, dx: float, dy: float, color: Color, width: float) -> None:
    x, y = start
    end, bow = (x + dx, y + dy), y + min(dy, 0) - abs(dx) * 0.42
    pen.blob([start, start, (x + dx * 0.5, bow - width), end, end, (x + dx * 0.5, bow + 2.2 * width)], color)


TREES: dict[str, Callable[[Pen, Scene, float, float, float, float], None]] = {
    "palms": _palm,
    "pines": _pine,
    "leafy": _leafy,
    "cherry": _cherry,
}
