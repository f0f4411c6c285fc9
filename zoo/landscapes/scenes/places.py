"""What lies before the horizon: one function per value of the attribute `place`."""

from __future__ import annotations

from collections.abc import Callable

from text2latent.zoo.drawing.pen import SIZE, Color, Pen, Point, mix, shade, skia
from text2latent.zoo.landscapes.scenes.heavens import body_place, draw_sky
from text2latent.zoo.landscapes.scenes.mountains import draw_mountains
from text2latent.zoo.landscapes.scenes.palette import DUNE, SAND, SNOW, WATERS, Scene
from text2latent.zoo.landscapes.scenes.trees import draw_tree

TREE_FOOT = (22.0, 108.0)
"""Where the first tree of a landscape stands."""


def building_foot(scene: Scene) -> tuple[float, float]:
    """Where a building stands."""
    lift = {"beach": 5.0, "lake": 5.0, "hills": -4.0, "river": -13.0, "forest": -19.0, "desert": -13.0}
    return 107 + scene.moved("building_x", 4), scene.horizon - lift[scene["place"]] + 1


def draw_place(pen: Pen, scene: Scene) -> None:
    """Draw the land or water before the horizon."""
    PLACES[scene["place"]](pen, scene)


def _meadow(scene: Scene, distance: float = 0.0) -> list[Color]:
    """Colours of open ground, lit from above, from its crest down."""
    grass = scene.grass
    low = mix(grass, (150, 176, 220), 0.4) if scene.winter else shade(grass, -0.3)
    crest = shade(grass, 0.0 if scene.winter else 0.16)
    return [scene.lit(crest, distance), scene.lit(mix(grass, low, 0.5), distance), scene.lit(low, distance)]


def _bank(pen: Pen, scene: Scene, drop: float = 0.0) -> None:
    """Draw the near ground on the left, where trees and flowers grow."""
    y = 99 + drop + scene.moved("shore", 2)
    line = [(-4, y - 1), (16, y), (44, y + 4), (74, y + 15), (98, y + 20), (134, y + 22)]
    pen.ground(line, SIZE + 2, _meadow(scene))


def _hills(pen: Pen, scene: Scene) -> None:
    y, roll = scene.horizon, scene.moved("ridge", 4)
    far = [(-4, y - 3), (24, y - 9 - roll), (58, y + 2), (92, y - 8 + roll), (134, y - 2)]
    pen.ground(far, SIZE, _meadow(scene, 0.4), 34)
    middle = [(-4, y + 14), (30, y + 12), (66, y + 9 - roll), (100, y + 1 + roll * 0.4), (134, y + 4)]
    pen.ground(middle, SIZE, _meadow(scene, 0.14), 42)
    near = [(-4, y + 18), (26, y + 20 + roll), (62, y + 29), (96, y + 32 - roll * 0.5), (134, y + 22)]
    pen.ground(near, SIZE, _meadow(scene))


def draw_cape(pen: Pen, scene: Scene) -> None:
    """Draw a spit of land for buildings where there is water."""
    if scene["place"] not in WATERS:
        return
    y, reach = scene.horizon, scene.moved("ridge", 4)
    line = [(66 + reach, y + 8), (82 + reach, y + 5), (94 + reach * 0.5, y - 4), (114, y - 6), (134, y - 7)]
    pen.ground(line, y + 8, _meadow(scene, 0.3 if scene["weather"] == "fog" else 0.12), 20)


def _glitter(pen: Pen, scene: Scene, low: float) -> None:
    """Draw the path of light that sun or moon throw on water."""
    if scene["sky"] not in ("sun", "moon"):
        return
    x, _ = body_place(scene)
    color: Color = (255, 222, 150) if scene["time"] == "sunset" else (255, 252, 232)
    for index, half in enumerate((9, 6.5, 8, 5.5, 4)):
        y = scene.horizon + 3.5 + index * 4.6
        if y < low:
            pen.rect(x - half, y - 0.8, x + half, y + 0.9, color, radius=0.8, alpha=0.8 - 0.1 * index)


def _beach(pen: Pen, scene: Scene) -> None:
    y, shore = scene.horizon, scene.moved("shore", 3)
    deep, shallow = scene.lit((22, 108, 184)), scene.lit((104, 216, 206))
    edge = [
        (-4, y + 27 + shore),
        (26, y + 24 + shore),
        (58, y + 31 + shore),
        (92, y + 28 - shore),
        (134, y + 20 - shore),
    ]
    pen.rect(-2, y, SIZE + 2, SIZE, deep)
    pen.ground([(-4, y), (64, y), (134, y)], SIZE, [mix(deep, scene.haze, 0.35), deep, shallow, shallow], 32)
    _glitter(pen, scene, y + 20)
    for x, dy, width in ((8, 7, 20), (46, 12, 24), (2, 17, 18), (112, 11, 20), (92, 18, 26)):
        pen.rect(x, y + dy, x + width, y + dy + 1.5, scene.lit((214, 246, 250)), radius=0.8, alpha=0.55)
    sand = mix(SAND, SNOW, 0.55) if scene.winter else SAND
    foam, wet = scene.lit((255, 255, 255)), scene.lit(shade(sand, -0.18))
    pen.ground([(x, dy - 1.6) for x, dy in edge], SIZE, [foam, foam])
    pen.ground([(x, dy + 1.4) for x, dy in edge], SIZE, [wet, wet])
    pen.ground([(x, dy + 5) for x, dy in edge], SIZE, [scene.lit(shade(sand, 0.15)), scene.lit(shade(sand, -0.08))])
    _bank(pen, scene, 5)


def _lake(pen: Pen, scene: Scene) -> None:
    y, canvas = scene.horizon, pen.canvas
    canvas.save()
    canvas.clipRect(skia.Rect(-2, y, SIZE + 2, SIZE + 2))
    canvas.translate(0, 2 * y)
    canvas.scale(1, -1)
    draw_sky(pen, scene)
    draw_mountains(pen, scene)
    canvas.restore()
    water = scene.lit((36, 104, 150))
    pen.veil(y, SIZE, water, (0.3, 0.5, 0.85))
    _glitter(pen, scene, y + 24)
    for x, dy, width in ((30, 10, 34), (74, 17, 40), (8, 22, 30), (96, 27, 26), (50, 33, 34)):
        pen.rect(x, y + dy, x + width, y + dy + 1.3, mix(scene.sky[-1], (255, 255, 255), 0.3), radius=0.7, alpha=0.5)
    far = [(-4, y - 4), (30, y - 6 - scene.moved("ridge", 1.5)), (62, y - 2.5), (100, y - 4), (134, y - 3)]
    pen.ground(far, y + 1.5, _meadow(scene, 0.36), 8)
    _bank(pen, scene, 1)


def _river(pen: Pen, scene: Scene) -> None:
    y, roll = scene.horizon, scene.moved("ridge", 2)
    line = [(-4, y - 3), (30, y - 5 - roll), (66, y), (100, y - 5 + roll), (134, y - 2)]
    pen.ground(line, SIZE, _meadow(scene, 0.1))
    course = _course(y, scene.moved("shore", 4))
    pen.path(course, scene.lit(shade(scene.grass, -0.35)), alpha=0.7, width=3.4)
    top, bottom = mix(scene.sky[-1], scene.lit((60, 150, 200)), 0.35), mix(scene.sky[1], scene.lit((40, 120, 180)), 0.5)
    pen.canvas.save()
    pen.canvas.clipPath(course, True)
    pen.ground([(-4, y), (64, y), (134, y)], SIZE, [top, bottom])
    for x, dy, width in ((74, 9, 14), (62, 17, 18), (56, 27, 24), (70, 35, 22), (44, 43, 30)):
        pen.rect(x, y + dy, x + width, y + dy + 1.5, mix(top, (255, 255, 255), 0.5), radius=0.8, alpha=0.6)
    pen.canvas.restore()
    _bank(pen, scene, 4)


def _course(y: float, bend: float) -> skia.Path:
    """Outline a river that winds from a point at the horizon `y` down to the viewer."""
    path = skia.Path()
    path.moveTo(64, y)
    path.cubicTo(104 + bend, y + 8, 40 - bend, y + 20, 26, SIZE + 4)
    path.lineTo(106, SIZE + 4)
    path.cubicTo(84 - bend, y + 24, 126 + bend, y + 8, 70, y)
    path.close()
    return path


def _desert(pen: Pen, scene: Scene) -> None:
    y, roll = scene.horizon, scene.moved("ridge", 4)
    light, dark = shade(DUNE, 0.18), mix(DUNE, (176, 96, 70), 0.55)
    far = [(-4, y - 2), (26, y - 7 - roll), (56, y + 1), (90, y - 6 + roll), (134, y)]
    pen.ground(far, SIZE, [scene.lit(light, 0.42), scene.lit(DUNE, 0.36)], 26)
    _dune(pen, (94, y - 1 + roll * 0.5), 62, [scene.lit(light, 0.14), scene.lit(DUNE, 0.08)], scene.lit(dark, 0.2))
    near = (40 + roll, y + 14 + scene.moved("shore", 2))
    _dune(pen, near, 92, [scene.lit(light), scene.lit(DUNE), scene.lit(shade(DUNE, -0.12))], scene.lit(dark))


def _dune(pen: Pen, crest: Point, half: float, stops: list[Color], dark: Color) -> None:
    """Draw a dune lit from the right, whose crest runs down towards the viewer in a curve."""
    x, y = crest
    slope = [(x - 1.4 * half, y + 38), (x - 0.7 * half, y + 17), (x - 0.24 * half, y + 1), crest]
    fall = [crest, (x + 0.3 * half, y + 5), (x + 0.8 * half, y + 19), (x + 1.6 * half, y + 26)]
    pen.gradient_path(_under([slope, fall]), y, y + 50, stops)
    edge = [crest, (x + 0.12 * half, y + 16), (x - 0.26 * half, y + 26), (x + 0.1 * half, SIZE + 20)]
    pen.path(_under([slope, edge]), dark)


def _under(curves: list[list[Point]]) -> skia.Path:
    """Outline what lies beneath a chain of cubic Bézier curves."""
    path = skia.Path()
    path.moveTo(*curves[0][0])
    for _, first, second, end in curves:
        path.cubicTo(*first, *second, *end)
    path.lineTo(curves[-1][-1][0], SIZE + 20)
    path.lineTo(curves[0][0][0], SIZE + 20)
    path.close()
    return path


def _forest(pen: Pen, scene: Scene) -> None:
    y, shift = scene.horizon, scene.moved("ridge", 3)
    pen.ground([(-4, y - 1), (64, y - 3), (134, y - 1)], SIZE, _meadow(scene, 0.2), 30)
    for index in range(9):
        draw_tree(pen, scene, index * 16 + shift * 0.6, y + 6, 32 + (index * 5) % 7, 0.42)
    pen.ground([(-4, y + 5), (64, y + 4), (134, y + 5)], SIZE, _meadow(scene, 0.1), 34)
    for x, height in ((-2, 50), (20, 44), (42, 38), (82, 36), (104, 42), (128, 52)):
        draw_tree(pen, scene, x + shift, y + 17, height, 0.16)
    pen.ground([(-4, y + 15), (40, y + 16), (70, y + 17), (134, y + 15)], SIZE, _meadow(scene), 50)
    trail = scene.lit(mix(SNOW, (190, 200, 226), 0.6) if scene.winter else (206, 176, 128))
    bend = scene.moved("shore", 4)
    pen.polygon([(61, y + 15), (66, y + 15), (84 + bend, SIZE), (50 + bend, SIZE)], trail)


PLACES: dict[str, Callable[[Pen, Scene], None]] = {
    "hills": _hills,
    "beach": _beach,
    "lake": _lake,
    "river": _river,
    "desert": _desert,
    "forest": _forest,
}
