"""Buildings: a hut with a gabled roof, and a lighthouse."""

from __future__ import annotations

from text2latent.zoo.drawing.pen import Color, Pen, mix, shade, skia
from text2latent.zoo.landscapes.scenes.palette import SNOW, Scene

LAMP: Color = (255, 226, 130)


def draw_building(pen: Pen, scene: Scene, x: float, y: float) -> None:
    """Draw the landscape's building on its foot (`x`, `y`)."""
    if scene["building"] == "hut":
        _hut(pen, scene, x, y)
    elif scene["building"] == "lighthouse":
        _lighthouse(pen, scene, x, y)


def _hut(pen: Pen, scene: Scene, x: float, y: float) -> None:
    wall, roof = scene.lit((178, 116, 72)), scene.lit(SNOW if scene.winter else (176, 58, 48))
    dark = scene["time"] in ("night", "sunset")
    pen.rect(x + 5, y - 24, x + 9, y - 14, scene.lit((120, 92, 84)))
    pen.rect(x - 11, y - 13, x + 12, y + 1, wall)
    pen.rect(x - 11, y - 13, x - 1, y + 1, shade(wall, -0.18))
    pen.polygon([(x - 15, y - 11), (x - 8, y - 22), (x + 10, y - 22), (x + 16, y - 11)], roof)
    pen.polygon([(x - 15, y - 11), (x - 8, y - 22), (x - 1, y - 11)], shade(roof, -0.16))
    window = LAMP if dark else scene.lit((228, 240, 250))
    if dark:
        pen.glow(x + 6.5, y - 5.5, 13, LAMP, 0.8)
    pen.rect(x + 3, y - 8.5, x + 9.5, y - 2.5, window)
    pen.rect(x - 8, y - 8, x - 4, y + 1, scene.lit((92, 56, 40)))


def _lighthouse(pen: Pen, scene: Scene, x: float, y: float) -> None:
    white, red = scene.lit((252, 250, 244)), scene.lit((214, 54, 50))
    top = y - 36
    if scene["time"] == "night":
        _beam(pen, x, top - 3, -74)
        _beam(pen, x, top - 3, 40)
    for index, color in enumerate((red, white, red, white)):
        high, low = 3.95 + 0.55 * index, 4.5 + 0.55 * index
        y_high, y_low = top + 9 * index, top + 9 * (index + 1)
        pen.polygon([(x - high, y_high), (x + high, y_high), (x + low, y_low), (x - low, y_low)], color)
        side = [(x - high, y_high), (x - high * 0.3, y_high), (x - low * 0.3, y_low), (x - low, y_low)]
        pen.polygon(side, shade(color, -0.16))
    pen.rect(x - 6.4, top - 1.6, x + 6.4, top + 1, scene.lit((70, 70, 84)))
    pen.rect(x - 3.2, top - 7, x + 3.2, top - 1.4, LAMP)
    pen.polygon([(x - 4.6, top - 6.6), (x, top - 12), (x + 4.6, top - 6.6)], red)
    if scene["time"] != "day":
        pen.glow(x, top - 4, 15, LAMP, 0.85)


def _beam(pen: Pen, x: float, y: float, reach: float) -> None:
    """Draw a beam of light that widens and fades towards `reach` pixels to the right, or to the left if negative."""
    red, green, blue = (int(channel) for channel in mix(LAMP, (255, 255, 255), 0.4))
    colors = [skia.ColorSetARGB(alpha, red, green, blue) for alpha in (150, 0)]
    shader = skia.GradientShader.MakeLinear([skia.Point(x, y), skia.Point(x + reach, y)], colors)
    corners = [(x, y - 1.5), (x + reach, y - 11), (x + reach, y + 9), (x, y + 1.5)]
    path = skia.Path()
    path.addPoly([skia.Point(*corner) for corner in corners], True)
    pen.canvas.drawPath(path, skia.Paint(AntiAlias=True, Shader=shader))
