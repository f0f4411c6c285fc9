"""What is in the air before a landscape: fog, rain, snow, and the petals and leaves of the seasons."""

from __future__ import annotations

from text2latent.zoo.drawing.pen import SIZE, Color, Pen, mix
from text2latent.zoo.landscapes.scenes.palette import Scene, spread


def draw_fog(pen: Pen, scene: Scene) -> None:
    """Draw fog over everything but what is near: densest at the horizon, in banks that drift."""
    if scene["weather"] != "fog":
        return
    y, white = scene.horizon, mix(scene.haze, (255, 255, 255), 0.5 if scene["time"] != "night" else 0.24)
    pen.veil(y - 46, y - 1, white, (0.0, 0.42, 0.8))
    pen.veil(y - 1, y + 36, white, (0.8, 0.36, 0.0))
    shift = scene.moved("wind", 8)
    for x, dy, rx, ry in ((28, -4, 44, 5.5), (98, -12, 40, 5), (58, 7, 56, 5.5), (10, 17, 40, 5)):
        pen.canvas.save()
        pen.canvas.translate(x + shift, y + dy)
        pen.canvas.scale(1, ry / rx)
        pen.glow(0, 0, rx, white, 0.95)
        pen.canvas.restore()


def draw_season(pen: Pen, scene: Scene) -> None:
    """Draw what the wind carries: petals in spring, leaves in autumn."""
    colors: dict[str, Color] = {"spring": (255, 176, 206), "autumn": (232, 92, 30)}
    if scene["place"] == "desert" or scene["season"] not in colors:
        return
    color = mix(scene.lit(colors[scene["season"]]), colors[scene["season"]], 0.55)
    size = 1.0 if scene["season"] == "spring" else 1.25
    for index, (u, v) in enumerate(spread(11, 0.12)):
        pen.canvas.save()
        pen.canvas.translate(u * 136 - 4 + scene.moved("wind", 6), 34 + v * 88 + scene.moved("wind", 3))
        pen.canvas.rotate(index * 67 % 180 - 40)
        pen.oval(0, 0, 2.9 * size, 1.6 * size, color)
        pen.canvas.restore()


def draw_fall(pen: Pen, scene: Scene) -> None:
    """Draw rain or snow."""
    wind = scene.moved("wind", 5)
    if scene["weather"] == "rain":
        color = mix(scene.hour.gray, (255, 255, 255), 0.72)
        for u, v in spread(34, 0.5):
            x, y = u * 142 - 4 + wind, v * 134 - 6
            pen.curve((x, y), (x - 1.4, y + 4), (x - 2.8, y + 8), color, 1.25, alpha=0.72)
    elif scene["weather"] == "snow":
        for index, (u, v) in enumerate(spread(38, 0.2)):
            radius = (1.5, 2.1, 1.2)[index % 3]
            pen.oval(u * 140 - 6 + wind, v * 134 - 3, radius, radius, (255, 255, 255), alpha=0.92)


def draw_light(pen: Pen, scene: Scene) -> None:
    """Make all of the picture a little lighter or darker."""
    light = scene.nuisance["light"]
    pen.rect(-1, -1, SIZE + 1, SIZE + 1, (255, 250, 232) if light > 0 else (8, 10, 40), alpha=0.1 * abs(light))
