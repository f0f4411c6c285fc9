"""onnxruntime-web's files, from its npm package: they run ONNX graphs in a browser."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from text2latent.common.errors import InputError, UsageError, one_line
from text2latent.models.sources.downloads import download
from text2latent.models.sources.fetching import cache_folder

PACKAGE = "onnxruntime-web"
FLAG = "--onnxruntime-web"
VERSION = "1.30.0"
ADDRESS = f"https://registry.npmjs.org/{PACKAGE}/-/{PACKAGE}-{VERSION}.tgz"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
EXPECTED = f"expected the npm package {PACKAGE} of version {VERSION} or later"
MAX_BYTES = 128 << 20
DEVICES = {
    "wasm": ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    "webgpu": ("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
}
"""By where pictures are computed, its module, the loader of its binary and the binary itself."""


@dataclass(frozen=True)
class RuntimeFiles:
    """What a web folder takes of the package.

    Attributes:
        version: the package's.
        files: those of `DEVICES`, by name.
    """

    version: str
    files: dict[str, bytes]


def find_runtime(given: str | None, folder: Path) -> RuntimeFiles:
    """The files of a package that is named, or else installed with npm, or else downloaded.

    Args:
        given: the package's folder, or its archive as `npm pack onnxruntime-web` writes it.
        folder: where the search for a `node_modules` with the package starts; it goes on upwards.

    Raises:
        UsageError: when nothing is where `given` says.
        InputError: when that isn't the package, or it can't be downloaded.
    """
    if given is not None:
        return read_runtime(Path(given))
    places = (parent / "node_modules" / PACKAGE for parent in (folder, *folder.parents))
    installed = next((place for place in places if (place / "package.json").is_file()), None)
    return read_runtime(_downloaded() if installed is None else installed)


def _downloaded() -> Path:
    try:
        return download(ADDRESS, cache_folder(), SHA256, MAX_BYTES)
    except InputError as error:
        line = f"--format web needs {PACKAGE}, which cannot be fetched: {error}"
        raise InputError(f"{line}; expected a network, or {FLAG} with what `npm pack {PACKAGE}` wrote") from error


def read_runtime(path: Path) -> RuntimeFiles:
    """The files of a package's folder or archive; errors as for `find_runtime`."""
    if not path.exists():
        raise UsageError(f"{FLAG}: {path}: no such file or folder; expected the npm package {PACKAGE}")
    try:
        if path.is_dir():
            return _read(lambda name: (path / name).read_bytes())
        with tarfile.open(path) as archive:
            return _read(lambda name: _member(archive, f"package/{name}"))
    except FileNotFoundError as error:
        raise InputError(f"{FLAG}: {path}: {EXPECTED}: it lacks {Path(error.filename).name}") from error
    except (OSError, tarfile.TarError, EOFError, ValueError, LookupError) as error:
        raise InputError(f"{FLAG}: {path}: {EXPECTED}: {one_line(error, 120)}") from error


def _read(read: Callable[[str], bytes]) -> RuntimeFiles:
    package = json.loads(read("package.json"))
    if package["name"] != PACKAGE:
        raise ValueError(f"this is {package['name']}")
    return RuntimeFiles(
        package["version"], {name: read(f"dist/{name}") for names in DEVICES.values() for name in names}
    )


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.getmember(name)
    file = archive.extractfile(member)
    if file is None or member.size > MAX_BYTES:
        raise ValueError(f"{name} is no file of a usual size")
    return file.read()
