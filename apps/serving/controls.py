"""Words for chips and pairs of texts for sliders, of the worlds that models draw; they lie in `configs/controls`."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import yaml


def read_controls(name: str) -> dict[str, list[Any]]:
    """Chips and sliders for a world of that name, each text in English (`en`) and Japanese (`ja`).

    `chips` are groups, a `name` and `words`, of which a text has one at a time; `sliders` have a `key`, a `name`, and
    two texts, `from` and `to`.
    """
    text = read_named(files("text2latent.configs").joinpath("controls"), f"{name}.yaml")
    return yaml.safe_load(text) if text else {}


def read_named(folder: Traversable, name: str) -> str:
    """A file of a folder, found by its name among those that are there; empty without one."""
    return next((file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name == name), "")
