"""Mountains behind a landscape, bare or with snow on their tops."""

from __future__ import annotations

from text2latent.zoo.drawing.pen import Color, Pen, mix, shade
from text2latent.zoo.landscapes.scenes.palette import SNOW, Scene

ROCK: Color = (104, 112, 146)


def draw_mountains(pen: Pen, scene: Scene) -> None:
    """Draw a far range and, before it, three peaks, the highest left of the middle."""
    if scene["mountains"] == "none":
        return
    base, shift = scene.horizon + 3, scene.moved("peak_x", 6)
    far = [(-4, -20), (18, -27), (34, -18), (60, -24), (84, -17), (108, -25), (134, -15)]
    pen.polygon([*((x + shift * 0.5, base + y) for x, y in far), (140, base), (-10, base)], scene.lit(ROCK, 0.62))
    rise = scene.moved("peak_y", 4)
    _peak(pen, scene, 10 + shift * 0.7, base, 36 - rise * 0.5, 38, 0.42)
    _peak(pen, scene, 110 + shift * 0.7, base, 33 + rise * 0.5, 38, 0.42)
    _peak(pen, scene, 54 + shift, base, 58 + rise, 47, 0.26)


def _peak(pen: Pen, scene: Scene, x: float, base: float, height: float, width: float, distance: float) -> None:
    """Draw a peak lit from the right, `height` above its base and `width` to each side."""
    # At night the sky is as dull as they are: they show as silhouettes.
    dark = 0.5 if scene["time"] == "night" else 0.0
    distance *= 1 - dark
    lit, shadow = (scene.lit(shade(ROCK, tone - dark), distance) for tone in (0.16, -0.26))
    top = base - height

    def at(across: float, down: float) -> tuple[float, float]:
        return x + width * across, top + height * down

    pen.polygon([at(-1, 1), at(-0.42, 0.46), at(-0.3, 0.36), at(0, 0), at(0.2, 0.22), at(0.48, 0.45), at(1, 1)], lit)
    pen.polygon(
        [at(-1, 1), at(-0.42, 0.46), at(-0.3, 0.36), at(0, 0), at(0.05, 0.3), at(-0.06, 0.55), at(0.1, 1)], shadow
    )
    if scene["mountains"] == "snowy":
        white, gray = scene.lit(SNOW, distance * 0.25), scene.lit(mix(SNOW, (130, 152, 206), 0.55), distance * 0.4)
        left = [at(0, 0), at(-0.3, 0.36), at(-0.42, 0.46)]
        hem = [at(-0.3, 0.44), at(-0.22, 0.56), at(-0.12, 0.46), at(0, 0.58)]
        pen.polygon([*left, *hem, at(0.05, 0.3)], gray)
        right = [at(0, 0), at(0.2, 0.22), at(0.48, 0.45), at(0.38, 0.47), at(0.3, 0.58), at(0.18, 0.46)]
        pen.polygon([*right, at(0.1, 0.6), at(0, 0.56), at(0.05, 0.3)], white)
