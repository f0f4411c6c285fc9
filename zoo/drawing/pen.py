"""A thin drawing layer over Skia: anti-aliased fills and strokes in sRGB colours."""

from __future__ import annotations

from collections.abc import Sequence
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
    red, green, blue = (a + (b - a) * amount for a, b in zip(first, second, strict=True))
    return red, green, blue


def _argb(color: Color, alpha: float) -> int:
    red, green, blue = (int(min(max(channel, 0.0), 255.0) + 0.5) for channel in color)
    return skia.ColorSetARGB(int(255 * alpha + 0.5), red, green, blue)


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
        """Fill a closed polygon."""
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
        colors = [_argb(color, 1.0) for color in stops]
        shader = skia.GradientShader.MakeLinear([skia.Point(0, top), skia.Point(0, bottom)], colors)
        self.canvas.drawPaint(skia.Paint(AntiAlias=True, Shader=shader))


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
