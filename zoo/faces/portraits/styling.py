"""Hair, beards and what faces wear, drawn in head coordinates (see `features`)."""

from __future__ import annotations

import math

from text2latent.zoo.drawing.pen import Pen, mirrored, shade
from text2latent.zoo.faces.portraits.features import INK, Look


def draw_hair_behind(pen: Pen, look: Look) -> None:
    s, dark = look.shape, shade(look.hair, -0.2)
    if look.face["hair_style"] == "long":
        side = s.cheek + 9
        outer = [(12, s.top - 8), (side - 4, s.top), (side, 0), (side + 2, 30), (side + 3, 56)]
        pen.blob(mirrored([*outer, (side - 12, 58), (14, 52)]), dark)
    elif look.face["hair_style"] == "curly":
        for angle in range(-35, 216, 25):
            x, y = math.cos(math.radians(angle)), -math.sin(math.radians(angle))
            pen.oval(x * (s.cheek + 6), -6 + y * (s.cheek + 5), 10.5, 10.5, dark)


def draw_hair(pen: Pen, look: Look) -> None:
    """Draw the hair in front of the head, or the shine of a bald one."""
    draw = {"bald": _shine, "short": _short, "long": _long, "curly": _curly}
    draw[look.face["hair_style"]](pen, look)


def _shine(pen: Pen, look: Look) -> None:
    pen.oval(-8, look.shape.top + 7, 6, 3, shade(look.skin, 0.5), alpha=0.7)


def _short(pen: Pen, look: Look) -> None:
    s = look.shape
    crown = [(7, s.top - 8), (s.cheek - 4, s.top - 6), (s.cheek + 4, s.top + 7), (s.cheek + 6, -10)]
    half = [*crown, (s.cheek + 5, 7), (s.cheek - 2, 9), (s.cheek - 3, -12), (12, s.top + 15), (2, s.top + 11)]
    pen.blob(mirrored(half), look.hair)
    pen.curve((-14, s.top + 3), (-4, s.top - 3), (8, s.top), shade(look.hair, 0.35), 2.4, alpha=0.8)


def _long(pen: Pen, look: Look) -> None:
    s = look.shape
    side = s.cheek + 7
    outer = [(0, s.top - 8), (18, s.top - 8), (side, s.top + 10), (side + 1, 14), (side + 2, 48), (side - 8, 50)]
    inner = [(s.cheek - 2.5, 20), (s.cheek - 4, -4), (14, s.top + 14), (2, s.top + 4)]
    shine = shade(look.hair, 0.3)
    for sign in (-1, 1):
        pen.blob([(sign * x, y) for x, y in (*outer, *inner)], look.hair)
        pen.curve((sign * 8, s.top), (sign * (side - 4), s.top + 8), (sign * (side - 2), 22), shine, 2.0, alpha=0.7)


def _curly(pen: Pen, look: Look) -> None:
    s, shine = look.shape, shade(look.hair, 0.3 if look.face["hair_color"] != "white" else -0.2)
    for angle in (-4, 20, 45, 68, 90, 112, 135, 160, 184):
        x, y = math.cos(math.radians(angle)), -math.sin(math.radians(angle))
        cx, cy = x * (s.cheek + 3), -5 + y * (-s.top - 5)
        pen.oval(cx, cy, 9.5, 9.5, look.hair)
        pen.oval(cx, cy, 4.2, 4.2, shine, alpha=0.8, width=1.8)


def draw_facial_hair(pen: Pen, look: Look) -> None:
    """Draw a full beard, or a handlebar moustache."""
    s, color = look.shape, shade(look.hair, -0.12)
    if look.face["facial_hair"] == "beard":
        top = [(3, s.mouth - 8), (12, s.mouth - 8.5), (s.jaw, 8), (s.cheek + 2, 0)]
        edge = [(s.cheek + 1.5, 12), (s.jaw + 3, s.chin), (s.jaw * 0.5, s.chin + 11)]
        pen.blob(mirrored([*top, *edge]), color)
    elif look.face["facial_hair"] == "moustache":
        y = s.mouth - 6.5
        for sign in (-1, 1):
            wing = [(0, y - 4.5), (8, y - 4.5), (16, y + 1), (20, y - 4), (19, y + 4.5), (11, y + 5), (0, y + 3)]
            pen.blob([(sign * px, py) for px, py in wing], color)


def draw_eyewear(pen: Pen, look: Look) -> None:
    """Draw round glasses with a dark frame, or sunglasses."""
    s, kind = look.shape, look.face["eyewear"]
    if kind == "none":
        return
    radius = s.eye_x - 1.6
    for side in (-1, 1):
        x = side * s.eye_x
        pen.curve((x + side * radius, -1), (side * (s.cheek - 3), -3), (side * (s.cheek + 2), -1), INK, 2.4)
        if kind == "sunglasses":
            pen.rect(x - radius - 0.6, -7, x + radius + 0.6, 8.4, (20, 20, 26), radius=5.5)
            pen.curve((x - 4, -3.4), (x - 2, -4.2), (x + 2, -4), (120, 130, 150), 1.8)
        else:
            pen.oval(x, 0.4, radius, radius, (205, 230, 250), alpha=0.35)
            pen.oval(x, 0.4, radius, radius, INK, width=2.6)
    pen.curve((-3, -1.5), (0, -3.5), (3, -1.5), INK, 2.6)


def draw_earrings(pen: Pen, look: Look) -> None:
    """Draw gold hoops with a bead, over any hair."""
    if look.face["earrings"] == "no":
        return
    x, y = look.shape.cheek + 4.5, 17.5
    for side in (-1, 1):
        pen.oval(side * x, y, 5.2, 5.8, (96, 58, 0), width=4.4)
        pen.oval(side * x, y, 5.2, 5.8, (255, 206, 30), width=2.6)
        pen.oval(side * x, y + 6, 3.1, 3.1, (228, 24, 120))


def draw_headwear(pen: Pen, look: Look) -> None:
    """Draw a hat with a brim and a dark band."""
    if look.face["headwear"] == "none":
        return
    s, brim = look.shape, look.shape.top + 13.5
    crown = [(0, s.top - 15), (s.cheek - 8, s.top - 15), (s.cheek + 2, s.top - 9), (s.cheek + 4, brim - 2)]
    pen.blob(mirrored([*crown, (s.cheek + 3, brim + 2), (0, brim + 3)]), look.hat)
    band = [(-s.cheek - 2, brim - 9), (s.cheek + 2, brim - 9), (s.cheek + 3, brim), (-s.cheek - 3, brim)]
    pen.polygon(band, shade(look.hat, -0.6))
    pen.oval(0, brim + 1, s.cheek + 15, 5.4, shade(look.hat, -0.22))
    pen.oval(0, brim - 0.6, s.cheek + 14, 4.2, look.hat)
