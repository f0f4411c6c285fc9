"""Where the generator and the CLIP of a record lie: a record keeps their absolute paths, and those from its own folder.

So a run still finds them from any other folder, and after it was moved together with them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from text2latent.common.errors import InputError, UsageError
from text2latent.models.sources.fetching import is_remote
from text2latent.models.sources.identity import Identity
from text2latent.models.sources.zoo import is_zoo_name

RELATIVE = "relative_path"
"""Key of a record's identity: the path from the record's folder, as `source` has it from the root."""

Network = TypeVar("Network")
_PREFIXED = re.compile(r"(local-dir:|[\w.-]+/)(.+)")
"""A folder of CLIP as open_clip writes it; the model and the file of its weights."""
_ABSOLUTE = re.compile(r"(local-dir:|[\w.-]+/)?((?:/|[A-Za-z]:[\\/]).+)")


def with_absolute_path(identity: Identity) -> Identity:
    """`identity` with the absolute path of its file or folder, if its source is one of this machine's."""
    found = _split_local(identity)
    return identity if found is None else replace(identity, source=found[0] + str(found[1].absolute()))


def to_record(identity: Identity, folder: Path) -> dict[str, str]:
    """An identity as a record in `folder` keeps it: JSON-ready, with both paths if its source is a path."""
    identity = with_absolute_path(identity)
    found = _split_absolute(identity.source)
    if found is None:
        return identity.to_dict()
    try:
        relative = os.path.relpath(found[1], folder.absolute())
    except ValueError:  # on another drive of Windows
        return identity.to_dict()
    return {**identity.to_dict(), RELATIVE: relative}


def from_record(kept: Any, folder: Path) -> Any:
    """What `to_record` wrote, with the path from `folder` as its source where that is a way to it and the other isn't.

    Anything else that a record may hold is returned as it is.
    """
    if not (isinstance(kept, Mapping) and isinstance(kept.get(RELATIVE), str) and isinstance(kept.get("source"), str)):
        return kept
    found = _split_absolute(kept["source"])
    beside = Path(os.path.normpath(folder.absolute() / kept[RELATIVE]))
    if found is None or found[1].exists() or not beside.exists():
        return kept
    return {**kept, "source": f"{found[0]}{beside}"}


def load_recorded(load: Callable[[str], Network], identity: Identity, part: str, flag: str) -> Network:
    """Load a network from where a record says that it is.

    Args:
        load: source -> network.
        identity: what the record says.
        part: what the network is, for the message.
        flag: that says where it is otherwise.

    Raises:
        InputError: when it isn't there any more; the message names the flag. Also whatever `load` raises of its files.
    """
    try:
        return load(identity.source)
    except UsageError as error:
        gone = f"{part} {identity}: nothing is at {identity.source} any more, nor at the same place beside the record"
        raise InputError(f"{gone}; pass {flag} and where it is now") from error


def _split_local(identity: Identity) -> tuple[str, Path] | None:
    """What comes before the path in a source, and the path, if there is such a file or folder."""
    from text2latent.models.generators.formats.published import is_published

    source = identity.source
    if is_remote(source) or is_zoo_name(source) or is_published(source):
        return None
    if Path(source).exists():
        return "", Path(source)
    found = _PREFIXED.fullmatch(source)
    return (found[1], Path(found[2])) if found and Path(found[2]).exists() else None


def _split_absolute(source: str) -> tuple[str, Path] | None:
    """What comes before the absolute path in a source, and the path, whether anything is there or not."""
    found = None if is_remote(source) else _ABSOLUTE.fullmatch(source)
    return None if found is None else (found[1] or "", Path(found[2]))
