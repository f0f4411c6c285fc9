"""Draw queries, ways and latents, one named image at a time, and describe what they were drawn with."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from text2latent.inference.conditions import Conditions
from text2latent.inference.domain import DomainScore
from text2latent.inference.editing import Edit, draw_edited, interpolate
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.query import Query
from text2latent.inference.result import Draw
from text2latent.inference.settings import Settings
from text2latent.models.sources.identity import Identity

UNSEEN_SETTINGS = ("batch_size", "return_scores")
PROMPTS_AT_ONCE = 256


def draw_pairs(pipeline: Text2LatentPipeline, pairs: Sequence[tuple[Query, int]], settings: Settings) -> Iterator[Draw]:
    """Draw an image per pair of a query and a seed; warns of each prompt that is out of domain."""
    weighted = [query for query, _ in pairs if len(query.parts) > 1 or len(query.negative_parts) > 1]
    if weighted and len(pairs) > PROMPTS_AT_ONCE:
        pipeline.encode(weighted)  # parts that cancel out are refused before anything is drawn
    for start in range(0, len(pairs), PROMPTS_AT_ONCE):
        queries, seeds = zip(*pairs[start : start + PROMPTS_AT_ONCE], strict=True)
        conditions = pipeline.encode(queries)
        domain = score_domain(pipeline, queries, conditions)
        labels = [(query.label, seed, domain.get(query)) for query, seed in zip(queries, seeds, strict=True)]
        yield from _one_by_one(pipeline.draw(conditions, seeds, settings), labels)


def score_domain(
    pipeline: Text2LatentPipeline, queries: Sequence[Query], conditions: Conditions
) -> dict[Query, DomainScore]:
    """Domain scores of the queries that have a text, where the model has a domain; warns of those out of domain."""
    rows = {query: row for row, query in enumerate(queries) if query.text is not None}
    if pipeline.domain is None or not rows:
        return {}
    worded = list(rows)
    scores = pipeline.score_domain(worded, conditions[torch.tensor(list(rows.values()))])
    for query, score in zip(worded, scores, strict=True):
        if score.is_outside:
            warnings.warn(
                f"prompt {query.text!r} seems to be beyond what this model draws (out-of-domain score "
                f"{score.percentile:.1f}, expected below {score.threshold:.1f})",
                stacklevel=2,
            )
    return dict(zip(worded, scores, strict=True))


def draw_frames(
    pipeline: Text2LatentPipeline, ends: tuple[Query, Query], num_frames: int, seeds: Sequence[int], settings: Settings
) -> Iterator[Draw]:
    """Draw the frames of an interpolation, all seeds of the first frame first; see `editing.interpolate`."""
    score_domain(pipeline, ends, pipeline.encode(ends))
    way = [f"{ends[0].label} -> {ends[1].label}, {frame / (num_frames - 1):.3g}" for frame in range(num_frames)]
    labels = [(label, seed, None) for label in way for seed in seeds]
    yield from _one_by_one(interpolate(pipeline, *ends, num_frames, seeds, settings), labels)


def draw_latents(
    pipeline: Text2LatentPipeline,
    starts: Sequence[tuple[str, int, Tensor]],
    settings: Settings,
    edit: Edit | None = None,
) -> Iterator[Draw]:
    """Draw given latents, edited or as they are.

    Args:
        starts: a label, a seed and a latent `[L, D]` of each image.
        settings: of these, truncation and batch size count, and for an edit all that the prior needs.
        edit: how to change them; CLIP scores are the similarity to its target.
    """
    if not starts:
        return
    if edit is not None:
        ends = [edit.source, edit.target]
        score_domain(pipeline, ends, pipeline.encode(ends))
    latents = torch.stack([latent for _, _, latent in starts])
    labels = [(label, seed, None) for label, seed, _ in starts]
    yield from _one_by_one(draw_edited(pipeline, latents, settings, edit), labels)


def _one_by_one(draws: Iterable[Draw], names: Iterable[tuple[str, int, DomainScore | None]]) -> Iterator[Draw]:
    coming = iter(names)
    for draw in draws:
        yield from draw.named(list(islice(coming, len(draw)))).rows()


def describe(pipeline: Text2LatentPipeline, settings: Settings, **further: Any) -> dict[str, Any]:
    """What images were drawn with, JSON-ready: version, identities (names and SHA-256) and settings.

    `further` settings are included, unless they are None.
    """
    networks = {"model": pipeline.identity, "generator": pipeline.generator.identity, "clip": pipeline.clip.identity}
    visible = {name: value for name, value in asdict(settings).items() if name not in UNSEEN_SETTINGS}
    return {
        "text2latent": version("text2latent"),
        **{part: _public(identity) for part, identity in networks.items()},
        "settings": visible | {name: value for name, value in further.items() if value is not None},
    }


def _public(identity: Identity | None) -> dict[str, str] | None:
    """Name and digest; where it lay on somebody's disk doesn't belong into a picture."""
    return None if identity is None else {"name": identity.name, "sha256": identity.sha256}
