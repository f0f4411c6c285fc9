"""The worlds that ship in the package's zoo.

Worlds are found by path and none of their Python code is imported, so that adding one needs no change here.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from text2latent.common.errors import UsageError
from text2latent.common.files import read_object
from text2latent.models.sources.identity import Identity

ZOO = Path(__file__).resolve().parents[2] / "zoo"
SHARED = "shared.json"
"""File of a world's weights that says which other world has the parts that it doesn't have itself."""
MEASURES = "text2latent.attribute_accuracy"
"""Entry points, ``NAME = MODULE:FUNCTION`` in a package's setup.cfg, of what its world NAME knows to measure."""


def zoo_names() -> list[str]:
    """Names of the worlds in the package's zoo that have weights, sorted."""
    return sorted(folder.parent.name for folder in ZOO.glob("*/weights") if folder.is_dir())


def is_zoo_name(source: str) -> bool:
    """Whether `source` names a world of the zoo (a zoo name wins over a folder of the same name)."""
    return source in zoo_names()


def owner(name: str, part: str) -> str:
    """The zoo world that has a part which the world `name` uses: itself, unless its `shared.json` names another."""
    shared = ZOO / name / "weights" / SHARED
    return str(read_object(shared, "a zoo world").get(part, name)) if shared.is_file() else name


def part_folder(name: str, part: str) -> Path:
    """Folder with a part's weights that the zoo world `name` uses.

    Raises:
        UsageError: for a world without that part.
    """
    folder = ZOO / owner(name, part) / "weights" / part
    if not folder.is_dir():
        can_be_built = (ZOO / name / "world.yaml").is_file()
        way = f"; python -m text2latent.zoo.build {name} --only {part} builds it" if can_be_built else ""
        raise UsageError(f"{part} {name!r}: this zoo world ships no {part} ({folder} is missing){way}")
    return folder


def find_attribute_measure(generator: Identity) -> Callable[..., float] | None:
    """The measure of the world whose generator this is; None where none is registered under its name.

    It takes a pipeline, a number of captions and the pipeline's settings as keyword arguments, and returns the share
    of what the captions name that is in the pictures.
    """
    found = entry_points(group=MEASURES, name=generator.name)
    return next(iter(found)).load() if found else None
