"""Exported folders: all parts of a model side by side, and a record of what they are and what they weigh.

::

    OUT/text2latent.json     the prior's record, with a section `export`
    OUT/prior/               config.json, diffusion_pytorch_model.safetensors
    OUT/scheduler/           scheduler_config.json
    OUT/generator/           config.json, diffusion_pytorch_model.safetensors
    OUT/clip/                open_clip_config.json, open_clip_model.safetensors
    OUT/...                  what another tool reads besides: model_index.json, *.onnx, *.pt2

Whoever sends such a folder may have written anything into it, so nothing here runs code or follows a path out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from text2latent.common.errors import InputError
from text2latent.common.files import read_object
from text2latent.models.sources.identity import Identity, sha256_of

RECORD = "text2latent.json"
SECTION = "export"
MODEL_INDEX = "model_index.json"
PARTS = ("prior", "scheduler", "generator", "clip")
WEIGHED_BY_THEIR_LOADERS = ("generator", "clip")
CODE = ".py"
"""Ending of files that are never read, and not fetched from the hub."""


def is_exported(folder: Path) -> bool:
    """Whether a folder looks like an exported one: it has a record of its own, and a prior beside it."""
    return (folder / RECORD).is_file() and (folder / "prior").is_dir()


def root_of(prior_folder: Path) -> Path | None:
    """The exported folder that a prior folder is a part of; None for one that stands alone."""
    root = prior_folder.parent
    return root if is_exported(root) and not (prior_folder / RECORD).is_file() else None


def read_record(root: Path) -> dict[str, Any]:
    """The record of an exported folder, whose files have been checked, with its own generator and CLIP as sources.

    The weights of generator and CLIP are not read here: their loaders compute the SHA-256 that the record holds.

    Raises:
        InputError: when the record is damaged, names files outside of the folder, or a file is missing or has changed.
    """
    record = read_object(root / RECORD, "an exported folder")
    check_files(root, record)
    check_model_index(root)
    for part in WEIGHED_BY_THEIR_LOADERS:
        identity = Identity.from_dict(_mapping(record, part, root))
        here = replace(identity, source=str(root / part), arguments={})
        record[part] = {**record[part], **here.to_dict()}
    return record


def check_files(root: Path, record: Mapping[str, Any], everything: bool = False) -> None:
    """Compare the files of an exported folder with what its record says of them.

    Args:
        root: the folder.
        record: what its `text2latent.json` holds.
        everything: also the weights of generator and CLIP, the code, and the files of other tools.

    Raises:
        InputError: naming the first file that is missing, has changed or lies outside of the folder.
    """
    files = _mapping(_mapping(record, SECTION, root), "files", root)
    for name, entry in files.items():
        _check_name(root, name)
        part = PurePosixPath(name).parts[0]
        if everything or name == MODEL_INDEX or (part in PARTS and not name.endswith(CODE)):
            by_loader = part in WEIGHED_BY_THEIR_LOADERS and name.endswith(".safetensors")
            _check_file(root, name, entry, with_digest=everything or not by_loader)


def _check_name(root: Path, name: str) -> None:
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise InputError(f"{root / RECORD}: expected names of files inside the folder, got {name!r}")


def _check_file(root: Path, name: str, entry: Any, with_digest: bool) -> None:
    path = root / name
    size, digest = (entry.get(key) if isinstance(entry, Mapping) else None for key in ("bytes", "sha256"))
    if not isinstance(size, int) or not isinstance(digest, str):
        raise InputError(f"{root / RECORD}: {name}: expected bytes and sha256, got {entry!r:.100}")
    if not path.is_file():
        raise InputError(f"{path}: expected this file of an exported folder, it is missing")
    if path.stat().st_size != size:
        raise InputError(f"{path}: expected {size} bytes, as exported; got {path.stat().st_size}")
    if with_digest and sha256_of(path) != digest:
        raise InputError(f"{path}: expected the file as exported ({digest[:12]}), got {sha256_of(path)[:12]}")


def check_model_index(root: Path) -> None:
    """Refuse a `model_index.json` that names anything but the parts of this folder; nothing if there is none.

    diffusers joins these names with paths and imports what it finds there.

    Raises:
        InputError: naming the entry.
    """
    path = root / MODEL_INDEX
    if not path.is_file():
        return
    for key, entry in read_object(path, "an exported folder").items():
        if isinstance(entry, list) and not (len(entry) == 2 and all(map(_is_identifier, entry))):
            raise InputError(f"{path}: {key}: expected the names of a module and a class, got {entry!r:.100}")
        if isinstance(entry, list) and key not in ("_class_name", *PARTS):
            raise InputError(f"{path}: {key!r}: expected one of the parts {', '.join(PARTS)}")


def _is_identifier(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier()


def _mapping(record: Mapping[str, Any], key: str, root: Path) -> Mapping[str, Any]:
    found = record.get(key)
    if not isinstance(found, Mapping):
        raise InputError(f"{root / RECORD}: {key}: expected keys and values, got {type(found).__name__}")
    return found
