"""The sky of a landscape: its colours, sun, moon, stars, aurora and clouds."""

from __future__ import annotations

import math
from collections.abc import Callable

from text2latent.zoo.drawing.pen import SIZE, Color, Pen, mix, skia
from text2latent.zoo.landscapes.scenes.palette import Scene, spread


def draw_sky(pen: Pen, scene: Scene) -> None:
    """Draw all of the sky."""
    pen.vertical_gradient(0, scene.horizon + 2, scene.sky)
    if draw := BODIES.get(scene["sky"]):
        draw(pen, scene)
    if scene["weather"] == "cloudy":
        _clouds(pen, scene)
    elif scene.wet:
        _overcast(pen, scene)


def body_place(scene: Scene) -> tuple[float, float]:
    """Where sun or moon stand: low in the morning and evening, just above what the horizon shows."""
    x = 82 + scene.moved("body_x", 5)
    if scene["time"] in ("day", "night"):
        return x, 25 + scene.moved("body_y", 4)
    high = scene["mountains"] != "none" or scene["place"] == "forest" or scene["weather"] == "fog"
    return x, scene.horizon - (39 if high else 19) + scene.moved("body_y", 2.5)


def _sun(pen: Pen, scene: Scene) -> None:
    (x, y), color = body_place(scene), scene.hour.body
    warm: Color = (255, 200, 110) if scene["time"] == "sunset" else (255, 250, 216)
    pen.glow(x, y, 46, warm, 0.75)
    pen.glow(x, y, 22, warm, 0.9)
    pen.oval(x, y, 10, 10, color)


def _moon(pen: Pen, scene: Scene) -> None:
    (x, y), color = body_place(scene), scene.hour.body
    pen.glow(x, y, 40, (170, 196, 255), 0.6)
    pen.glow(x, y, 20, (220, 230, 255), 0.7)
    pen.oval(x, y, 10, 10, color)
    for dx, dy, radius in ((-3.4, -2.4, 2.6), (3.2, 2.8, 2.2), (-2, 4.6, 1.5)):
        pen.oval(x + dx, y + dy, radius, radius, (214, 206, 180), alpha=0.8)


def _stars(pen: Pen, scene: Scene) -> None:
    shift = scene.moved("body_x", 4)
    pen.canvas.save()
    pen.canvas.translate(64 + shift, 30)
    pen.canvas.rotate(-24)
    pen.canvas.scale(1, 0.24)
    pen.glow(0, 0, 88, (150, 150, 230), 0.5)
    pen.canvas.restore()
    for index, (u, v) in enumerate(spread(30, 0.31)):
        x, y = u * 140 - 6 + shift, 4 + v * 66 + scene.moved("body_y", 2)
        radius = (1.0, 1.3, 0.9)[index % 3]
        if index % 5 == 0:
            pen.glow(x, y, 5.5, (190, 210, 255), 0.75)
            radius = 1.6
        pen.oval(x, y, radius, radius, (255, 252, 236))


def _aurora(pen: Pen, scene: Scene) -> None:
    for base, height, phase, color, alpha in (
        (44, 36, 0.3, (96, 110, 240), 0.5),
        (54, 40, 1.7, (60, 240, 170), 0.75),
        (38, 30, 3.6, (180, 90, 230), 0.5),
    ):
        _curtain(pen, base + scene.moved("body_y", 4), height, phase + scene.moved("body_x", 0.45), color, alpha)


def _curtain(pen: Pen, base: float, height: float, phase: float, color: Color, alpha: float) -> None:
    """Draw one curtain of light: narrow strips beneath each other's edges, brightest near their foot."""
    argb = [skia.ColorSetARGB(int(255 * alpha * part), *(int(c) for c in color)) for part in (0, 0.35, 1.0, 0)]
    for strip in range(22):
        x = strip * 6.0 - 2
        foot = base + 9 * math.sin(x / 19 + phase) - x * 0.1
        top = foot - height * (0.85 + 0.2 * math.sin(x / 7 + 2 * phase))
        ends = [skia.Point(0, top), skia.Point(0, foot + 3)]
        shader = skia.GradientShader.MakeLinear(ends, argb, [0.0, 0.45, 0.86, 1.0])
        pen.canvas.drawRect(skia.Rect(x, top, x + 6, foot + 3), skia.Paint(Shader=shader))


BODIES: dict[str, Callable[[Pen, Scene], None]] = {"sun": _sun, "moon": _moon, "stars": _stars, "aurora": _aurora}

CLOUDS = ((22, 20, 1.0), (116, 15, 0.8), (54, 44, 0.62), (112, 47, 0.56))
"""Middle and relative size of each cloud; none lies where the sun stands."""
PUFFS = ((-13, 0, 6.5), (-5, -5.5, 8.5), (5.5, -7, 9), (14, -1, 6.5), (1, 1, 8))


def _clouds(pen: Pen, scene: Scene) -> None:
    light, under = (scene.tinted(color) for color in scene.hour.cloud)
    for x, y, size in CLOUDS:
        scale = size * (1 + scene.moved("cloud_size", 0.16))
        _cloud(pen, x + scene.moved("wind", 6), y, scale, light, under)


def _cloud(pen: Pen, x: float, y: float, scale: float, light: Color, under: Color) -> None:
    canvas = pen.canvas
    canvas.save()
    canvas.translate(x, y)
    canvas.scale(scale, scale)
    canvas.clipRect(skia.Rect(-40, -40, 40, 5.2), True)
    for dx, dy, radius in PUFFS:
        pen.oval(dx, dy + 1.6, radius + 0.3, radius, under)
    for dx, dy, radius in PUFFS:
        pen.oval(dx - 0.6, dy - 1.2, radius - 1, radius - 1.6, light)
    canvas.restore()


def _overcast(pen: Pen, scene: Scene) -> None:
    """Draw a low ceiling of cloud."""
    dark = scene.tinted(mix(scene.hour.gray, (0, 0, 0), 0.22 if scene["weather"] == "rain" else 0.04))
    shift, size = scene.moved("wind", 5), 1 + scene.moved("cloud_size", 0.1)
    pen.veil(0, 34, dark, (0.9, 0.55, 0.0))
    for x, y, radius in ((4, 6, 17), (34, 3, 19), (66, 7, 17), (98, 2, 20), (128, 8, 17)):
        pen.oval(x + shift, y, radius * 1.25 * size, radius * 0.72 * size, mix(dark, scene.sky[1], 0.2))
    for x, y, radius in ((18, -2, 17), (52, -3, 18), (84, -4, 18), (116, -2, 17)):
        pen.oval(x + shift, y, radius * 1.25 * size, radius * 0.7 * size, dark)
    pen.rect(-2, -2, SIZE + 2, 3, dark)
