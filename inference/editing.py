"""Between and beyond prompts: interpolation between two, and edits of latents along the direction between two.

The pipeline offers these as methods, see `text2latent.inference.pipeline`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from text2latent.common.errors import UsageError
from text2latent.inference.base import BasePipeline
from text2latent.inference.conditions import Conditions
from text2latent.inference.query import Query
from text2latent.inference.result import Draw
from text2latent.inference.settings import MAX_STRENGTH, Settings, require_count
from text2latent.models.priors.diffusion import initial_noise

DIRECTION_SEED, DIRECTION_DRAWS = 0, 64


def slerp(start: Tensor, end: Tensor, fractions: Tensor) -> Tensor:
    """Points of the great circle between unit vectors (Shoemake, SIGGRAPH 1985, section 3.3).

    Args:
        start: `[E]`, L2-normalised.
        end: `[E]`, L2-normalised; opposite to `start`, the circle isn't defined and any is taken.
        fractions: `[F]`, 0 for start, 1 for end.

    Returns:
        `[F, E]`, L2-normalised.
    """
    angle = torch.arccos((start * end).sum().clamp(-1, 1))
    t = fractions[:, None].to(start)
    if angle.sin() < 1e-4:
        return normalize((1 - t) * start + t * end, dim=1)
    return (((1 - t) * angle).sin() * start + (t * angle).sin() * end) / angle.sin()


def interpolate(
    pipeline: BasePipeline, start: Query, end: Query, num_frames: int, seeds: Sequence[int], settings: Settings
) -> Iterator[Draw]:
    """Draw frames on the way from one query to another, spherical in embedding space, with each seed's noise fixed.

    Args:
        start: the first frame's query.
        end: the last frame's.
        num_frames: frames, at least 2.
        seeds: a seed per image of a frame.
        settings: how; `rerank` has to be 1, since frames of different candidates jump.

    Yields:
        Groups of consecutive images: all seeds of the first frame first.

    Raises:
        UsageError: for fewer than 2 frames, or rerank.
    """
    require_count("frames", num_frames, at_least=2)
    if settings.rerank != 1:
        raise UsageError(
            f"rerank: expected 1 with an interpolation, whose frames share their noise, got {settings.rerank}"
        )
    with torch.no_grad():
        ends = pipeline.encode([start, end])
        fractions = torch.linspace(0, 1, num_frames, device=pipeline.device)
        frames = Conditions(
            way_between(ends.condition, fractions, pipeline.prior.takes_raw_embeddings),
            slerp(ends.target[0], ends.target[1], fractions),
            ends.negative[:1].expand(num_frames, -1),
            ends.has_negative[:1].expand(num_frames),
            ends.text[:1].expand(num_frames, -1),
        )
    yield from pipeline.draw(frames.repeat_interleave(len(seeds)), list(seeds) * num_frames, settings)


def way_between(ends: Tensor, fractions: Tensor, are_raw: bool) -> Tensor:
    """Vectors `[F, E]` on the way between two `[2, E]`; lengths go from one's to the other's where they are raw."""
    if not are_raw:
        return slerp(ends[0], ends[1], fractions)
    lengths = torch.lerp(ends[0].norm(), ends[1].norm(), fractions)
    start, end = normalize(ends, dim=1)
    return lengths[:, None] * slerp(start, end, fractions)


@torch.no_grad()
def edit_direction(pipeline: BasePipeline, source: Query, target: Query, settings: Settings) -> Tensor:
    """The difference that two queries make to a latent, `[L, D]`: that of the means of what the prior draws of them.

    Both are drawn from the same noise, so that most of what neither query speaks of cancels out, and the mean over
    `DIRECTION_DRAWS` draws takes the rest away. The direction depends on the queries only, not on what is edited, and
    isn't truncated.
    """
    settings = replace(settings, truncation=1.0)
    seeds = range(DIRECTION_SEED, DIRECTION_SEED + DIRECTION_DRAWS)
    noise = initial_noise(seeds, pipeline.prior.latent_shape).to(pipeline.device)
    ends = pipeline.encode([source, target])
    before, after = (
        pipeline.draw_latents(ends[torch.full((len(noise),), row)], noise, settings).mean(dim=0) for row in (0, 1)
    )
    return after - before


@dataclass(frozen=True)
class Edit:
    """What is changed into what, and by how much.

    Attributes:
        source: what is to go, or the latents' own description.
        strength: 1 moves by the difference between the two queries, 0 not at all, -1 the other way.

    Raises:
        UsageError: for a strength beyond `MAX_STRENGTH`.
    """

    source: Query
    target: Query
    strength: float

    def __post_init__(self) -> None:
        if not abs(self.strength) <= MAX_STRENGTH:
            raise UsageError(
                f"strength: expected a number between -{MAX_STRENGTH:g} and {MAX_STRENGTH:g}, got {self.strength}"
            )


def edit(
    pipeline: BasePipeline,
    latents: Tensor,
    source: Query,
    target: Query,
    strength: float,
    settings: Settings,
) -> Tensor:
    """Move latents along the direction from one query to another.

    Args:
        pipeline: the prior that carries texts into latent space.
        latents: `[N, L, D]`.
        source, target, strength: see `Edit`.
        settings: how the prior draws.

    Returns:
        `[N, L, D]`; L is that of `latents` or of the prior, whichever is more.

    Raises:
        UsageError: for a strength beyond `MAX_STRENGTH`.
    """
    change = Edit(source, target, strength)
    return latents + change.strength * edit_direction(pipeline, source, target, settings)


def draw_starts(pipeline: BasePipeline, queries: Sequence[Query], seeds: Sequence[int], settings: Settings) -> Tensor:
    """Latents `[N, L, D]` to edit, one per seed: the prior's for N queries, or, without any, the generator's own.

    The generator's own are those of random z. None are truncated: that comes after the edit.
    """
    with torch.no_grad():
        if not queries:
            return torch.cat([pipeline.generator.sample_w(1, seed) for seed in seeds])
        untruncated = replace(settings, truncation=1.0)
        return torch.cat([draw.latents for draw in pipeline.stream(queries, seeds, untruncated)])


def draw_edited(
    pipeline: BasePipeline, latents: Tensor, settings: Settings, change: Edit | None = None
) -> Iterator[Draw]:
    """Draw given latents, edited or as they are.

    Args:
        latents: `[N, L, D]`.
        settings: of these, truncation and batch size count, and for an edit all that the prior needs.
        change: the edit; CLIP scores show how near the images come to its target.

    Yields:
        Groups of consecutive images, in order.
    """
    latents, target = latents.to(pipeline.device), None
    if change is not None:
        latents = edit(pipeline, latents, change.source, change.target, change.strength, settings)
    if change is not None and settings.return_scores:
        target = pipeline.encode([change.target]).target
    latents = pipeline.truncate(latents, settings.truncation)
    for batch in latents.split(settings.batch_size):
        wanted = None if target is None else target.expand(len(batch), -1)
        yield pipeline.render(batch, wanted, settings.batch_size)
