"""Draws a stylised portrait, 128 x 128 pixels, from attributes and continuous nuisance."""

from __future__ import annotations

from collections.abc import Mapping

from text2latent.zoo.drawing.pen import SIZE, Color, Pen, skia
from text2latent.zoo.faces.portraits import features, styling
from text2latent.zoo.faces.portraits.backdrops import BACKDROPS
from text2latent.zoo.world import Values

CENTER = (64.0, 62.0)
SHIFT, SCALE, TILT = 2.5, 0.035, 3.5
"""Largest shift (pixels), change of scale (relative) and tilt (degrees) of the head."""


def draw_portrait(canvas: skia.Canvas, face: Values, nuisance: Mapping[str, float]) -> None:
    """Draw one portrait on a canvas of 128 x 128 pixels."""
    pen = Pen(canvas)
    BACKDROPS[face["background"]](pen, nuisance)
    canvas.save()
    canvas.translate(CENTER[0] + SHIFT * nuisance["x"], CENTER[1] + SHIFT * nuisance["y"])
    canvas.rotate(TILT * nuisance["tilt"])
    scale = 0.92 * (1 + SCALE * nuisance["scale"])
    canvas.scale(scale, scale)
    _draw_person(pen, _look(face, nuisance))
    canvas.restore()
    _light(pen, nuisance["light"])


def _look(face: Values, nuisance: Mapping[str, float]) -> features.Look:
    return features.Look(
        face=face,
        shape=features.SHAPES[face["age"]],
        skin=_tint(features.SKIN[face["skin"]], 9 * nuisance["skin_tone"]),
        hair=_tint(features.HAIR[face["hair_color"]], 9 * nuisance["hair_tone"]),
        clothes=_garment(nuisance, "clothes"),
        hat=_garment(nuisance, "hat"),
    )


def _tint(color: Color, offset: float) -> Color:
    red, green, blue = (channel + offset for channel in color)
    return red, green, blue


def _garment(nuisance: Mapping[str, float], name: str) -> Color:
    red, green, blue = (130 + 95 * nuisance[f"{name}_{channel}"] for channel in ("red", "green", "blue"))
    return red, green, blue


def _draw_person(pen: Pen, look: features.Look) -> None:
    for draw in (
        styling.draw_hair_behind,
        features.draw_body,
        features.draw_head,
        features.draw_age,
        features.draw_eyes,
        features.draw_nose,
        styling.draw_hair,
        styling.draw_facial_hair,
        features.draw_mouth,
        features.draw_brows,
        features.draw_mood,
        styling.draw_eyewear,
        styling.draw_headwear,
        styling.draw_earrings,
    ):
        draw(pen, look)


def _light(pen: Pen, light: float) -> None:
    color = (255.0, 250.0, 225.0) if light > 0 else (10.0, 10.0, 50.0)
    pen.rect(0, 0, SIZE, SIZE, color, alpha=0.14 * abs(light))
