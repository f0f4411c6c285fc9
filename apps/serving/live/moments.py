"""Moments of several scenes drawn in one pass through prior and generator."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from PIL import Image

from text2latent.inference.images import to_pil
from text2latent.inference.settings import Settings

if TYPE_CHECKING:
    from text2latent.apps.serving.live.scene import Moment
    from text2latent.inference.pipeline import Text2LatentPipeline


@dataclass(frozen=True, eq=False)
class MomentTask:
    """A moment to be drawn.

    Attributes:
        settings: how, but for truncation, which is the moment's own.
    """

    moment: Moment
    pipeline: Text2LatentPipeline
    settings: Settings

    @property
    def key(self) -> Hashable:
        """Moments of one key can share a pass."""
        return id(self.pipeline), self.settings


@torch.no_grad()
def draw_moments(tasks: Sequence[MomentTask]) -> list[Image.Image]:
    """A picture for each task, whose keys are equal; drawn as `infer` draws, edits before truncation.

    Raises:
        InputError: when a latent isn't finite.
    """
    pipeline, settings = tasks[0].pipeline, tasks[0].settings
    moments = [task.moment for task in tasks]
    conditions = torch.stack([moment.condition for moment in moments]).to(pipeline.device)
    noise = torch.stack([moment.noise for moment in moments])
    drawn = pipeline.draw_latents(conditions, noise, settings)
    rows = [_finished(pipeline, row, moment) for row, moment in zip(drawn.split(1), moments, strict=True)]
    return to_pil(pipeline.generator.synthesize(torch.cat(rows)))


def _finished(pipeline: Text2LatentPipeline, latent: torch.Tensor, moment: Moment) -> torch.Tensor:
    edited = latent if moment.edit is None else latent + moment.edit.to(latent)
    return pipeline.truncate(edited, moment.truncation)
