"""Between and beyond prompts: interpolation between two, and edits of latents along the direction between two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from text2latent.configs.errors import UsageError
from text2latent.models.conditions import Conditions, Query, encode_queries
from text2latent.models.diffusion import initial_noise
from text2latent.models.settings import MAX_STRENGTH, Settings, require_count

if TYPE_CHECKING:
    from text2latent.models.pipeline import Draw, Text2LatentPipeline

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
    pipeline: Text2LatentPipeline, start: Query, end: Query, num_frames: int, seeds: Sequence[int], settings: Settings
) -> Iterator[Draw]:
    """Draw frames on the way from one query to another, spherical in embedding space, with each seed's noise fixed.

    Args:
        pipeline: what draws.
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
        ends = encode_queries(pipeline, [start, end])
        fractions = torch.linspace(0, 1, num_frames, device=pipeline.device)
        frames = Conditions(
            slerp(ends.condition[0], ends.condition[1], fractions),
            slerp(ends.target[0], ends.target[1], fractions),
            ends.negative[:1].expand(num_frames, -1),
            ends.has_negative[:1].expand(num_frames),
        )
    yield from pipeline.draw(frames.repeat_interleave(len(seeds)), list(seeds) * num_frames, settings)


@torch.no_grad()
def edit_direction(pipeline: Text2LatentPipeline, source: Query, target: Query, settings: Settings) -> Tensor:
    """The difference that two queries make to a latent, `[L, D]`: that of the means of what the prior draws of them.

    Both are drawn from the same noise, so that most of what neither query speaks of cancels out, and the mean over
    `DIRECTION_DRAWS` draws takes the rest away. The direction depends on the queries only, not on what is edited.
    """
    seeds = range(DIRECTION_SEED, DIRECTION_SEED + DIRECTION_DRAWS)
    noise = initial_noise(seeds, pipeline.prior.latent_shape).to(pipeline.device)
    ends = encode_queries(pipeline, [source, target])
    before, after = (
        pipeline.draw_latents(ends[torch.full((len(noise),), row, device=noise.device)], noise, settings).mean(dim=0)
        for row in (0, 1)
    )
    return after - before


def edit(
    pipeline: Text2LatentPipeline,
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
        source: what is to go, or the latents' own description.
        target: what is to come.
        strength: 1 moves by the difference between the two queries, 0 not at all, -1 the other way.
        settings: how the prior draws.

    Returns:
        `[N, L, D]`; L is that of `latents` or of the prior, whichever is more.

    Raises:
        UsageError: for a strength beyond `MAX_STRENGTH`.
    """
    if not abs(strength) <= MAX_STRENGTH:
        raise UsageError(f"strength: expected a number between -{MAX_STRENGTH:g} and {MAX_STRENGTH:g}, got {strength}")
    return latents + strength * edit_direction(pipeline, source, target, settings)
