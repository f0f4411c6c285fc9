"""Draws a landscape, 128 x 128 pixels, from a value per attribute and continuous nuisance."""

from __future__ import annotations

from collections.abc import Mapping

from text2latent.zoo.drawing.pen import Color, Pen, skia
from text2latent.zoo.landscapes.scenes.buildings import draw_building
from text2latent.zoo.landscapes.scenes.heavens import draw_sky
from text2latent.zoo.landscapes.scenes.mountains import draw_mountains
from text2latent.zoo.landscapes.scenes.palette import Scene, spread
from text2latent.zoo.landscapes.scenes.places import TREE_FOOT, building_foot, draw_cape, draw_place
from text2latent.zoo.landscapes.scenes.trees import draw_tree
from text2latent.zoo.landscapes.scenes.weather import draw_fall, draw_fog, draw_light, draw_season

PETALS: tuple[Color, ...] = ((255, 92, 92), (255, 222, 70), (255, 255, 255), (186, 116, 240))


def draw_landscape(canvas: skia.Canvas, values: Mapping[str, str], nuisance: Mapping[str, float]) -> None:
    """Draw one landscape on a canvas of 128 x 128 pixels.

    Args:
        canvas: what is drawn on; all of it is covered.
        values: a value for every attribute of `world.yaml`.
        nuisance: each nuisance of `world.yaml` in [-1, 1]; the picture is a continuous function of them.
    """
    pen, scene = Pen(canvas), Scene(values, nuisance)
    draw_sky(pen, scene)
    draw_mountains(pen, scene)
    draw_place(pen, scene)
    draw_fog(pen, scene)
    draw_cape(pen, scene)
    draw_building(pen, scene, *building_foot(scene))
    _draw_trees(pen, scene)
    _draw_flowers(pen, scene)
    draw_season(pen, scene)
    draw_fall(pen, scene)
    draw_light(pen, scene)


def _draw_trees(pen: Pen, scene: Scene) -> None:
    """Draw a small tree behind a large one, on the near ground at the left."""
    x, y = TREE_FOOT
    x, size = x + scene.moved("tree_x", 5), 1 + scene.moved("tree_size", 0.08)
    draw_tree(pen, scene, x + 24, y - 1, 44 * size, 0.08)
    draw_tree(pen, scene, x, y + 3, 70 * size)


def _draw_flowers(pen: Pen, scene: Scene) -> None:
    if scene["flowers"] == "none":
        return
    shift = scene.moved("shore", 3)
    for index, (u, v) in enumerate(sorted(spread(14, 0.3), key=lambda point: point[1])):
        _draw_flower(pen, scene, u * 132 - 2 + shift, 111 + 12 * v + (3 if u > 0.7 else 0), 2.6 + v, index)


def _draw_flower(pen: Pen, scene: Scene, x: float, y: float, radius: float, index: int) -> None:
    pen.curve((x, y), (x, y + 3), (x + 0.5, y + 8), scene.lit((52, 112, 52)), 1.4)
    color = scene.lit(PETALS[index % len(PETALS)], -0.15 if scene["time"] == "night" else 0.0)
    for dx, dy in ((0, -0.55), (0.52, -0.17), (0.32, 0.45), (-0.32, 0.45), (-0.52, -0.17)):
        pen.oval(x + dx * radius, y + dy * radius, radius * 0.55, radius * 0.55, color)
    pen.oval(x, y, radius * 0.4, radius * 0.4, scene.lit((255, 196, 40) if index % 4 != 1 else (150, 84, 30)))
