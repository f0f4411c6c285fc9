"""The files beside a dataset's shards: its manifest, a record of each finished shard, claims of those in the making.

A shard's record (`shard-000000.COUNT.SHA256.json`) is written before the shard, and counts once the shard is there; so
any number of processes fill one place without sharing a file. Two that make the same shard leave a record each, of
which the one with the shard's checksum holds, whoever was last. The last process gathers all records in the manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from text2latent.common.errors import InputError
from text2latent.common.files import is_unfinished, remove_unfinished
from text2latent.common.litter import name_files
from text2latent.data.manifest import Manifest, ShardRecord, shard_name
from text2latent.data.storage import LocalStore, Store, open_store
from text2latent.models.sources.identity import Identity

MANIFEST = "manifest.json"

# Fields that a rerun must repeat, and the flag that sets each.
SETTINGS = {
    "generator": "--generator",
    "clip": "--clip",
    "seed": "--seed",
    "truncation": "--truncation",
    "precision": "--precision",
    "shard_size": "--shard-size",
    "image_format": "--save-images",
    "latent_layout": "--latent-layout",
    "latent_shape": "latent shape",
    "embedding_dim": "embedding size",
    "dtype": "dtype",
}

_RECORD = re.compile(r"(shard-\d{6,})\.([1-9]\d*)\.([0-9a-f]{64})\.json")
_CLAIM = re.compile(r"\.(shard-\d{6,})\.claim")


def encode_json(data: Mapping[str, Any]) -> bytes:
    """Bytes of a JSON file."""
    return (json.dumps(data, indent=1) + "\n").encode()


def record_name(record: ShardRecord) -> str:
    """Name of the file that says that a shard is finished, until the manifest does; all is in the name, so that a
    listing shows which shards of many are there.
    """
    return f"{record.name.removesuffix('.tar')}.{record.count}.{record.sha256}.json"


def claim_name(index: int) -> str:
    """Name of the file that says that a process is making shard `index`."""
    return f".{shard_name(index).removesuffix('.tar')}.claim"


def claimant() -> bytes:
    return f"{socket.gethostname()} {os.getpid()}\n".encode()


def remove_leftovers(folder: Path) -> None:
    """Remove the hidden files and claims of processes that were killed on this machine."""
    import psutil

    remove_unfinished(folder)
    host = socket.gethostname()
    for path in folder.glob(".shard-*.claim"):
        words = path.read_text(encoding="utf-8", errors="replace").split() if path.exists() else []
        if len(words) == 2 and words[0] == host and words[1].isdigit() and not psutil.pid_exists(int(words[1])):
            path.unlink(missing_ok=True)


def _loose_records(store: Store) -> dict[str, list[ShardRecord]]:
    """Records that the manifest may not hold yet, of shards that are there, by shard name."""
    names = store.names()
    found = defaultdict(list)
    for match in filter(None, map(_RECORD.fullmatch, sorted(names))):
        shard = f"{match[1]}.tar"
        if shard in names:
            found[shard].append(ShardRecord(shard, int(match[2]), match[3]))
    return found


def _settle(store: Store, records: list[ShardRecord]) -> ShardRecord:
    """The record that holds of those of one shard: the one with its checksum."""
    if len({record.sha256 for record in records}) > 1:
        try:
            digest = hashlib.sha256(store.read(records[0].name)).hexdigest()
        except FileNotFoundError:
            return records[0]
        return next((record for record in records if record.sha256 == digest), records[0])
    return records[0]


def _read_manifest_alone(store: Store) -> Manifest:
    path = store.locate(MANIFEST)
    try:
        data = json.loads(store.read(MANIFEST).decode())
    except FileNotFoundError:
        raise InputError(f"{store}: expected a folder of pairs made by sample.py, found no {MANIFEST}") from None
    except ValueError as error:
        raise InputError(f"{path}: expected JSON: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(data).__name__}")
    try:
        return Manifest.from_dict(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_manifest(place: str | Path | Store) -> Manifest:
    """Read the manifest of a dataset, with the records of shards that it doesn't hold yet.

    Raises:
        InputError: when the place holds no pairs or its manifest can't be read.
    """
    store = open_store(place)
    # The records come first: they are removed only after a manifest that holds them is in place.
    records = _loose_records(store)
    manifest = _read_manifest_alone(store)
    for record in manifest.shards:
        records.setdefault(record.name, []).append(record)
    return replace(manifest, shards=tuple(_settle(store, records[name]) for name in sorted(records)))


def open_dataset(place: str | Path | Store, wanted: Manifest) -> Manifest:
    """Start a dataset in a new or empty place, or go on with one that was made the same way.

    Args:
        place: of the dataset; a folder is made if absent.
        wanted: manifest without shards. More pairs than the dataset was made for extend it.

    Returns:
        The manifest with the shards that are finished.

    Raises:
        InputError: when the place holds something else, pairs of another generator, CLIP or setting, or more
            pairs than wanted.
    """
    store = open_store(place)
    _make_folder(store)
    there = {name for name in store.names() if not is_unfinished(name)}
    if not there and store.create(MANIFEST, encode_json(wanted.to_dict())):
        _require_listing(store)
        return wanted
    if there and MANIFEST not in there:
        raise InputError(f"--output {store}: expected a new or empty folder or one of pairs, found {name_files(there)}")
    found = read_manifest(store)
    _require_same_settings(store, found, wanted)
    if found.num_pairs != wanted.num_pairs:
        found = replace(found, num_pairs=wanted.num_pairs)
        store.write(MANIFEST, encode_json(found.to_dict()))
    return found


def _make_folder(store: Store) -> None:
    if isinstance(store, LocalStore):
        try:
            store.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--output {store}: cannot be made a folder: {error.strerror or error}") from error


def _require_listing(store: Store) -> None:
    if MANIFEST not in store.names():
        raise InputError(f"--output {store}: expected a place that lists its files, as S3 and folders do; this doesn't")


def _require_same_settings(store: Store, found: Manifest, wanted: Manifest) -> None:
    pairs = {name: (getattr(found, name), getattr(wanted, name)) for name in SETTINGS}
    differing = [
        f"{SETTINGS[name]}: {there} there, {asked} asked{_how_they_differ(there, asked)}"
        for name, (there, asked) in pairs.items()
        if (there.differences(asked) if isinstance(there, Identity) else there != asked)
    ]
    if wanted.num_pairs < found.num_pairs:
        differing.append(f"--num-pairs: {found.num_pairs} there, only {wanted.num_pairs} asked")
    if differing:
        raise InputError(f"--output {store} holds pairs made otherwise ({'; '.join(differing)}); name another folder")


def _how_they_differ(there: Any, asked: Any) -> str:
    """What sets networks of the same weights apart; nothing for other settings and weights."""
    if not isinstance(there, Identity) or there.sha256 != asked.sha256:
        return ""
    return f", of the same weights: {', '.join(there.differences(asked))}"


def gather_records(store: Store, manifest: Manifest) -> None:
    """Write the manifest with its shards, and remove the records that it now holds and all claims."""
    store.write(MANIFEST, encode_json(manifest.to_dict()))
    held = {record_name(record) for record in manifest.shards}
    for name in store.names():
        if name in held or _CLAIM.fullmatch(name):
            store.remove(name)
