"""Embeddings of a real CLIP that were computed elsewhere: images with attributes, texts, questions, matching pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from text2latent.benchmarks.priors.training import Pairs
from text2latent.common.errors import InputError
from text2latent.data.manifest import Manifest
from text2latent.data.records import open_dataset
from text2latent.data.shards import encode_shard, publish_shard
from text2latent.data.stats import finish_dataset
from text2latent.models.sources.identity import Identity

SMALLEST_NORM = 1e-3


@dataclass(frozen=True)
class LabelledImages:
    """Images that somebody has labelled.

    Attributes:
        embeddings: `[N, E]`, L2-normalised.
        attributes: `[N, A]`, each standardised to mean 0 and variance 1 over the images.
        names: A, of the attributes; those that are alike in all images are left out.
    """

    embeddings: Tensor
    attributes: Tensor
    names: list[str]


@dataclass(frozen=True)
class Question:
    """Which attribute a text names.

    Attributes:
        sign: 1 or -1, the way that it is to move.
    """

    text: str
    attribute: str
    sign: int


@dataclass(frozen=True)
class Texts:
    """Texts that may be asked, and those that say where texts lie.

    Attributes:
        embeddings: `[M, E]`, L2-normalised, of all texts.
        names: M.
        num_general: so many of the first ones are general texts.
    """

    embeddings: Tensor
    names: list[str]
    num_general: int

    @property
    def general(self) -> Tensor:
        """Embeddings `[num_general, E]` of general texts."""
        return self.embeddings[: self.num_general]

    def of(self, questions: Sequence[Question]) -> Tensor:
        """Embeddings `[Q, E]` of what is asked."""
        return self.embeddings[[self.names.index(question.text) for question in questions]]


@dataclass(frozen=True)
class MatchingPairs:
    """Images and texts that belong together, row by row, `[N, E]` each, L2-normalised."""

    images: Tensor
    texts: Tensor

    def __getitem__(self, rows: slice) -> MatchingPairs:
        return MatchingPairs(self.images[rows], self.texts[rows])


def read_images(file: str) -> LabelledImages:
    """Read `embeddings` `[N, E]`, `attributes` `[N, A]` and `names` `[A]` of an npz file.

    Raises:
        InputError: for a file that isn't so.
    """
    arrays = _read(file, ("embeddings", "attributes", "names"))
    labels, names = arrays["attributes"], arrays["names"]
    if labels.ndim != 2 or labels.dtype.kind not in "bif" or names.shape != labels.shape[1:]:
        found = f"attributes {labels.shape} of {labels.dtype} and names {names.shape}"
        raise InputError(f"{file}: expected attributes [N, A] and names [A], got {found}")
    embeddings = _unit_rows(file, "embeddings", arrays, len(labels))
    numbers = torch.from_numpy(labels.astype(np.float32))
    spread = numbers.std(dim=0, correction=0)
    varies = spread > 0
    if not varies.any():
        raise InputError(f"{file}: expected attributes that differ between images, got none")
    standard = (numbers - numbers.mean(dim=0))[:, varies] / spread[varies]
    return LabelledImages(embeddings, standard, [str(name) for name in names[varies.numpy()]])


def read_texts(files: Sequence[str]) -> Texts:
    """Read `embeddings` `[M, E]` and `texts` `[M]` of npz files; those of the first are the general ones.

    Raises:
        InputError: for a file that isn't so.
    """
    embeddings: list[Tensor] = []
    names: list[str] = []
    for file in files:
        arrays = _read(file, ("embeddings", "texts"))
        width = embeddings[0].shape[1] if embeddings else None
        embeddings.append(_unit_rows(file, "embeddings", arrays, len(np.atleast_1d(arrays["texts"])), width))
        names += [str(text) for text in np.atleast_1d(arrays["texts"])]
    return Texts(torch.cat(embeddings), names, len(embeddings[0]))


def require_same_width(images: LabelledImages, texts: Texts) -> None:
    """Refuse embeddings of different CLIPs.

    Raises:
        InputError: with both numbers of channels.
    """
    widths = images.embeddings.shape[1], texts.embeddings.shape[1]
    if widths[0] != widths[1]:
        raise InputError(f"--texts: expected embeddings of the images' {widths[0]} channels, got {widths[1]}")


def read_questions(file: str, texts: Texts, attributes: Sequence[str]) -> list[Question]:
    """Read a JSON list of objects with `text`, `attribute` and `sign`.

    Raises:
        InputError: for a file that isn't so, or a question about what there is no embedding or label of.
    """
    try:
        found = json.loads(Path(file).read_text(encoding="utf-8"))
        questions = [Question(str(one["text"]), str(one["attribute"]), int(one["sign"])) for one in found]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: expected a list of objects with text, attribute and sign: {error}") from error
    for question in questions:
        if question.text not in texts.names:
            raise InputError(f"{file}: {question.text!r}: expected a text that --texts has an embedding of")
        if question.attribute not in attributes:
            raise InputError(f"{file}: {question.attribute!r}: expected an attribute that --embeddings has labels of")
        if question.sign not in (-1, 1):
            raise InputError(f"{file}: {question.text!r}: expected the sign 1 or -1, got {question.sign}")
    if not questions:
        raise InputError(f"{file}: expected at least one question, got none")
    return questions


def read_matching(file: str) -> MatchingPairs:
    """Read `images` and `texts`, `[N, E]` each, of an npz file.

    Raises:
        InputError: for a file that isn't so.
    """
    arrays = _read(file, ("images", "texts"))
    images = _unit_rows(file, "images", arrays)
    return MatchingPairs(images, _unit_rows(file, "texts", arrays, *images.shape))


def _read(file: str, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except Exception as error:  # numpy raises zipfile, value, key and end-of-file errors on damaged files
        raise InputError(f"{file}: expected an npz file with {', '.join(names)}: {error}") from error


def _unit_rows(
    file: str, name: str, arrays: Mapping[str, NDArray[Any]], rows: int | None = None, width: int | None = None
) -> Tensor:
    """An array `[N, E]` as float32 rows of unit length."""
    array = arrays[name]
    fits = array.ndim == 2 and array.dtype.kind == "f" and len(array) == (len(array) if rows is None else rows)
    if not fits or (width is not None and array.shape[1] != width):
        wanted = [("N" if rows is None else rows), ("E" if width is None else width)]
        raise InputError(f"{file}: {name}: expected floats {wanted}, got {list(array.shape)} of {array.dtype}")
    values = torch.from_numpy(array.astype(np.float32))
    if not (values.isfinite().all() and (values.norm(dim=1) > SMALLEST_NORM).all()):
        raise InputError(f"{file}: {name}: expected finite rows that aren't zero")
    return normalize(values, dim=1)


def make_pairs(latents: Tensor, embeddings: Tensor, val_pairs: int) -> Pairs:
    """Pairs `[N, D]` and `[N, E]` as a dataset that `text2latent train` would read; the first `val_pairs` held out."""
    latents, embeddings = latents[:, None].half(), embeddings.half()
    digest = sha256(latents.numpy().tobytes() + embeddings.numpy().tobytes()).hexdigest()
    whose = Identity("computed elsewhere", "computed elsewhere", digest)
    shape, width, count = tuple(latents.shape[1:]), embeddings.shape[1], len(latents)
    manifest = Manifest(whose, whose, "w", shape, width, "float16", 0, 1.0, "32", None, count, count)
    with TemporaryDirectory() as folder:
        open_dataset(folder, manifest)
        publish_shard(folder, 0, count, encode_shard(0, latents.numpy(), embeddings.numpy(), None, whose, whose))
        finish_dataset(folder)
        return Pairs(folder, val_pairs)
