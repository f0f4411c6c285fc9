"""What the pipeline gives: images with their latents, scores and seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from text2latent.common.errors import UsageError
from text2latent.inference.images import to_pil

OUTPUT_TYPES = ("pil", "pt")


@dataclass
class Text2LatentOutput:
    """What the pipeline drew, N images in the order of the prompts.

    Attributes:
        images: N RGB pictures, or a tensor `[N, 3, H, W]` in [-1, 1] on the pipeline's device.
        latents: `[N, L, D]`, the latents that were synthesised, after truncation.
        clip_scores: `[N]`, cosine similarity of each image's CLIP embedding and its prompt's; None if not asked for.
        seeds: N seeds that draw the images again.
    """

    images: list[Image.Image] | Tensor
    latents: Tensor
    clip_scores: Tensor | None
    seeds: list[int]


@dataclass(frozen=True)
class Draw:
    """A group of images as the pipeline makes them.

    Attributes:
        images: `[n, 3, H, W]` in [-1, 1].
        latents: `[n, L, D]`.
        clip_scores: `[n]`, or None.
        embeddings: `[n, E]`, CLIP's of the images, where scores were computed.
    """

    images: Tensor
    latents: Tensor
    clip_scores: Tensor | None
    embeddings: Tensor | None = None


def require_output_type(output_type: str) -> None:
    """Refuse all but the kinds of images that there are.

    Raises:
        UsageError: naming the value.
    """
    if output_type not in OUTPUT_TYPES:
        raise UsageError(f"output_type: expected one of {', '.join(OUTPUT_TYPES)}, got {output_type!r}")


def to_output(draws: Sequence[Draw], seeds: list[int], output_type: str) -> Text2LatentOutput:
    """Groups of images, at least one, as the pipeline's output; `output_type` is one of `OUTPUT_TYPES`."""
    drawn = concatenate(draws)
    images = to_pil(drawn.images) if output_type == "pil" else drawn.images
    return Text2LatentOutput(images=images, latents=drawn.latents, clip_scores=drawn.clip_scores, seeds=seeds)


def best_of(draw: Draw, candidates: int) -> Draw:
    """Of each image's candidates, which lie side by side, the one of the highest CLIP score."""
    if candidates == 1 or draw.clip_scores is None:
        return draw
    best = draw.clip_scores.view(-1, candidates).argmax(dim=1)
    chosen = best + torch.arange(len(best), device=best.device) * candidates
    return _map_parts(lambda parts: parts[0][chosen], [draw])


def concatenate(draws: Sequence[Draw]) -> Draw:
    """Consecutive groups of images, at least one, as one."""
    if len(draws) == 1:
        return draws[0]
    return _map_parts(torch.cat, draws)


def _map_parts(function: Callable[[list[Tensor]], Tensor], draws: Sequence[Draw]) -> Draw:
    """One draw from several, by what `function` makes of each of their parts; a part that is missing stays so."""
    columns = {field.name: [getattr(draw, field.name) for draw in draws] for field in dataclasses.fields(Draw)}
    parts: dict[str, Any] = {name: None if column[0] is None else function(column) for name, column in columns.items()}
    return Draw(**parts)
