"""Parts of a face, drawn in head coordinates: origin between the eyes, y down, one unit a pixel at scale 1."""

from __future__ import annotations

from dataclasses import dataclass

from text2latent.zoo.drawing.pen import Color, Pen, mirrored, mix, shade
from text2latent.zoo.world import Values

SKIN: dict[str, Color] = {"light": (255, 222, 196), "medium": (222, 160, 112), "dark": (136, 84, 56)}
HAIR: dict[str, Color] = {
    "blonde": (246, 206, 84),
    "brown": (96, 54, 26),
    "black": (26, 24, 30),
    "red": (206, 66, 20),
    "gray": (142, 144, 152),
    "white": (246, 246, 250),
    "blue": (48, 92, 228),
}
INK: Color = (38, 28, 30)
LIPS: Color = (208, 40, 62)


@dataclass(frozen=True)
class Shape:
    """Measures of a head in pixels: half widths, and heights below the line of the eyes (negative: above it)."""

    cheek: float
    jaw: float
    top: float
    chin: float
    eye_x: float
    eye_r: float
    mouth: float


SHAPES: dict[str, Shape] = {
    "child": Shape(cheek=27, jaw=22, top=-32, chin=24, eye_x=12.0, eye_r=6.2, mouth=15.5),
    "young": Shape(cheek=24, jaw=17, top=-32, chin=32, eye_x=10.5, eye_r=4.6, mouth=20),
    "middle-aged": Shape(cheek=28, jaw=23.5, top=-31, chin=35, eye_x=11.0, eye_r=4.3, mouth=21),
    "old": Shape(cheek=23, jaw=13.5, top=-34, chin=38, eye_x=10.2, eye_r=3.7, mouth=23.5),
}


@dataclass(frozen=True)
class Look:
    """What the parts of one face share: its values, measures and colours."""

    face: Values
    shape: Shape
    skin: Color
    hair: Color
    clothes: Color
    hat: Color

    @property
    def woman(self) -> bool:
        """Whether the face is a woman's or a girl's."""
        return self.face["gender"] == "woman"


def draw_body(pen: Pen, look: Look) -> None:
    """Draw neck, shoulders and clothes: a collared shirt on men, a scooped neckline on women."""
    chin, child = look.shape.chin, look.face["age"] == "child"
    spread = (34 if look.woman else 47) - (7 if child else 0)
    neck = (8.5 if look.woman else 13) - (2 if child else 0)
    top = chin + 7
    outline = [(neck, top), (spread, top + 6), (spread + 6, top + 26), (spread + 6, top + 60)]
    pen.blob(mirrored([(neck - 3, top - 2), *outline]), look.clothes)
    if look.woman:
        pen.blob(mirrored([(neck - 2, top - 8), (neck + 6, top), (neck + 4, top + 12), (2, top + 20)]), look.skin)
    pen.rect(-neck, chin - 14, neck, top + 6, shade(look.skin, -0.16), radius=4)
    if not look.woman:
        white = (250, 250, 250)
        pen.polygon([(-neck - 4, top - 4), (0, top + 13), (-neck - 2, top + 17)], white)
        pen.polygon([(neck + 4, top - 4), (0, top + 13), (neck + 2, top + 17)], white)


def draw_head(pen: Pen, look: Look) -> None:
    """Draw ears and the outline of the head, which shows the age."""
    s = look.shape
    ear = 8.5 if look.face["age"] == "old" else 6.5
    for side in (-1, 1):
        pen.oval(side * (s.cheek - 0.5), 4, 5, ear, shade(look.skin, -0.1))
    crown = [(s.cheek * 0.34, s.top - 2.5), (s.cheek * 0.82, s.top + 1.5), (s.cheek + 1, s.top + 13)]
    half = [*crown, (s.cheek + 1.5, -4), (s.cheek, 10), (s.jaw + 1, s.chin - 9), (s.jaw * 0.5, s.chin + 2.5)]
    pen.blob(mirrored(half), look.skin)


def draw_age(pen: Pen, look: Look) -> None:
    """Draw what the years leave: freckles and blush, folds and bags, or wrinkles and sunken cheeks."""
    age, s, line = look.face["age"], look.shape, shade(look.skin, -0.38)
    for side in (-1, 1):
        if age == "child":
            pen.oval(side * 17, 12, 6.5, 4.5, (242, 96, 96), alpha=0.55)
        if age in ("middle-aged", "old"):
            pen.curve((side * (s.eye_x - 5), 8), (side * s.eye_x, 11.5), (side * (s.eye_x + 5), 8), line, 1.8)
            pen.curve((side * 7, 12.5), (side * 13, 16), (side * 12.5, s.mouth + 2), line, 2.0)
        if age == "old":
            pen.blob([(side * 22, 8), (side * 16, 17), (side * 13, 30), (side * 21, 22)], shade(look.skin, -0.22))
            pen.curve((side * (s.eye_x + 7.5), -1), (side * (s.eye_x + 10), -3), (side * (s.eye_x + 12), -4), line, 1.6)
            pen.curve((side * (s.eye_x + 7.5), 2), (side * (s.eye_x + 10), 3), (side * (s.eye_x + 12), 4.5), line, 1.6)
    if age == "old":
        for y, half in ((-22.5, 10), (-17.5, 13)):
            pen.curve((-half, y), (0, y - 3), (half, y), line, 1.8)


def draw_eyes(pen: Pen, look: Look) -> None:
    """Draw the eyes: lashes and eye shadow on women, heavy lids on the old."""
    s = look.shape
    for side in (-1, 1):
        x = side * s.eye_x
        if look.woman:
            pen.oval(x, -2.2, s.eye_r + 1.8, s.eye_r + 0.6, (150, 92, 176), alpha=0.75)
        pen.oval(x, 0, s.eye_r + 0.9, s.eye_r, (255, 255, 255))
        pen.oval(x, 0.4, s.eye_r * 0.62, s.eye_r * 0.72, (48, 34, 30))
        pen.oval(x + 1.2, -1, 1.2, 1.2, (255, 255, 255))
        if look.face["age"] == "old":
            pen.oval(x, -s.eye_r * 0.95, s.eye_r + 1.6, s.eye_r * 0.75, shade(look.skin, -0.14))
        if look.woman:
            pen.curve((x - s.eye_r - 1, -0.6), (x, -s.eye_r * 2 + 1), (x + s.eye_r + 1, -0.6), INK, 1.9)
            corner, tip = (x + side * s.eye_r, -2), (x + side * (s.eye_r + 3.6), -5.6)
            pen.curve(corner, (x + side * (s.eye_r + 2), -3), tip, INK, 1.8)


BROWS: dict[str, tuple[float, float]] = {
    "happy": (-1.5, -2.5),
    "neutral": (0, 0),
    "sad": (-4.5, 3.0),
    "angry": (4.5, -4.0),
}
"""How far below their usual height brows start, at the nose, and end."""


def draw_brows(pen: Pen, look: Look) -> None:
    """Draw the eyebrows, slanted by the expression: up inside when sad, down inside when angry."""
    s = look.shape
    inner, outer = BROWS[look.face["expression"]]
    y, width = -s.eye_r - 5.5, 2.0 if look.woman else 3.6
    color = shade(look.hair, -0.3)
    for side in (-1, 1):
        start, end = (side * (s.eye_x - 6), y + inner), (side * (s.eye_x + 6.5), y + outer + 1)
        pen.curve(start, (side * s.eye_x, y + (inner + outer) / 2 - 2), end, color, width)


def draw_nose(pen: Pen, look: Look) -> None:
    size = {"child": 2.4, "young": 3.2, "middle-aged": 4.2, "old": 4.4}[look.face["age"]]
    y = look.shape.mouth * 0.47
    pen.oval(0, y, size, size * 0.8, shade(look.skin, -0.2))
    pen.oval(-0.6, y - 0.9, size * 0.6, size * 0.45, shade(look.skin, -0.02))


def draw_mood(pen: Pen, look: Look) -> None:
    """Draw what goes with the mouth: tears of the sad, the flush of the angry."""
    s, expression = look.shape, look.face["expression"]
    for side in (-1, 1):
        if expression == "sad":
            x, y = side * (s.eye_x + 1.5), s.eye_r + 7.5
            pen.blob([(x, y - 9), (x + 3.6, y + 2), (x, y + 6.5), (x - 3.6, y + 2)], (70, 160, 246))
        if expression == "angry":
            pen.oval(side * (s.cheek - 8), 10, 7.5, 5.5, (226, 30, 24), alpha=0.6)


def draw_mouth(pen: Pen, look: Look) -> None:
    """Draw the mouth: open and laughing, straight, turned down, or baring its teeth."""
    y, lip = look.shape.mouth, LIPS if look.woman else mix(shade(look.skin, -0.45), (150, 60, 60), 0.35)
    expression = look.face["expression"]
    if expression == "happy":
        pen.blob([(-13, y - 5), (13, y - 5), (9, y + 9), (-9, y + 9)], lip)
        pen.blob([(-10.5, y - 3.6), (10.5, y - 3.6), (7, y + 6.8), (-7, y + 6.8)], (110, 20, 30))
        pen.blob([(-10.5, y - 3.8), (10.5, y - 3.8), (8, y + 1.6), (-8, y + 1.6)], (255, 255, 255))
    elif expression == "neutral":
        pen.curve((-7, y), (0, y + 0.4), (7, y), lip, 3.4 if look.woman else 2.8)
    elif expression == "sad":
        pen.curve((-8.5, y + 4.5), (0, y - 6.5), (8.5, y + 4.5), lip, 3.6 if look.woman else 3.0)
    else:
        pen.rect(-10.5, y - 4.2, 10.5, y + 5.2, lip, radius=3.5)
        pen.rect(-8.8, y - 2.6, 8.8, y + 3.6, (255, 255, 255), radius=2)
        for x in (-4.5, 0, 4.5):
            pen.curve((x, y - 2.4), (x, y), (x, y + 3.4), (90, 60, 60), 1.1)
        pen.curve((-8.6, y + 0.5), (0, y + 0.5), (8.6, y + 0.5), (90, 60, 60), 1.1)
