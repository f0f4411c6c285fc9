"""The last step of a dataset: read all back once, write its statistics, gather its records in the manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from text2latent.data.manifest import Manifest
from text2latent.data.records import gather_records, read_manifest
from text2latent.data.shards import iterate_shards, require_complete
from text2latent.data.stats import Moments, PairStatistics, save_statistics
from text2latent.data.storage import Store, open_store

CHUNK_PAIRS = 4096  # made float64 at once

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
        place, manifest: of the dataset.
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
