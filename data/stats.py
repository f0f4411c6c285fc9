"""Mean and covariance of a stream of vectors, in one pass, mergeable, accumulated in float64.

Merging follows Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances"
(1979), eq. 2.1, in its multivariate form; sums of squares about the running mean don't cancel as raw sums do.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from text2latent.common.errors import InputError
from text2latent.data.storage import Store, open_store

STATISTICS = "statistics.npz"


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
        """Moments of both sets together."""
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
        count: number of pairs.
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
