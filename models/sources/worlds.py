"""What a world knows to measure about its own pictures, registered as an entry point so that no code here names it.

A package's `setup.cfg` says under `text2latent.attribute_accuracy`, for a world NAME, ``NAME = MODULE:FUNCTION``. The
function takes a pipeline, a number of captions and the pipeline's settings as keyword arguments, and returns the
share of what the captions name that is in the pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from text2latent.models.sources.identity import Identity

GROUP = "text2latent.attribute_accuracy"


def find_attribute_measure(generator: Identity) -> Callable[..., float] | None:
    """The measure of the world whose generator this is; None where none is registered under its name."""
    found = entry_points(group=GROUP, name=generator.name)
    return next(iter(found)).load() if found else None
