"""clip2latent's pairs: tar files of `KEY.img_feat.npy` and `KEY.latent.npy`, or folders of the same, as pairs of ours.

Its script writes folders of npy files and packs them into `NNNNN.tar`. Embeddings have CLIP's own length there and
float32; ours are of unit length and float16. Nothing is unpacked: members are read where they lie in the archive.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from text2latent.common.errors import InputError, one_line
from text2latent.common.litter import is_litter
from text2latent.data.manifest import Manifest
from text2latent.data.records import open_dataset
from text2latent.data.shards import BLOCK, Pairs, encode_shard, publish_shard
from text2latent.data.stats import finish_dataset
from text2latent.models.generators.layouts import NUM_GROUPS
from text2latent.models.sources.identity import Identity

EMBEDDING, LATENT = "img_feat.npy", "latent.npy"
MAX_ARRAY_BYTES = 1 << 20
"""Far more than an embedding or a latent for each layer takes."""
MAX_DEPTH = 4
"""Folders within folders that are looked into."""
SHARD_SIZE = 1000
SMALLEST_NORM = 1e-8


@dataclass(frozen=True)
class Piece:
    """Where the bytes of an npy file lie."""

    path: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return str(self.path) if self.path.name == self.name else f"{self.path}: {one_line(ascii(self.name), 80)}"

    def read(self) -> bytes:
        """The bytes.

        Raises:
            InputError: when the file ends before, or cannot be read.
        """
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise InputError(f"{self}: cannot be read: {error.strerror or error}") from error
        if len(data) != self.size:
            raise InputError(f"{self}: truncated: {self.size} bytes expected, {len(data)} found")
        return data


@dataclass(frozen=True)
class PairPieces:
    embedding: Piece
    latent: Piece


def is_pairs(place: Path) -> bool:
    """Whether a path is a tar file, or a folder with tar or npy files of pairs at most a folder deeper."""
    if place.is_file():
        return place.suffix == ".tar"
    names = (name for folder in (place, *_folders_in(place)) for name in _names(folder))
    return place.is_dir() and any(name.endswith((f".{EMBEDDING}", f".{LATENT}")) or _is_tar(name) for name in names)


def find_pairs(place: Path) -> list[PairPieces]:
    """All pairs of a tar file, or of a folder with tar files, npy files or folders of these, in the order of names.

    Raises:
        InputError: when there are none, one lacks its other half, or a tar file is damaged or holds what isn't plain.
    """
    found: list[PairPieces] = []
    for source in [place] if place.is_file() else _sources(place):
        pieces = _in_tar(source) if source.is_file() else _in_folder(source)
        found += _paired(source, pieces)
    if not found:
        raise InputError(f"{place}: expected pairs of clip2latent, KEY.{EMBEDDING} and KEY.{LATENT}, found none")
    return found


def _folders_in(place: Path) -> list[Path]:
    return [place / name for name in _names(place) if (place / name).is_dir() and not (place / name).is_symlink()]


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if not is_litter(entry.name))
    except OSError:
        return []


def _is_tar(name: str) -> bool:
    return name.endswith(".tar") and not name.startswith("shard-")


def _sources(place: Path, depth: int = 0) -> Iterator[Path]:
    """Tar files, and folders that hold npy files, in the order of names."""
    names = _names(place)
    if any(name.endswith(".npy") for name in names):
        yield place
    for name in names:
        path = place / name
        if name.endswith(".tar") and path.is_file():
            yield path
        elif path.is_dir() and not path.is_symlink() and depth < MAX_DEPTH:
            yield from _sources(path, depth + 1)


def _in_folder(folder: Path) -> Iterator[Piece]:
    """Pieces among the files of a folder; what isn't a file, such as a pipe, is never opened."""
    for name in _names(folder):
        if name.endswith((f".{EMBEDDING}", f".{LATENT}")):
            path = folder / name
            try:
                status = path.stat()
            except OSError as error:
                raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path}: expected a file")
            yield _piece(path, name, 0, status.st_size)


def _in_tar(path: Path) -> Iterator[Piece]:
    """Pieces in a tar file that isn't compressed."""
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                name = member.name
                if not name.endswith((f".{EMBEDDING}", f".{LATENT}")):
                    continue
                if not member.isreg() or member.issparse():
                    raise InputError(f"{path}: {one_line(ascii(name), 80)}: expected a plain file, got a link or other")
                yield _piece(path, name, member.offset_data, member.size)
            _require_end(path, archive.offset)
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: expected a tar file, whole and not compressed: {one_line(error)}") from error


def _require_end(path: Path, offset: int) -> None:
    """Refuse an archive that breaks off between two members or has none there, which tarfile takes for whole."""
    with open(path, "rb") as file:
        file.seek(offset)
        if file.read(BLOCK) != bytes(BLOCK):
            raise InputError(f"{path}: truncated or damaged: expected the end of an archive at byte {offset}")


def _piece(path: Path, name: str, offset: int, size: int) -> Piece:
    piece = Piece(path, name, offset, size)
    if not 0 < size <= MAX_ARRAY_BYTES:
        raise InputError(f"{piece}: expected an array of at most {MAX_ARRAY_BYTES} bytes, got {size} bytes")
    return piece


def _paired(source: Path, pieces: Iterator[Piece]) -> list[PairPieces]:
    """Pairs by key, which is all of a name up to the field's."""
    fields: dict[str, dict[str, Piece]] = {EMBEDDING: {}, LATENT: {}}
    for piece in pieces:
        field = EMBEDDING if piece.name.endswith(f".{EMBEDDING}") else LATENT
        key = piece.name.removesuffix(f".{field}")
        if fields[field].setdefault(key, piece) is not piece:
            raise InputError(f"{piece}: comes twice")
    embeddings, latents = fields[EMBEDDING], fields[LATENT]
    for key in sorted(embeddings.keys() ^ latents.keys()):
        missing = LATENT if key in embeddings else EMBEDDING
        raise InputError(f"{source}: {one_line(ascii(key), 80)}: expected its {missing} too, it is missing")
    return [PairPieces(embeddings[key], latents[key]) for key in sorted(embeddings)]


def read_array(piece: Piece) -> NDArray[np.floating[Any]]:
    """The array of an npy file, floating-point numbers; nothing is allocated beyond the file's own bytes.

    Raises:
        InputError: when it is none, holds objects or other numbers, is longer or shorter than its shape says, or isn't
            finite.
    """
    stream = io.BytesIO(piece.read())
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, is_fortran, dtype = read_header[version](stream)
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise InputError(f"{piece}: expected an npy file: {one_line(error, 120)}") from error
    rest = stream.read()
    if dtype.kind != "f" or dtype.hasobject:
        raise InputError(f"{piece}: expected floating-point numbers, got {one_line(dtype, 40)}")
    numbers = 1
    for length in shape:
        numbers *= length
    if len(shape) > 2 or numbers * dtype.itemsize != len(rest) or not numbers:
        raise InputError(f"{piece}: expected as many numbers as its shape {list(shape)[:4]} has, got {len(rest)} bytes")
    values: NDArray[np.floating[Any]] = np.frombuffer(rest, dtype).reshape(shape, order="F" if is_fortran else "C")
    if not np.isfinite(values).all():
        raise InputError(f"{piece}: expected finite numbers, got NaN or infinity")
    return values


@dataclass(frozen=True)
class Shapes:
    """Shapes of a dataset's first pair, which all others have too: a latent's `(L, D)`, and an embedding's E."""

    latent: tuple[int, int]
    embedding: int

    @property
    def layout(self) -> str:
        """Layout of the latents, see `text2latent.models.generators.layouts`."""
        return {1: "w", NUM_GROUPS: "w_k"}.get(self.latent[0], "w_plus")


def read_shapes(pair: PairPieces) -> Shapes:
    """The shapes of a pair; InputError for an embedding that is no vector."""
    embedding, latent = read_array(pair.embedding), read_array(pair.latent)
    if embedding.ndim != 1:
        raise InputError(f"{pair.embedding}: expected a vector, got shape {list(embedding.shape)}")
    rows = latent.reshape(-1, latent.shape[-1]) if latent.ndim else latent.reshape(1, 1)
    return Shapes((rows.shape[0], rows.shape[1]), embedding.shape[0])


def read_pairs(pairs: Sequence[PairPieces], shapes: Shapes) -> tuple[Pairs, bool]:
    """Latents `[n, L, D]` and embeddings `[n, E]` of unit length, float16, and whether all latents lack a coarse row.

    Of three groups, clip2latent's script keeps the row of the middle layers where that of the coarse ones should be:
    the first two rows are alike.

    Raises:
        InputError: for another shape, an embedding of no length, and a latent beyond float16.
    """
    latents = np.empty((len(pairs), *shapes.latent), np.float16)
    embeddings = np.empty((len(pairs), shapes.embedding), np.float16)
    lacks_coarse = shapes.layout == "w_k"
    for row, pair in enumerate(pairs):
        latent = _shaped(pair.latent, shapes.latent)
        embeddings[row] = _unit(pair.embedding, shapes.embedding)
        lacks_coarse = lacks_coarse and np.array_equal(latent[0], latent[1])
        with np.errstate(over="ignore"):
            latents[row] = latent
        if not np.isfinite(latents[row]).all():
            raise InputError(f"{pair.latent}: expected numbers that fit float16, got {np.abs(latent).max():g}")
    return (latents, embeddings), lacks_coarse


def _shaped(piece: Piece, shape: tuple[int, ...]) -> NDArray[np.floating[Any]]:
    values = read_array(piece)
    if values.shape != shape and (shape[0] > 1 or values.shape != shape[1:]):
        raise InputError(f"{piece}: expected shape {list(shape)} as in the first pair, got {list(values.shape)}")
    return values.reshape(shape)


def _unit(piece: Piece, length: int) -> NDArray[np.floating[Any]]:
    values = read_array(piece).astype(np.float64)
    if values.shape != (length,):
        raise InputError(f"{piece}: expected shape [{length}] as in the first pair, got {list(values.shape)}")
    norm = np.linalg.norm(values)
    if not norm > SMALLEST_NORM or not np.isfinite(norm):
        raise InputError(f"{piece}: expected an embedding with a length, got one of length {norm:g}")
    unit: NDArray[np.floating[Any]] = values / norm
    return unit


def write_pairs(
    pairs: Sequence[PairPieces],
    shapes: Shapes,
    folder: Path,
    generator: Identity,
    clip: Identity,
    on_shard: Callable[[int], object] = lambda count: None,
) -> bool:
    """Write a finished dataset of pairs, with manifest and statistics, into a new folder.

    Args:
        pairs, shapes: what `find_pairs` and `read_shapes` give.
        generator, clip: whose pairs they are; that isn't in clip2latent's files.
        on_shard: called with the number of pairs after each shard.

    Returns:
        Whether all latents lack their coarse row, see `read_pairs`.

    Raises:
        InputError: for a damaged pair, or when the disk refuses.
    """
    wanted = Manifest(
        generator, clip, shapes.layout, shapes.latent, shapes.embedding,
        dtype="float16", seed=0, truncation=1.0, precision="32", image_format=None,
        shard_size=SHARD_SIZE, num_pairs=len(pairs),
    )  # fmt: skip
    manifest, lacks_coarse = open_dataset(folder, wanted), True
    for index in range(manifest.num_shards):
        samples = manifest.shard_range(index)
        (latents, embeddings), lacks = read_pairs(pairs[samples.start : samples.stop], shapes)
        lacks_coarse = lacks_coarse and lacks
        data = encode_shard(samples.start, latents, embeddings, None, generator, clip)
        publish_shard(folder, index, len(samples), data)
        on_shard(len(samples))
    finish_dataset(folder)
    return lacks_coarse
