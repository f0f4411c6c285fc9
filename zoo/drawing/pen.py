"""A thin drawing layer over Skia: anti-aliased fills and strokes in sRGB colours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from text2latent.common.extras import optional_module

if TYPE_CHECKING:
    import skia  # type: ignore[import-not-found]  # a compiled module without stubs
else:
    skia = optional_module("skia", "drawing pictures", "zoo")

SIZE = 128
"""Pixels per side of a picture."""
Color = tuple[float, float, float]
"""Red, green and blue in [0, 255]."""
Point = tuple[float, float]
Points = Sequence[Point]


def shade(color: Color, amount: float) -> Color:
    """Darken (`amount` < 0, towards black at -1) or lighten (`amount` > 0, towards white at 1) a colour."""
    target = 255.0 if amount > 0 else 0.0
    red, green, blue = (channel + (target - channel) * abs(amount) for channel in color)
    return red, green, blue


def mix(first: Color, second: Color, amount: float) -> Color:
    """Blend two colours linearly: `first` at 0, `second` at 1."""
    (red, green, blue), (red_end, green_end, blue_end) = first, second
    return red + (red_end - red) * amount, green + (green_end - green) * amount, blue + (blue_end - blue) * amount


def _argb(color: Color, alpha: float) -> int:
    red, green, blue = color
    return skia.ColorSetARGB(int(255 * alpha + 0.5), _byte(red), _byte(green), _byte(blue))


def _byte(channel: float) -> int:
    return 0 if channel <= 0 else 255 if channel >= 255 else int(channel + 0.5)


class Pen:
    """Draws on a Skia canvas; coordinates are in pixels of the current transform."""

    def __init__(self, canvas: skia.Canvas):
        self.canvas = canvas

    def _paint(self, color: Color, alpha: float, width: float | None) -> skia.Paint:
        paint = skia.Paint(AntiAlias=True, Color=_argb(color, alpha))
        if width is not None:
            paint.setStyle(skia.Paint.kStroke_Style)
            paint.setStrokeWidth(width)
            paint.setStrokeCap(skia.Paint.kRound_Cap)
            paint.setStrokeJoin(skia.Paint.kRound_Join)
        return paint

    def oval(
        self, x: float, y: float, rx: float, ry: float, color: Color, alpha: float = 1.0, width: float | None = None
    ) -> None:
        """Fill, or with `width` outline, the ellipse of radii `rx`, `ry` around (`x`, `y`)."""
        self.canvas.drawOval(skia.Rect(x - rx, y - ry, x + rx, y + ry), self._paint(color, alpha, width))

    def rect(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        color: Color,
        radius: float = 0.0,
        alpha: float = 1.0,
    ) -> None:
        """Fill a rectangle with corners rounded by `radius`."""
        self.canvas.drawRoundRect(skia.Rect(left, top, right, bottom), radius, radius, self._paint(color, alpha, None))

    def polygon(self, points: Points, color: Color, alpha: float = 1.0) -> None:
        path = skia.Path()
        path.addPoly([skia.Point(x, y) for x, y in points], True)
        self.canvas.drawPath(path, self._paint(color, alpha, None))

    def blob(self, points: Points, color: Color, alpha: float = 1.0, width: float | None = None) -> None:
        """Fill, or outline, the smooth closed curve through the midpoints of a polygon (a quadratic B-spline)."""
        self.canvas.drawPath(_closed_spline(points), self._paint(color, alpha, width))

    def curve(self, start: Point, via: Point, end: Point, color: Color, width: float, alpha: float = 1.0) -> None:
        """Stroke a quadratic Bézier curve."""
        path = skia.Path()
        path.moveTo(*start)
        path.quadTo(*via, *end)
        self.canvas.drawPath(path, self._paint(color, alpha, width))

    def vertical_gradient(self, top: float, bottom: float, stops: Sequence[Color]) -> None:
        """Fill the whole canvas with colours running from y = `top` to y = `bottom`."""
        self.canvas.drawPaint(_vertical(top, bottom, [_argb(color, 1.0) for color in stops]))

    def gradient_path(self, path: skia.Path, top: float, bottom: float, stops: Sequence[Color]) -> None:
        """Fill a path with colours running from y = `top` to y = `bottom`."""
        self.canvas.drawPath(path, _vertical(top, bottom, [_argb(color, 1.0) for color in stops]))

    def path(self, path: skia.Path, color: Color, alpha: float = 1.0, width: float | None = None) -> None:
        """Fill, or with `width` outline, a path."""
        self.canvas.drawPath(path, self._paint(color, alpha, width))

    def glow(self, x: float, y: float, radius: float, color: Color, alpha: float = 1.0) -> None:
        """Fill a disc whose opacity falls smoothly from `alpha` in the middle to nothing at `radius`."""
        colors = [_argb(color, alpha * part) for part in (1.0, 0.5, 0.14, 0.0)]
        shader = skia.GradientShader.MakeRadial(skia.Point(x, y), radius, colors, [0.0, 0.35, 0.7, 1.0])
        self.canvas.drawCircle(x, y, radius, skia.Paint(AntiAlias=True, Shader=shader))

    def veil(self, top: float, bottom: float, color: Color, alphas: Sequence[float]) -> None:
        """Lay a colour over the whole width from y = `top` to y = `bottom`, its opacity running through `alphas`."""
        bounds = self.canvas.getLocalClipBounds()
        paint = _vertical(top, bottom, [_argb(color, alpha) for alpha in alphas])
        self.canvas.drawRect(skia.Rect(bounds.left(), top, bounds.right(), bottom), paint)

    def ground(self, line: Points, bottom: float, stops: Sequence[Color], depth: float | None = None) -> None:
        """Fill what lies between a smooth line, given from left to right, and y = `bottom`.

        The colours run downwards from the line's highest point over `depth` pixels, or to `bottom`.
        """
        path = skia.Path()
        path.moveTo(*line[0])
        for (x, y), (next_x, next_y) in pairwise(line[1:]):
            path.quadTo(x, y, (x + next_x) / 2, (y + next_y) / 2)
        path.lineTo(*line[-1])
        path.lineTo(line[-1][0], bottom)
        path.lineTo(line[0][0], bottom)
        path.close()
        top = min(y for _, y in line)
        self.gradient_path(path, top, bottom if depth is None else top + depth, stops)


def _vertical(top: float, bottom: float, colors: Sequence[int]) -> skia.Paint:
    shader = skia.GradientShader.MakeLinear([skia.Point(0, top), skia.Point(0, bottom)], list(colors))
    return skia.Paint(AntiAlias=True, Shader=shader)


def mirrored(points: Points) -> list[Point]:
    """Close a half outline, given from top to bottom on the right side (x > 0), with its mirror image on the left."""
    return [*points, *((-x, y) for x, y in reversed(points))]


def _closed_spline(points: Points) -> skia.Path:
    path = skia.Path()
    last_x, last_y = points[-1]
    path.moveTo((last_x + points[0][0]) / 2, (last_y + points[0][1]) / 2)
    for index, (x, y) in enumerate(points):
        next_x, next_y = points[(index + 1) % len(points)]
        path.quadTo(x, y, (x + next_x) / 2, (y + next_y) / 2)
    path.close()
    return path
