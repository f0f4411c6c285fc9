"""Renders of a world: its renderer run over value indices and nuisance.

A renderer is a function `(canvas, values, nuisance)` that draws one picture on a Skia canvas of 128 x 128 pixels, from
a value of each attribute and a number in [-1, 1] for each nuisance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from text2latent.zoo.drawing.pen import SIZE, skia
from text2latent.zoo.world import Values, World

Renderer = Callable[["skia.Canvas", Values, Mapping[str, float]], None]


@cache
def find_renderer(world: World) -> Renderer:
    """The function that draws a world's pictures."""
    module, name = world.renderer.split(":")
    renderer: Renderer = getattr(world.module(module), name)
    return renderer


def render(world: World, codes: np.ndarray, nuisance: np.ndarray) -> np.ndarray:
    """Draw pictures of a world.

    Args:
        world: the world.
        codes: value indices `[N, len(world.names)]`.
        nuisance: `[N, len(world.nuisances)]` in [-1, 1].

    Returns:
        RGB images, uint8 `[N, 128, 128, 3]`.
    """
    draw = find_renderer(world)
    images = np.empty((len(codes), SIZE, SIZE, 3), dtype=np.uint8)
    surface = skia.Surface(SIZE, SIZE)
    for index, (values, row) in enumerate(zip(world.decode(codes), nuisance, strict=True)):
        with surface as canvas:
            draw(canvas, values, dict(zip(world.nuisances, row, strict=True)))
        images[index] = surface.toarray(colorType=skia.kRGBA_8888_ColorType)[..., :3]
    return images
