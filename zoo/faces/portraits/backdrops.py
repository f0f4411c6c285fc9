"""Backgrounds: one function per value of the attribute `background`, on a canvas of 128 x 128 pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from text2latent.zoo.drawing.pen import SIZE, Color, Pen, mix, shade


def backdrop_color(nuisance: Mapping[str, float]) -> Color:
    """Return the colour of a plain background: any pastel."""
    return (
        178 + 62 * nuisance["backdrop_red"],
        178 + 62 * nuisance["backdrop_green"],
        178 + 62 * nuisance["backdrop_blue"],
    )


def _plain(pen: Pen, nuisance: Mapping[str, float]) -> None:
    color = backdrop_color(nuisance)
    pen.vertical_gradient(0, SIZE, [shade(color, 0.12), shade(color, -0.08)])


def _sea(pen: Pen, nuisance: Mapping[str, float]) -> None:
    horizon, shift = 58 + 5 * nuisance["horizon"], 9 * nuisance["layout"]
    pen.vertical_gradient(0, horizon, [(130, 200, 250), (225, 244, 255)])
    pen.rect(0, horizon, SIZE, SIZE, (16, 96, 178))
    pen.rect(0, horizon + 20, SIZE, SIZE, (24, 126, 200))
    pen.rect(0, horizon + 42, SIZE, SIZE, (52, 158, 216))
    for x, y in ((6, 10), (98, 14), (20, 30), (104, 34), (2, 50), (112, 54)):
        pen.rect(x + shift, horizon + y, x + shift + 16, horizon + y + 2.4, (235, 248, 255), radius=1.2)
    sail = 108 + shift
    pen.polygon([(sail, horizon - 19), (sail, horizon - 3), (sail + 11, horizon - 3)], (255, 255, 255))
    hull = [(sail - 6, horizon - 2), (sail + 14, horizon - 2), (sail + 9, horizon + 3), (sail - 2, horizon + 3)]
    pen.polygon(hull, (190, 50, 50))


def _pine(pen: Pen, x: float, base: float, height: float, color: Color) -> None:
    width = height * 0.28
    pen.rect(x - 2, base - height * 0.2, x + 2, base, (88, 58, 38))
    for lift, spread in ((0.12, 1.0), (0.4, 0.75), (0.66, 0.5)):
        low = base - height * lift
        pen.polygon([(x - width * spread, low), (x + width * spread, low), (x, low - height * 0.38)], color)


def _forest(pen: Pen, nuisance: Mapping[str, float]) -> None:
    shift, ground = 9 * nuisance["layout"], 96 + 5 * nuisance["horizon"]
    pen.vertical_gradient(0, ground, [(176, 220, 178), (226, 242, 196)])
    for x in (-8, 22, 52, 82, 112, 142):
        _pine(pen, x + shift * 0.6, ground, 78, (108, 168, 104))
    pen.rect(0, ground - 6, SIZE, SIZE, (74, 132, 62))
    for x, height in ((6, 96), (34, 74), (98, 80), (124, 98)):
        _pine(pen, x + shift, ground + 8, height, (24, 96, 54))


def _peak(pen: Pen, x: float, top: float, width: float, base: float, color: Color) -> None:
    pen.polygon([(x - width, base), (x, top), (x + width, base)], color)
    pen.polygon([(x, top), (x + width, base), (x + width * 0.25, base)], shade(color, -0.22))
    snow = (base - top) * 0.3
    edge = width * 0.3
    slope = [(x - edge, top + snow), (x, top), (x + edge, top + snow)]
    hem = [(x + edge * 0.3, top + snow * 0.75), (x - edge * 0.3, top + snow * 1.1)]
    pen.polygon([*slope, *hem], (255, 255, 255))


def _mountains(pen: Pen, nuisance: Mapping[str, float]) -> None:
    shift, base = 9 * nuisance["layout"], 98 + 5 * nuisance["horizon"]
    pen.vertical_gradient(0, base, [(120, 178, 236), (214, 234, 250)])
    _peak(pen, 66 + shift * 0.5, base - 66, 62, base, (146, 156, 188))
    _peak(pen, 14 + shift, base - 80, 50, base, (104, 112, 146))
    _peak(pen, 116 + shift, base - 86, 50, base, (104, 112, 146))
    pen.rect(0, base - 2, SIZE, SIZE, (122, 158, 106))


def _building(pen: Pen, left: float, right: float, top: float, color: Color) -> None:
    pen.rect(left, top, right, SIZE, color)
    columns = int((right - left - 3) // 8)
    for row in range(int((SIZE - top) // 11)):
        for column in range(columns):
            x, y = left + 4 + 8 * column, top + 5 + 11 * row
            pen.rect(x, y, x + 4.5, y + 6, (255, 222, 110))


def _city(pen: Pen, nuisance: Mapping[str, float]) -> None:
    shift, drop = 7 * nuisance["layout"], 6 * nuisance["horizon"]
    pen.vertical_gradient(0, SIZE, [(186, 198, 216), (226, 226, 232)])
    for left, right, top in ((30, 50, 34), (72, 96, 26)):
        pen.rect(left + shift * 0.5, top + drop, right + shift * 0.5, SIZE, (158, 166, 186))
    for left, right, top, tone in ((-12, 8, 44, 0), (8, 28, 14, -0.16), (92, 112, 20, -0.16), (112, 140, 40, 0)):
        _building(pen, left + shift, right + shift, top + drop, shade((82, 86, 110), tone))


def _sunset(pen: Pen, nuisance: Mapping[str, float]) -> None:
    horizon, x = 80 + 5 * nuisance["horizon"], 22 + 9 * nuisance["layout"]
    pen.vertical_gradient(0, horizon, [(88, 44, 122), (226, 78, 92), (255, 150, 64), (255, 206, 96)])
    pen.oval(x, horizon - 8, 21, 21, (255, 226, 120), alpha=0.45)
    pen.oval(x, horizon - 8, 15, 15, (255, 244, 190))
    pen.rect(0, horizon, SIZE, SIZE, (62, 32, 74))
    pen.rect(x - 12, horizon + 5, x + 12, horizon + 8, (255, 190, 100), radius=1.5)
    pen.rect(x - 8, horizon + 14, x + 8, horizon + 17, mix((255, 190, 100), (62, 32, 74), 0.4), radius=1.5)


BACKDROPS: dict[str, Callable[[Pen, Mapping[str, float]], None]] = {
    "plain": _plain,
    "sea": _sea,
    "forest": _forest,
    "mountains": _mountains,
    "city": _city,
    "sunset": _sunset,
}
