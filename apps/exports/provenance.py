"""The record of an exported folder: what the model was made of and with, and what its files weigh."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from text2latent.models.sources import zoo
from text2latent.models.sources.exported import RECORD, SECTION
from text2latent.models.sources.identity import Identity, sha256_of

LIBRARIES = ("text2latent", "torch", "diffusers", "open_clip_torch", "safetensors", "onnx", "onnxruntime", "onnxscript")
NOT_LISTED = (RECORD, "README.md")
METADATA_KEY = "text2latent"
"""Under which files of other tools keep a record in their metadata."""


def installed_versions(names: Sequence[str] = LIBRARIES) -> dict[str, str]:
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def make_record(
    record: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]], formats: Sequence[str], **details: Any
) -> dict[str, Any]:
    """The record of an exported folder, all but its list of files.

    Args:
        record: the prior's own: identities, dataset, training configuration, package versions, metrics.
        parts: what `write_parts` returns.
        formats: what the folder was exported for.
        details: further entries of the section `export`, JSON-ready.
    """
    section = {"formats": list(formats), "versions": installed_versions(), **details}
    return {**record, **parts, SECTION: section}


def public(identity: Identity) -> dict[str, str]:
    """An identity for a record that leaves this machine: without paths of it."""
    here = not zoo.is_zoo_name(identity.source) and Path(identity.source).exists()
    return {**replace(identity, arguments={}).to_dict(), "source": identity.name if here else identity.source}


def list_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each file of a folder, by its path from there, but for the record itself and the card."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {
        name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for name, path in names.items()
        if name not in NOT_LISTED
    }


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write `text2latent.json` with the list of all files that are there."""
    full = {**record, SECTION: {**record[SECTION], "files": list_files(folder)}}
    (folder / RECORD).write_text(to_json(full, indent=2) + "\n", encoding="utf-8")


def to_json(record: Mapping[str, Any], indent: int | None = None) -> str:
    """A record as JSON text, the same for the same record."""
    return json.dumps(record, indent=indent, ensure_ascii=False, sort_keys=True)
