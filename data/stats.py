"""Mean and covariance of a stream of vectors, in one pass, mergeable, accumulated in float64.

A dataset's are taken in its last step, which reads all back once and gathers its records in the manifest.

Merging follows Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances"
(1979), eq. 2.1, in its multivariate form; sums of squares about the running mean don't cancel as raw sums do.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from text2latent.common.errors import InputError
from text2latent.data.manifest import Manifest
from text2latent.data.records import gather_records, read_manifest
from text2latent.data.shards import iterate_shards, require_complete
from text2latent.data.storage import Store, open_store

STATISTICS = "statistics.npz"
CHUNK_PAIRS = 4096  # made float64 at once


@dataclass(frozen=True)
class Moments:
    """First two moments of N vectors of length D.

    Attributes:
        count: N.
        mean: ``[D]`` float64.
        scatter: ``[D, D]`` float64, the sum of outer products of deviations from the mean.
    """

    count: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @classmethod
    def of(cls, vectors: ArrayLike) -> Moments:
        """Moments of `vectors` ``[N, ...]``, each row flattened; N may be 0."""
        rows = np.asarray(vectors, dtype=np.float64)
        rows = rows.reshape(len(rows), int(np.prod(rows.shape[1:])))
        mean = rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1])
        centred = rows - mean
        return cls(len(rows), mean, centred.T @ centred)

    def __add__(self, other: Moments) -> Moments:
        count = self.count + other.count
        if not count:
            return self
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        between = np.outer(delta, delta) * (self.count * other.count / count)
        return Moments(count, mean, self.scatter + other.scatter + between)

    @property
    def cov(self) -> NDArray[np.float64]:
        """Covariance ``[D, D]``, divided by N."""
        return self.scatter / max(self.count, 1)

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation ``[D]``, divided by N."""
        return np.sqrt(np.diagonal(self.cov))


@dataclass(frozen=True)
class PairStatistics:
    """Statistics of a dataset, all float64.

    Attributes:
        latent_mean, latent_std: ``[L, D]``, the shape of a stored latent.
        latent_cov: ``[L * D, L * D]``.
        embedding_mean, embedding_std: ``[E]``.
        embedding_cov: ``[E, E]``.
    """

    count: int
    latent_mean: NDArray[np.float64]
    latent_std: NDArray[np.float64]
    latent_cov: NDArray[np.float64]
    embedding_mean: NDArray[np.float64]
    embedding_std: NDArray[np.float64]
    embedding_cov: NDArray[np.float64]

    @classmethod
    def from_moments(cls, latents: Moments, embeddings: Moments, latent_shape: tuple[int, ...]) -> PairStatistics:
        """Statistics from the moments of flattened latents and of embeddings."""
        return cls(
            latents.count,
            latents.mean.reshape(latent_shape),
            latents.std.reshape(latent_shape),
            latents.cov,
            embeddings.mean,
            embeddings.std,
            embeddings.cov,
        )


def save_statistics(place: str | Path | Store, statistics: PairStatistics) -> None:
    """Write `statistics.npz` of a dataset, whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, **vars(statistics))
    open_store(place).write(STATISTICS, buffer.getvalue())


def load_statistics(place: str | Path | Store) -> PairStatistics:
    """Read `statistics.npz` of a dataset.

    Raises:
        InputError: when it is missing, damaged or lacks an array.
    """
    store = open_store(place)
    path = store.locate(STATISTICS)
    try:
        with np.load(io.BytesIO(store.read(STATISTICS)), allow_pickle=False) as arrays:
            values = {name: arrays[name] for name in PairStatistics.__dataclass_fields__}
    except FileNotFoundError as error:
        raise InputError(f"{path}: missing; run sample.py again to finish the dataset") from error
    except InputError:
        raise
    except Exception as error:  # numpy raises zipfile, value, key and end-of-file errors on damaged files
        raise InputError(f"{path}: expected the statistics of a dataset: {error}") from error
    return PairStatistics(**values | {"count": int(values["count"])})


PairMoments = tuple[Moments, Moments]


def add_moments(left: PairMoments, right: PairMoments) -> PairMoments:
    """Moments of two sets of pairs together."""
    return left[0] + right[0], left[1] + right[1]


def measure_pairs(latents: NDArray[np.float16], embeddings: NDArray[np.float16]) -> PairMoments:
    """Moments of pairs, latents ``[N, L, D]`` flattened, embeddings ``[N, E]``; N is at least 1."""
    parts = (slice(start, start + CHUNK_PAIRS) for start in range(0, len(latents), CHUNK_PAIRS))
    return reduce(add_moments, ((Moments.of(latents[rows]), Moments.of(embeddings[rows])) for rows in parts))


def measure_shards(
    place: str | Path | Store,
    manifest: Manifest,
    indices: Sequence[int],
    on_shard: Callable[[int], object] = lambda count: None,
) -> PairMoments:
    """Moments of the flattened latents and of the embeddings of some shards, in one pass and constant memory.

    Args:
        indices: of the shards; results of disjoint sets are put together with `add_moments`.
        on_shard: called with the number of pairs after each shard.

    Raises:
        InputError: when a shard is missing or damaged.
    """
    moments = Moments.of(np.empty((0, *manifest.latent_shape))), Moments.of(np.empty((0, manifest.embedding_dim)))
    for latents, embeddings in iterate_shards(place, manifest, indices):
        moments = add_moments(moments, measure_pairs(latents, embeddings))
        on_shard(len(latents))
    return moments


def conclude(place: str | Path | Store, manifest: Manifest, moments: PairMoments) -> PairStatistics:
    """Write the statistics and the manifest of a complete dataset whose moments are known."""
    store = open_store(place)
    statistics = PairStatistics.from_moments(*moments, manifest.latent_shape)
    save_statistics(store, statistics)
    gather_records(store, manifest)
    return statistics


def finish_dataset(place: str | Path | Store) -> PairStatistics:
    """Read a complete dataset back once, write its statistics and gather its records in the manifest.

    The statistics follow the order of the shards, so they don't depend on who made which shard.

    Raises:
        InputError: when a shard is missing or damaged, or the results can't be written.
    """
    manifest = read_manifest(place)
    require_complete(place, manifest)
    return conclude(place, manifest, measure_shards(place, manifest, range(manifest.num_shards)))
