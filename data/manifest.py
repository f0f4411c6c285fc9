"""What a folder of pairs holds: who made it, how, and which shards are finished.

A dataset is a folder of shards with a `manifest.json`. Each finished shard first leaves a record beside it
(`shard-000000.json`), so that any number of processes can fill one folder without sharing a file; the last of them
gathers the records in the manifest.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from text2latent.configs.errors import InputError
from text2latent.models.identity import Identity

FORMAT = "text2latent-pairs"
VERSION = 1
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
    "latent_layout": "latent layout",
    "latent_shape": "latent shape",
    "embedding_dim": "embedding size",
    "dtype": "dtype",
}


@dataclass(frozen=True)
class ShardRecord:
    """A finished shard: its file name, number of pairs and the SHA-256 of its bytes."""

    name: str
    count: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Description of a dataset of pairs.

    Attributes:
        generator, clip: identities of the networks that made the pairs.
        latent_layout: ``w``, one StyleGAN w per image, broadcast to all layers.
        latent_shape: shape of one stored latent, ``(1, w_dim)`` for the layout ``w``.
        embedding_dim: length of a CLIP embedding.
        dtype: of the stored arrays, ``float16``.
        seed: sample i is drawn from the seed ``seed + i``.
        truncation: psi of the truncation trick, 1 for none.
        precision: ``32`` or ``bf16``, of synthesis and embedding.
        image_format: ``jpg`` where the images are kept, else None.
        shard_size: pairs per shard; the last shard may hold fewer.
        num_pairs: pairs in the finished dataset.
        shards: records of the finished shards in order.
    """

    generator: Identity
    clip: Identity
    latent_layout: str
    latent_shape: tuple[int, ...]
    embedding_dim: int
    dtype: str
    seed: int
    truncation: float
    precision: str
    image_format: str | None
    shard_size: int
    num_pairs: int
    shards: tuple[ShardRecord, ...] = ()

    @property
    def num_shards(self) -> int:
        """Number of shards of the finished dataset."""
        return -(-self.num_pairs // self.shard_size)

    @property
    def num_finished(self) -> int:
        """Number of pairs in the finished shards."""
        return sum(record.count for record in self.shards)

    def shard_range(self, index: int) -> range:
        """Sample numbers that belong into shard `index`."""
        start = index * self.shard_size
        return range(start, min(start + self.shard_size, self.num_pairs))

    def finished(self) -> dict[int, ShardRecord]:
        """Records of the finished shards that hold all their samples, by shard index."""
        records = {record.name: record for record in self.shards}
        named = ((index, records.get(shard_name(index))) for index in range(self.num_shards))
        return {index: record for index, record in named if record and record.count == len(self.shard_range(index))}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Manifest:
        """Read what `to_dict` wrote.

        Raises:
            InputError: for another format or version, and for missing or malformed values, all named at once.
        """
        if data.get("format") != FORMAT or data.get("version") != VERSION:
            found = f"{data.get('format')!r} version {data.get('version')!r}"
            raise InputError(f"expected format {FORMAT!r} version {VERSION}, got {found}")
        missing = [field.name for field in fields(cls) if field.name not in data]
        if missing:
            raise InputError(f"{', '.join(missing)}: missing")
        try:
            return cls(**{field.name: _READERS[field.name](data[field.name]) for field in fields(cls)})
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(f"malformed value: {error}") from error


def _positive(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"expected a positive integer, got {value!r}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a string, got {value!r}")
    return value


def _record(value: Any) -> ShardRecord:
    return ShardRecord(_text(value["name"]), _positive(value["count"]), _text(value["sha256"]))


_READERS: dict[str, Callable[[Any], Any]] = {
    "generator": Identity.from_dict,
    "clip": Identity.from_dict,
    "latent_layout": _text,
    "latent_shape": lambda value: tuple(_positive(size) for size in value),
    "embedding_dim": _positive,
    "dtype": _text,
    "seed": int,
    "truncation": float,
    "precision": _text,
    "image_format": lambda value: None if value is None else _text(value),
    "shard_size": _positive,
    "num_pairs": _positive,
    "shards": lambda value: tuple(_record(record) for record in value),
}


def shard_name(index: int) -> str:
    """File name of shard `index`."""
    return f"shard-{index:06d}.tar"


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, by a hidden file beside it and a rename.

    Raises:
        InputError: when it can't be written (full disk, no permission, ...).
    """
    beside = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        with open(beside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        beside.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the hidden files of processes that were killed on this machine while they wrote."""
    import psutil

    for path in folder.glob(f".*.{socket.gethostname()}.*.tmp"):
        pid = path.name.split(".")[-2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            path.unlink(missing_ok=True)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON atomically; see `write_atomic`."""
    write_atomic(path, (json.dumps(data, indent=1) + "\n").encode())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path}: expected JSON: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data


def record_path(folder: Path, name: str) -> Path:
    """Where the record of the shard `name` lies until the manifest holds it."""
    return folder / Path(name).with_suffix(".json").name


def _loose_records(folder: Path) -> dict[str, ShardRecord]:
    records = {}
    for path in sorted(folder.glob("shard-*.json")):
        try:
            record = _record(_read_json(path))
        except InputError:
            if path.exists():
                raise
            continue  # another process has just gathered it
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{path}: not a shard's record: {error}") from error
        if (folder / record.name).exists():
            records[record.name] = record
    return records


def read_manifest(folder: str | Path) -> Manifest:
    """Read the manifest of a dataset, with the records of shards that it doesn't hold yet.

    Raises:
        InputError: when the folder holds no pairs or its manifest can't be read.
    """
    folder = Path(folder)
    # The records come first: they are removed only after a manifest that holds them is in place.
    loose = _loose_records(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder}: expected a folder of pairs made by sample.py, found no {MANIFEST}")
    try:
        manifest = Manifest.from_dict(_read_json(path))
    except InputError as error:
        raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    records = {record.name: record for record in manifest.shards} | loose
    return replace(manifest, shards=tuple(records[name] for name in sorted(records)))


def open_dataset(folder: Path, wanted: Manifest) -> Manifest:
    """Start a dataset in a new or empty folder, or go on with one that was made the same way.

    Args:
        folder: of the dataset; made if absent.
        wanted: manifest without shards. More pairs than the folder was made for extend it.

    Returns:
        The manifest with the shards that are finished.

    Raises:
        InputError: when the folder holds something else, pairs of another generator, CLIP or setting, or more
            pairs than wanted.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        empty = not any(path for path in folder.iterdir() if not path.name.endswith(".tmp"))
    except OSError as error:
        raise InputError(f"--output {folder}: cannot be made a folder: {error.strerror or error}") from error
    if empty:
        write_json(folder / MANIFEST, wanted.to_dict())
        return wanted
    if not (folder / MANIFEST).exists():
        raise InputError(f"--output {folder}: expected a new or empty folder or one of pairs, found other files")
    found = read_manifest(folder)
    _require_same_settings(folder, found, wanted)
    if found.num_pairs != wanted.num_pairs:
        found = replace(found, num_pairs=wanted.num_pairs)
        write_json(folder / MANIFEST, found.to_dict())
    return found


def _require_same_settings(folder: Path, found: Manifest, wanted: Manifest) -> None:
    pairs = {name: (getattr(found, name), getattr(wanted, name)) for name in SETTINGS}
    differing = [
        f"{SETTINGS[name]}: {there} there, {asked} asked"
        for name, (there, asked) in pairs.items()
        if getattr(there, "sha256", there) != getattr(asked, "sha256", asked)
    ]
    if wanted.num_pairs < found.num_pairs:
        differing.append(f"--num-pairs: {found.num_pairs} there, only {wanted.num_pairs} asked")
    if differing:
        raise InputError(f"--output {folder} holds pairs made otherwise ({'; '.join(differing)}); name another folder")


def gather_records(folder: Path, manifest: Manifest) -> None:
    """Write the manifest with its shards and remove the records that it now holds."""
    write_json(folder / MANIFEST, manifest.to_dict())
    for record in manifest.shards:
        record_path(folder, record.name).unlink(missing_ok=True)
