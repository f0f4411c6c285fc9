"""Draws a coloured shape on a plain ground, 128 x 128 pixels."""

from __future__ import annotations

from collections.abc import Mapping

from text2latent.zoo.drawing.pen import SIZE, Color, Pen, skia
from text2latent.zoo.world import Values

COLORS: dict[str, Color] = {
    "red": (214, 48, 49),
    "green": (39, 174, 96),
    "blue": (41, 98, 255),
    "yellow": (253, 203, 48),
    "white": (245, 245, 245),
    "black": (30, 30, 34),
}
RADIUS = {"small": 18.0, "large": 36.0}


def draw_shape(canvas: skia.Canvas, values: Values, nuisance: Mapping[str, float]) -> None:
    """Draw one picture; `x` and `y` move the shape by up to 16 pixels."""
    pen, radius = Pen(canvas), RADIUS[values["size"]]
    x, y = SIZE / 2 + 16 * nuisance["x"], SIZE / 2 + 16 * nuisance["y"]
    color = COLORS[values["color"]]
    pen.rect(0, 0, SIZE, SIZE, COLORS[values["ground"]])
    if values["shape"] == "circle":
        pen.oval(x, y, radius, radius, color)
    elif values["shape"] == "square":
        pen.rect(x - radius, y - radius, x + radius, y + radius, color)
    else:
        pen.polygon([(x, y - radius), (x + radius, y + radius), (x - radius, y + radius)], color)
