"""Virtual environments that hold some distributions and what they require, and nothing else.

They are made of links to the packages that this Python has: quick to make, offline, and no second torch on the disk.
"""

from __future__ import annotations

import importlib.metadata
import sys
import sysconfig
import venv
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path, PurePosixPath

from filelock import FileLock
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGES = Path(sysconfig.get_path("purelib"))
VERSION = 1
"""Of how environments are made: those made otherwise are made anew."""


def environment(name: str, wanted: Iterable[str]) -> Path:
    """The Python of an environment with `wanted` distributions and their requirements; kept between runs.

    Args:
        name: of its folder, beside this Python's packages.
        wanted: names of distributions that are installed here.
    """
    folder = Path(sys.prefix) / name
    needed = closure(wanted)
    content = "\n".join([f"made in way {VERSION} by Python {sys.version}", *versions(needed)])
    stamp = folder / "content.txt"
    with FileLock(f"{folder}.lock"):
        if not stamp.is_file() or stamp.read_text(encoding="utf-8") != content:
            venv.create(folder, with_pip=False, clear=True, symlinks=True)
            (site,) = folder.glob("lib/python*/site-packages")
            link(needed, site)
            stamp.write_text(content, encoding="utf-8")
    return folder / "bin" / "python"


def versions(names: Iterable[str]) -> list[str]:
    return sorted(f"{name}=={importlib.metadata.version(name)}" for name in names)


def closure(wanted: Iterable[str]) -> set[str]:
    """Names of distributions and of all that they require on this machine, directly or through others."""
    found = set[tuple[str, str]]()
    open_ones = [(canonicalize_name(name), "") for name in wanted]
    while open_ones:
        one = open_ones.pop()
        if one not in found:
            found.add(one)
            open_ones += _required(*one)
    return {name for name, _ in found}


def _required(name: str, extra: str) -> Iterator[tuple[str, str]]:
    """Names and extras that a distribution with an extra, or without any (""), requires."""
    for line in importlib.metadata.requires(name) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            for wanted in ("", *requirement.extras):
                yield canonicalize_name(requirement.name), wanted


def link(names: Iterable[str], site: Path) -> None:
    """Link the files of distributions into a folder; folders that no other distribution has a part in as a whole."""
    owners, names = files_of_all(), set(names)
    others = [file for name, files in owners.items() if name not in names for file in files]
    shared = {parent for file in others for parent in file.parents}
    for file in {file for name in names for file in owners[name]}:
        whole = next(path for path in (*reversed(file.parents[:-1]), file) if path not in shared)
        target = site / whole
        if not target.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(PACKAGES / whole)


@cache
def files_of_all() -> dict[str, list[PurePosixPath]]:
    """Files of all distributions that are installed here, by name, but for those outside of the packages' folder."""
    return {
        canonicalize_name(one.name): [PurePosixPath(file) for file in one.files or () if ".." not in file.parts]
        for one in importlib.metadata.distributions(path=[str(PACKAGES)])
    }
