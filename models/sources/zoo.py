"""The worlds that ship in the package's zoo.

Worlds are found by path and none of their Python code is imported, so that adding one needs no change here.
"""

from __future__ import annotations

from pathlib import Path

from text2latent.common.errors import UsageError
from text2latent.common.json_file import read_object

ZOO = Path(__file__).resolve().parents[2] / "zoo"
SHARED = "shared.json"
"""File of a world's weights that says which other world has the parts that it doesn't have itself."""


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
        raise UsageError(f"{part} {name!r}: this zoo world ships no {part} ({folder} is missing)")
    return folder
