"""Landscapes show each of their values, and change smoothly with their nuisances."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest
import yaml

pytest.importorskip("skia")
from text2latent.zoo.drawing.pen import skia
from text2latent.zoo.landscapes.scenes.renderer import draw_landscape

WORLD = yaml.safe_load((resources.files("text2latent.zoo.landscapes") / "world.yaml").read_text(encoding="utf-8"))
ATTRIBUTES: dict[str, list[str]] = WORLD["attributes"]
STILL = dict.fromkeys(WORLD["nuisances"], 0.0)
PLAIN = {
    "time": "day",
    "weather": "clear",
    "sky": "none",
    "place": "hills",
    "mountains": "none",
    "season": "summer",
    "trees": "none",
    "flowers": "none",
    "building": "none",
}
values = [(attribute, value) for attribute in ATTRIBUTES for value in ATTRIBUTES[attribute]]


def draw(nuisance: dict[str, float] | None = None, **changed: str) -> np.ndarray:
    """Draw a landscape that differs from a plain one; float64 `[128, 128, 3]` in [0, 255]."""
    surface = skia.Surface(128, 128)
    with surface as canvas:
        draw_landscape(canvas, PLAIN | changed, STILL | (nuisance or {}))
    return surface.toarray(colorType=skia.kRGBA_8888_ColorType)[..., :3].astype(float)


@pytest.mark.parametrize(("attribute", "value"), values)
def test_each_value_can_be_told_from_the_others(attribute: str, value: str) -> None:
    at_night = {"time": "night"} if attribute == "sky" else {}
    pictures = {name: draw(**(at_night | {attribute: name})) for name in ATTRIBUTES[attribute]}
    for other in set(ATTRIBUTES[attribute]) - {value}:
        assert (np.abs(pictures[value] - pictures[other]).max(axis=2) > 24).sum() > 60


@pytest.mark.parametrize("name", WORLD["nuisances"])
@pytest.mark.parametrize("place", ATTRIBUTES["place"])
def test_a_small_change_of_a_nuisance_changes_a_picture_little(name: str, place: str) -> None:
    shown = {"place": place, "weather": "cloudy", "sky": "sun", "mountains": "snowy", "trees": "leafy"}
    steps = [draw({name: amount}, **shown) for amount in (-1.0, -0.99, 0.99, 1.0)]
    near = max(np.abs(steps[0] - steps[1]).mean(), np.abs(steps[2] - steps[3]).mean())
    assert near < 1
    assert near <= np.abs(steps[0] - steps[3]).mean()


def test_a_picture_is_the_same_each_time() -> None:
    assert (draw(time="sunset", weather="rain") == draw(time="sunset", weather="rain")).all()


def test_lake_mirrors_the_mountains() -> None:
    change = np.abs(draw(place="lake", mountains="snowy") - draw(place="lake")).max(axis=2)
    assert (change[:74] > 12).sum() > 1000
    assert (change[76:98] > 12).sum() > 300


def test_night_is_dark_and_winter_is_white() -> None:
    assert draw(time="night").mean() < 0.6 * draw().mean()
    summer, winter = draw()[110:].reshape(-1, 3), draw(season="winter")[110:].reshape(-1, 3)
    assert winter.min(axis=1).mean() > summer.min(axis=1).mean() + 100


def test_unknown_value_is_refused() -> None:
    with pytest.raises(KeyError, match="moon base"):
        draw(place="moon base")
