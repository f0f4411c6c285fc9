"""A world of drawn pictures: what a picture shows, and what a z of its generator stands for.

A world `NAME` is a folder `zoo/NAME` with a renderer, grammars in `language/`, and `world.yaml`, whose keys are

- `attributes`: the values of each attribute; `nuisances`: names of what varies continuously and no text speaks of;
- `renderer`: `MODULE:FUNCTION` within the folder, which draws a picture; see `zoo.drawing.renders`;
- `restrictions`: by `ATTRIBUTE=VALUE`, conditions under which the attribute has that value whatever was drawn, applied
  in their order; `hidden`: by attribute, conditions under which it can't be seen. A condition is a meaning as in
  `zoo.language.lexicon`: `gender=woman`, `trees=palms season!=summer`;
- `captions`: habits of speech, see `zoo.language.captions`; `fit`: how the networks are fitted, see `zoo.fit`.

A z is first scaled to unit second moment, as StyleGAN's mapping network does. Then each attribute has a coordinate of
its own, cut into values of equal probability, and each nuisance has one, made uniform by the normal distribution
function. The generator's w is fitted to hold the same: one coordinate a value (one-hot), one a nuisance.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from text2latent.common.errors import UsageError
from text2latent.models.sources.zoo import ZOO

Z_DIM = 32
W_SCALE = 2.0
"""Value of a w coordinate that is fully on; makes the second moment of w about 1."""

Meaning = Mapping[str, tuple[int, ...]]
"""The value indices that are allowed of each attribute it names."""
Values = Mapping[str, str]
"""A value for every attribute."""
Condition = list[tuple[int, np.ndarray]]
"""A meaning to look up: columns, and which of the attribute's values are allowed, bool."""


@dataclass(frozen=True, eq=False)
class World:
    """What a world's `world.yaml` says; see the module.

    Attributes:
        name: of its folder in the zoo.
        attributes: the values of each attribute.
        nuisances: names of what varies continuously.
        restrictions: pairs of `attribute=value` and the conditions under which it holds.
        hidden: conditions under which an attribute can't be seen.
        renderer: `MODULE:FUNCTION` within the folder.
        captions: habits of speech.
        fit: how its networks are fitted.
    """

    name: str
    attributes: Mapping[str, tuple[str, ...]]
    nuisances: tuple[str, ...]
    restrictions: Mapping[str, Sequence[str]]
    hidden: Mapping[str, Sequence[str]]
    renderer: str
    captions: Mapping[str, Any]
    fit: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        return ZOO / self.name

    @property
    def weights(self) -> Path:
        """Folder of its shipped weights."""
        return self.folder / "weights"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the attributes, in the order of the columns of value indices."""
        return tuple(self.attributes)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """How many values each attribute has."""
        return tuple(len(values) for values in self.attributes.values())

    @cached_property
    def valid(self) -> np.ndarray:
        """Which cells of an `[attribute, value]` table stand for a value; bool `[len(names), max(sizes)]`."""
        valid = np.arange(max(self.sizes)) < np.array(self.sizes)[:, None]
        valid.flags.writeable = False
        return valid

    @property
    def num_values(self) -> int:
        return sum(self.sizes)

    @property
    def w_dim(self) -> int:
        return self.num_values + len(self.nuisances)

    def module(self, name: str) -> Any:
        """Import a module of the world, such as `language.grammar_en`."""
        return importlib.import_module(f"{__package__}.{self.name}.{name}")

    def parse_meaning(self, meaning: str) -> Meaning:
        """Turn `hair_color=gray,white age!=child` into the value indices that it allows of each attribute.

        Raises:
            ValueError: for an unknown value.
            KeyError: for an unknown attribute.
        """
        allowed = {}
        for part in meaning.split():
            name, negated, values = re.fullmatch(r"(\w+)(!?)=(.+)", part).groups()  # type: ignore[union-attr]
            known = self.attributes[name]
            if unknown := set(values.split(",")) - set(known):
                raise ValueError(f"{name} has no value {', '.join(sorted(unknown))}, only {', '.join(known)}")
            indices = {known.index(value) for value in values.split(",")}
            allowed[name] = tuple(i for i in range(len(known)) if (i in indices) != bool(negated))
        return allowed

    def allow(self, meaning: str) -> np.ndarray:
        """The values that a meaning allows, as `valid`: all those of attributes that it doesn't name."""
        allowed = self.valid.copy()
        for name, values in self.parse_meaning(meaning).items():
            allowed[self.names.index(name)] = np.isin(np.arange(allowed.shape[1]), values)
        return allowed

    @cached_property
    def _restrictions(self) -> list[tuple[int, int, list[Condition]]]:
        """Column, value index and conditions of each restriction."""
        parsed = []
        for target, conditions in self.restrictions.items():
            ((name, (value,)),) = self.parse_meaning(target).items()
            parsed.append((self.names.index(name), value, self._conditions(conditions)))
        return parsed

    @cached_property
    def _hidden(self) -> list[tuple[int, list[Condition]]]:
        """Column and conditions of each attribute that may be hidden."""
        return [(self.names.index(name), self._conditions(conditions)) for name, conditions in self.hidden.items()]

    def _conditions(self, texts: Sequence[str]) -> list[Condition]:
        """For each text the columns that it names, each with which of its values it allows, bool `[max(sizes)]`."""
        return [
            [(self.names.index(name), np.isin(np.arange(max(self.sizes)), values)) for name, values in meaning.items()]
            for meaning in map(self.parse_meaning, texts)
        ]

    def restrict(self, codes: np.ndarray) -> np.ndarray:
        """Return value indices `[N, len(names)]` with those that contradict others replaced."""
        restricted = codes.copy()
        for column, value, conditions in self._restrictions:
            restricted[_holds(restricted, conditions), column] = value
        return restricted

    def settled(self, codes: np.ndarray) -> np.ndarray:
        """Which attributes have their value because of others, whatever was drawn; bool `[N, len(names)]`."""
        mask = np.zeros(codes.shape, dtype=bool)
        for column in {column for column, _, _ in self._restrictions}:
            drawn = np.repeat(codes[None], self.sizes[column], axis=0)
            drawn[:, :, column] = np.arange(self.sizes[column])[:, None]
            left = self.restrict(drawn.reshape(-1, len(self.names)))[:, column].reshape(drawn.shape[:2])
            mask[:, column] = (left == left[0]).all(axis=0)
        return mask

    def visible(self, codes: np.ndarray) -> np.ndarray:
        """Which attributes can be seen, bool `[N, len(names)]`."""
        mask = np.ones(codes.shape, dtype=bool)
        for column, conditions in self._hidden:
            mask[_holds(codes, conditions), column] = False
        return mask

    def draw_codes(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw `n` pictures' value indices, uniform and independent but for `restrict`; int64 `[n, len(names)]`."""
        return self.restrict(np.stack([rng.integers(0, size, n) for size in self.sizes], axis=1))

    def draw_nuisance(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw continuous nuisance, uniform in [-1, 1]; float64 `[n, len(nuisances)]`."""
        return rng.uniform(-1, 1, (n, len(self.nuisances)))

    def decode(self, codes: np.ndarray) -> list[dict[str, str]]:
        """Turn value indices `[N, len(names)]` into values by attribute."""
        return [
            {name: values[code] for (name, values), code in zip(self.attributes.items(), row, strict=True)}
            for row in codes
        ]

    def encode(self, pictures: Sequence[Values]) -> np.ndarray:
        """Turn values by attribute into indices, int64 `[N, len(names)]`; raises `ValueError` on an unknown value."""
        rows = [[values.index(shown[name]) for name, values in self.attributes.items()] for shown in pictures]
        return np.array(rows, dtype=np.int64)

    def meaning(self, z: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return what `z` `[N, 32]` means: value indices `[N, len(names)]`, nuisance `[N, len(nuisances)]`."""
        uniforms = _uniforms(z)
        sizes, count = np.array(self.sizes), len(self.names)
        codes = np.minimum((uniforms[:, :count] * sizes).astype(np.int64), sizes - 1)
        return self.restrict(codes), 2 * uniforms[:, count : count + len(self.nuisances)] - 1

    def one_hot(self, codes: np.ndarray) -> np.ndarray:
        """Return the one-hot values of all attributes side by side, float32 `[N, num_values]`."""
        columns = [np.eye(size, dtype=np.float32)[codes[:, i]] for i, size in enumerate(self.sizes)]
        return np.concatenate(columns, axis=1)

    def latents(self, codes: np.ndarray, nuisance: np.ndarray) -> Tensor:
        """Return the w `[N, w_dim]` of pictures: `W_SCALE` at their values, nuisance from [-1, 1] to [0, `W_SCALE`]."""
        parts = [self.one_hot(codes), (nuisance.astype(np.float32) + 1) / 2]
        return W_SCALE * torch.from_numpy(np.concatenate(parts, axis=1))

    def blur_values(self, w: Tensor, rng: np.random.Generator, most: float) -> Tensor:
        """Mix half of the attributes of `w` with another value by up to `most`, and add noise of up to a third of that.

        A synthesis network that still draws the nearest clean picture learns to round a vague w to a plain one.
        """
        n = len(w)
        mixed = rng.uniform(0, most, (n, len(self.sizes))) * (rng.random((n, len(self.sizes))) < 0.5)
        share = np.repeat(mixed, self.sizes, axis=1)
        others = self.one_hot(np.stack([rng.integers(0, size, n) for size in self.sizes], axis=1))
        jitter = rng.uniform(0, most / 3, (n, 1)) * rng.standard_normal((n, self.num_values))
        values = w[:, : self.num_values] / W_SCALE
        blurred = values + torch.from_numpy((share * (others - values.numpy()) + jitter).astype(np.float32))
        return torch.cat([W_SCALE * blurred, w[:, self.num_values :]], dim=1)


def _holds(codes: np.ndarray, conditions: Sequence[Condition]) -> np.ndarray:
    """Of which rows of value indices one of the conditions is true, bool `[N]`."""
    held = np.zeros(len(codes), dtype=bool)
    for parts in conditions:
        held |= np.logical_and.reduce([allowed[codes[:, column]] for column, allowed in parts])
    return held


def _uniforms(z: Tensor) -> np.ndarray:
    normalized = z * z.square().mean(dim=1, keepdim=True).rsqrt()
    return torch.special.ndtr(normalized.double()).numpy()


@cache
def load_world(name: str) -> World:
    """Read the world of a name, such as `faces`.

    Raises:
        UsageError: where there is none.
        ValueError: for a key that is unknown or missing.
    """
    if name not in world_names():
        raise UsageError(f"world: expected one of {', '.join(world_names())}, got {name!r}")
    kept = yaml.safe_load((ZOO / name / "world.yaml").read_text(encoding="utf-8"))
    attributes = {attribute: tuple(values) for attribute, values in kept.pop("attributes").items()}
    try:
        return World(name, attributes, tuple(kept.pop("nuisances")), **kept)
    except TypeError as error:
        raise ValueError(f"zoo/{name}/world.yaml: {error}") from error


def world_names() -> list[str]:
    """Names of the worlds that are described in the zoo, sorted."""
    return sorted(path.parent.name for path in ZOO.glob("*/world.yaml"))
