"""How anything that text2latent writes, or reads, was made, as recorded in it. Nothing of it is run."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from text2latent.apps.exports.provenance import METADATA_KEY
from text2latent.apps.exports.web import is_web_folder
from text2latent.common.errors import InputError, one_line
from text2latent.common.extras import require_extra
from text2latent.common.files import MAX_BYTES, read_object
from text2latent.common.litter import files_of
from text2latent.models.generators.formats.unpickling import map_file
from text2latent.models.sources import exported
from text2latent.models.sources.exported import RECORD, SECTION
from text2latent.models.sources.fetching import is_remote
from text2latent.models.sources.identity import sha256_of
from text2latent.models.sources.location import locate

KINDS = (
    "a model (zoo name, run, prior or exported folder, checkpoint, hf:// id), a generator, CLIP or dataset folder, "
    "an exported .onnx or .pt2 file, or a picture drawn by text2latent"
)
COMPILED_METADATA = "_metadata.json"
MANIFEST = "manifest.json"
TRAINER = rb"pytorch-lightning_version"
"""A key that Lightning writes into every checkpoint."""
NETWORK_CONFIGS = ("config.json", "open_clip_config.json")


def inspect_source(source: str) -> dict[str, Any]:
    """What a source was made with.

    Args:
        source: one of `KINDS`.

    Returns:
        `kind` in words, and what that kind records, JSON-ready.

    Raises:
        UsageError: when there is no such thing.
        InputError: when it is damaged or none of these.
    """
    found = locate(source, "prior")
    path = found.path
    if found.kind == "checkpoint":
        return _inspect_file(path)
    root = path.parent if found.kind == "exported" else path
    if exported.is_exported(root):
        record = read_object(root / RECORD, "an exported folder")
        # Of a folder on the hub only what our loaders read has been fetched.
        whole = not is_remote(source)
        exported.check_files(root, record, everything=whole)
        exported.check_model_index(root)
        return {"kind": f"exported folder, {'all files' if whole else 'its networks'} as written", **record}
    if is_web_folder(root):
        record = read_object(root / RECORD, "a web folder")
        exported.check_files(root, record, everything=True)
        return {"kind": "web folder, all files as written", **record}
    return _inspect_folder(path, "zoo world" if found.kind == "zoo" else "prior folder")


def _inspect_folder(folder: Path, kind: str) -> dict[str, Any]:
    if (folder / RECORD).is_file():
        return {"kind": kind, **read_object(folder / RECORD, "a prior folder")}
    if (folder / MANIFEST).is_file():
        return _inspect_dataset(folder)
    for name in NETWORK_CONFIGS:
        if (folder / name).is_file():
            return _inspect_network(folder, name)
    raise InputError(f"{folder}: expected {KINDS}; found none of their files")


def _inspect_dataset(folder: Path) -> dict[str, Any]:
    from text2latent.data.records import read_manifest

    manifest = read_manifest(folder)
    return {"kind": "dataset of pairs", "sha256": manifest.sha256, **manifest.to_dict()}


def _inspect_network(folder: Path, config: str) -> dict[str, Any]:
    weights = [folder / name for name in files_of(folder) if name.endswith((".safetensors", ".bin", ".pt", ".pth"))]
    return {
        "kind": "network",
        "config": read_object(folder / config, "a network"),
        "files": {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in weights},
    }


def _inspect_file(path: Path) -> dict[str, Any]:
    readers = {".onnx": _read_onnx, ".pt2": _read_pt2, ".png": _read_png}
    read = readers.get(path.suffix.lower(), _read_checkpoint)
    return read(path)


def _read_onnx(path: Path) -> dict[str, Any]:
    require_extra(f"{path}: an ONNX file", "export", ["onnx"])
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
        properties = {one.key: one.value for one in model.metadata_props}
    except Exception as error:
        # Damaged protocol buffers raise what their parser has of its own.
        raise InputError(f"{path}: expected an ONNX file: {one_line(error)}") from error
    return {"kind": "ONNX graph", **_parse(properties.get(METADATA_KEY), path)}


def _read_pt2(path: Path) -> dict[str, Any]:
    """A record among the extra files of `torch.export.save`, or in the metadata of an AOTInductor package."""
    try:
        with zipfile.ZipFile(path) as archive:
            program, compiled = (_read_member(archive, ending) for ending in (RECORD, COMPILED_METADATA))
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: expected an archive of torch.export: {one_line(error)}") from error
    if program is None and compiled is not None:
        return {"kind": "AOTInductor package", **_parse(_parse(compiled, path).get(METADATA_KEY), path)}
    return {"kind": "torch.export program", **_parse(program, path)}


def _read_member(archive: zipfile.ZipFile, ending: str) -> str | None:
    """Text of the first member whose name ends so; None if there is none, or only one too large for a record."""
    found = [info for info in archive.infolist() if info.filename.endswith(ending) and info.file_size <= MAX_BYTES]
    return archive.read(found[0]).decode("utf-8") if found else None


def _read_png(path: Path) -> dict[str, Any]:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            text = dict(getattr(picture, "text", {})).get(METADATA_KEY)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: expected a PNG picture: {one_line(error)}") from error
    return {"kind": "picture", **_parse(text, path)}


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """A run's checkpoint; files of another suffix that don't bear the trainer's name are taken for a generator's."""
    from text2latent.models.priors.folder import load_prior

    if path.suffix.lower() != ".ckpt" and not _names_trainer(path):
        return _read_generator(path)
    return {"kind": "checkpoint of text2latent train", **load_prior(path).record, "sha256": sha256_of(path)}


def _names_trainer(path: Path) -> bool:
    data = map_file(path)
    return re.search(TRAINER, data) is not None


def _read_generator(path: Path) -> dict[str, Any]:
    from text2latent.models.generators.formats.reading import read_file

    found = read_file(path)
    notes = {"notes": list(found.notes)} if found.notes else {}
    arguments = dict(sorted(found.arguments.items()))
    return {"kind": "generator", "network": found.class_name, **arguments, **notes, "sha256": sha256_of(path)}


def _parse(text: Any, path: Path) -> dict[str, Any]:
    try:
        data = json.loads(text or "")
    except (ValueError, TypeError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected what text2latent records in its files, found nothing of it")
    return data


def summary(found: Mapping[str, Any]) -> str:
    """What `inspect_source` returns, as indented text; long lists and tables of files are cut to their size."""
    shown = dict(found)
    section = shown.get(SECTION)
    if isinstance(section, Mapping) and isinstance(section.get("files"), Mapping):
        files = section["files"]
        total = sum(entry.get("bytes", 0) for entry in files.values() if isinstance(entry, Mapping))
        shown[SECTION] = {**section, "files": f"{len(files)} files, {total / 2**20:.1f} MiB"}
    return "\n".join(_lines(shown, ""))


def _lines(tree: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{key}:", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {_short(value)}")
    return lines


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > 8:
        return f"{len(value)} entries"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
