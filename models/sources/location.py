"""The one door to a model's files: from what a user or a record names to a file or folder on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from text2latent.common.errors import UsageError
from text2latent.models.sources import exported, zoo
from text2latent.models.sources.fetching import KINDS, fetch, is_remote

PARTS = ("generator", "clip", "prior")
Kind = Literal["zoo", "exported", "folder", "checkpoint", "file"]
"""A world's part in the package's zoo, one of an exported folder, any other folder; a prior's file, any other file."""


@dataclass(frozen=True)
class Location:
    """Where a part of a model lies.

    Attributes:
        source: what it was named: name of a zoo world, path or address.
        part: one of `PARTS`.
        kind: what is there, see `Kind`.
        path: file or folder on this machine.
    """

    source: str
    part: str
    kind: Kind
    path: Path

    @property
    def folder(self) -> Path:
        """The folder; UsageError for a file."""
        if not self.path.is_dir():
            raise UsageError(f"{self.part} {self.source!r}: expected {_known()} or a folder, got a file")
        return self.path


def locate(source: str | Path, part: str) -> Location:
    """Find the weights of one part, once for whoever loads it; an address is downloaded.

    Args:
        source: name of a zoo world, or what `fetch` takes; a folder may hold the part itself or have it in a subfolder
            of the part's name (a path written with a separator, such as ``./faces``, is never taken for a zoo name).
        part: one of `PARTS`.

    Raises:
        UsageError: for an unknown part, a source that is none of these, or a zoo world without that part.
        InputError: when an address cannot be downloaded.
    """
    if part not in PARTS:
        raise UsageError(f"part: expected one of {', '.join(PARTS)}, got {part!r}")
    if zoo.is_zoo_name(str(source)):
        return Location(str(source), part, "zoo", zoo.part_folder(str(source), part))
    if not is_remote(source) and not Path(source).exists():
        raise UsageError(f"{part} {str(source)!r}: expected {_known()}, {KINDS}")
    path = fetch(source)
    path = path / part if (path / part).is_dir() else path
    return Location(str(source), part, _kind(path, part), path)


def _kind(path: Path, part: str) -> Kind:
    if not path.is_dir():
        return "checkpoint" if part == "prior" else "file"
    return "exported" if exported.root_of(path) else "folder"


def _known() -> str:
    return f"a name of the zoo ({', '.join(zoo.zoo_names()) or 'none here'})"
