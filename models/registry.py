"""Where weights are found: the worlds that ship in the package's zoo, or a folder on disk.

Worlds are found by path and none of their Python code is imported, so that adding one needs no change here.
"""

from __future__ import annotations

from pathlib import Path

from text2latent.configs.errors import UsageError

PARTS = ("generator", "clip", "prior")
ZOO = Path(__file__).resolve().parent.parent / "zoo"


def zoo_names() -> list[str]:
    """Names of the worlds in the package's zoo that have weights, sorted."""
    return sorted(folder.parent.name for folder in ZOO.glob("*/weights") if folder.is_dir())


def is_zoo_name(source: str) -> bool:
    """Whether `source` names a world of the zoo (a zoo name wins over a folder of the same name)."""
    return source in zoo_names()


def resolve(source: str | Path, part: str) -> Path:
    """Folder that holds the weights of one part.

    Args:
        source: name of a zoo world, or a local folder that holds the part itself or in a subfolder of the part's
            name (a path written with a separator, such as ``./faces``, is never taken for a zoo name).
        part: one of ``generator``, ``clip``, ``prior``.

    Raises:
        UsageError: for an unknown part, or a source that is neither a zoo world nor a folder.
        UsageError: for a zoo world without that part.
    """
    if part not in PARTS:
        raise UsageError(f"part: expected one of {', '.join(PARTS)}, got {part!r}")
    if is_zoo_name(str(source)):
        return _zoo_part(str(source), part)
    folder = Path(source)
    if not folder.is_dir():
        known = ", ".join(zoo_names()) or "none here"
        raise UsageError(f"{part} {str(source)!r}: expected a name of the zoo ({known}) or a folder")
    return folder / part if (folder / part).is_dir() else folder


def _zoo_part(name: str, part: str) -> Path:
    folder = ZOO / name / "weights" / part
    if not folder.is_dir():
        raise UsageError(f"{part} {name!r}: this zoo world ships no {part} ({folder} is missing)")
    return folder
