"""What is known of the worlds that models draw: texts to try, words for chips, and pairs of texts for sliders.

Examples lie beside this file, controls in `text2latent.configs.controls`, each under the name of a world.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

from text2latent.apps.serving.controls import read_controls, read_named

if TYPE_CHECKING:
    from text2latent.apps.serving.engine import Engine

T = TypeVar("T")


def describe_world(engine: Engine, model: str) -> dict[str, Any]:
    """What the page offers for a model, JSON-ready: `examples`, `chips` and `sliders`; empty where nothing is known.

    Raises:
        UnknownModel: for a model that isn't offered.
        ModelUnavailable: when the model has another name than its world, and can't be loaded.
    """
    name = engine.library.check(model)
    return {"examples": _of_world(engine, name, read_examples), **_of_world(engine, name, read_controls)}


def _of_world(engine: Engine, model: str, read: Callable[[str], T]) -> T:
    """What is known of a model by its own name, or else by its generator's."""
    if found := read(model):
        return found
    identity = engine.library.get(model).generator.identity
    return read("" if identity is None else identity.name)


def read_examples(name: str) -> list[str]:
    """Prompts for a world of that name; none for one that nothing is known of."""
    text = read_named(files("text2latent.apps.serving.page").joinpath("examples"), f"{name}.txt")
    return text.splitlines()
