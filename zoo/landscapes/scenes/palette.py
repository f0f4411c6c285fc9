"""The colours of a landscape: the light of the hour, what weather makes of it, and the colours of the seasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from text2latent.zoo.drawing.pen import Color, mix

WATERS = ("beach", "lake")
"""Places whose middle is water: buildings stand on a cape there."""


@dataclass(frozen=True)
class Hour:
    """The light of a time of day.

    Attributes:
        sky: colours from the zenith to the horizon.
        haze: what distant things fade into.
        light: factors of red, green and blue, for everything that doesn't shine by itself.
        body: colour of the sun or moon.
        cloud: lit side and underside of a cloud.
        gray: what the sky fades into when it rains.
    """

    sky: tuple[Color, ...]
    haze: Color
    light: Color
    body: Color
    cloud: tuple[Color, Color]
    gray: Color


HOURS: dict[str, Hour] = {
    "dawn": Hour(
        sky=((128, 150, 214), (190, 178, 220), (248, 196, 206), (255, 230, 208)),
        haze=(246, 206, 212),
        light=(0.96, 0.85, 0.93),
        body=(255, 232, 168),
        cloud=((255, 226, 226), (206, 170, 206)),
        gray=(190, 176, 196),
    ),
    "day": Hour(
        sky=((44, 122, 212), (96, 174, 240), (158, 212, 248), (222, 242, 252)),
        haze=(196, 224, 244),
        light=(1.0, 1.0, 1.0),
        body=(255, 240, 150),
        cloud=((255, 255, 255), (198, 218, 238)),
        gray=(146, 160, 178),
    ),
    "sunset": Hour(
        sky=((62, 40, 112), (160, 56, 116), (244, 104, 76), (255, 190, 92)),
        haze=(228, 116, 98),
        light=(0.88, 0.66, 0.68),
        body=(255, 236, 150),
        cloud=((255, 160, 110), (150, 70, 120)),
        gray=(116, 78, 104),
    ),
    "night": Hour(
        sky=((8, 14, 44), (16, 32, 80), (34, 60, 118), (64, 92, 148)),
        haze=(44, 66, 118),
        light=(0.36, 0.44, 0.66),
        body=(250, 244, 214),
        cloud=((92, 110, 158), (46, 62, 112)),
        gray=(38, 48, 76),
    ),
}

GRASS: dict[str, Color] = {
    "spring": (158, 206, 84),
    "summer": (66, 156, 62),
    "autumn": (212, 142, 58),
    "winter": (238, 244, 252),
}
LEAF: dict[str, Color] = {
    "spring": (130, 196, 84),
    "summer": (40, 122, 58),
    "autumn": (224, 92, 36),
    "winter": (226, 236, 248),
}
SAND: Color = (244, 218, 164)
DUNE: Color = (238, 184, 112)
SNOW: Color = (244, 248, 255)


@dataclass(frozen=True)
class Scene:
    """One landscape: its values, its nuisance and the light they make."""

    values: Mapping[str, str]
    nuisance: Mapping[str, float]

    def __getitem__(self, attribute: str) -> str:
        return self.values[attribute]

    def moved(self, name: str, reach: float) -> float:
        """How far a nuisance moves something, at most `reach`."""
        return self.nuisance[name] * reach

    @cached_property
    def _warmth(self) -> float:
        return self.moved("warmth", 0.05)

    @cached_property
    def hour(self) -> Hour:
        """The light of its time of day."""
        return HOURS[self.values["time"]]

    @cached_property
    def horizon(self) -> float:
        """The height of the horizon in pixels from the top."""
        return 74 + self.moved("horizon", 4)

    @cached_property
    def wet(self) -> bool:
        """Whether rain or snow falls."""
        return self.values["weather"] in ("rain", "snow")

    @cached_property
    def sky(self) -> list[Color]:
        """Colours of the sky from the zenith to the horizon."""
        fade = {"rain": 0.62, "snow": 0.5, "fog": 0.2}.get(self.values["weather"], 0.0)
        gray = mix(self.hour.gray, (255, 255, 255), 0.25 if self.values["weather"] == "snow" else 0.0)
        return [self.tinted(mix(color, gray, fade)) for color in self.hour.sky]

    @cached_property
    def haze(self) -> Color:
        """What distant things fade into."""
        return self.tinted(mix(self.hour.haze, self.hour.gray, 0.4 if self.wet else 0.0))

    @cached_property
    def grass(self) -> Color:
        """The colour of open ground in its season, before it is lit."""
        return GRASS[self.values["season"]]

    @cached_property
    def winter(self) -> bool:
        """Whether snow lies; a desert knows no seasons."""
        return self.values["season"] == "winter" and self.values["place"] != "desert"

    def tinted(self, color: Color) -> Color:
        """Make a colour a little warmer or colder."""
        red, green, blue = color
        return red * (1 + self._warmth), green, blue * (1 - self._warmth)

    def lit(self, color: Color, distance: float = 0.0) -> Color:
        """Show a colour in the light of the hour, at a distance from 0, here, to 1, lost in the haze."""
        (red, green, blue), (red_part, green_part, blue_part) = color, self.hour.light
        lit = red * red_part, green * green_part, blue * blue_part
        lit = self.tinted(mix(lit, self.hour.gray, 0.16) if self.wet else lit)
        return mix(lit, self.haze, distance) if distance else lit


def spread(count: int, seed: float = 0.0) -> list[tuple[float, float]]:
    """Return points spread evenly over the unit square, always the same: a Fibonacci lattice, from left to right."""
    return [((i + 0.5) / count, (seed + 0.618034 * i) % 1.0) for i in range(count)]
