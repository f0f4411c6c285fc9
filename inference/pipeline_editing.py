"""The pipeline's methods beyond a prompt: variations of images, ways between prompts, edits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from PIL import Image
from torch import Tensor

from text2latent.common.errors import UsageError
from text2latent.inference.conditions import Query, as_list, make_queries
from text2latent.inference.editing import Edit, draw_edited, draw_starts, interpolate
from text2latent.inference.result import Text2LatentOutput, require_output_type, to_output
from text2latent.inference.seeds import seeds_per_image
from text2latent.inference.settings import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_FRAMES,
    DEFAULT_STEPS,
    DEFAULT_STRENGTH,
    Settings,
    choose_guidance_scale,
    require_count,
)

if TYPE_CHECKING:
    from text2latent.inference.pipeline import Text2LatentPipeline

Picture = Image.Image | Tensor
Randomness = torch.Generator | Sequence[torch.Generator] | None


class EditingMixin:
    """What `Text2LatentPipeline` does besides drawing prompts; arguments that aren't told here are its own."""

    def variations(
        self, image: Picture | Sequence[Picture], num_images_per_prompt: int = 4, **settings: Any
    ) -> Text2LatentOutput:
        """Draw images that are like given ones to CLIP.

        Args:
            image: a picture or a tensor `[3, H, W]` in [-1, 1], or several.
            num_images_per_prompt: variations of each.
            settings: any other argument of the pipeline; with a `prompt`, text and image are mixed.

        Raises:
            UsageError: as the pipeline.
        """
        return cast("Text2LatentPipeline", self)(image=image, num_images_per_prompt=num_images_per_prompt, **settings)

    @torch.no_grad()
    def interpolate(
        self,
        start: str | Picture,
        end: str | Picture,
        num_frames: int = DEFAULT_FRAMES,
        num_images_per_prompt: int = 1,
        num_inference_steps: int = DEFAULT_STEPS,
        guidance_scale: float | None = None,
        truncation: float = 1.0,
        generator: Randomness = None,
        seeds: Sequence[int] | None = None,
        output_type: str = "pil",
        batch_size: int = DEFAULT_BATCH_SIZE,
        return_scores: bool = True,
        negative_prompt: str | None = None,
        refine: int = 0,
    ) -> Text2LatentOutput:
        """Draw the way from one text or image to another, spherical in CLIP's space, with the noise fixed.

        Args:
            start: the first frame's prompt or picture.
            end: the last frame's.
            num_frames: frames, at least 2.
            num_images_per_prompt: images of each frame, a seed each.

        Returns:
            All images of the first frame first; `seeds` has one per image.

        Raises:
            UsageError: for unusable prompts and values out of range.
        """
        scale = choose_guidance_scale(guidance_scale, negative_prompt is not None)
        settings = Settings(num_inference_steps, scale, truncation, 1, batch_size, return_scores, refine)
        require_count("num_images_per_prompt", num_images_per_prompt)
        require_output_type(output_type)
        chosen = seeds_per_image(1, num_images_per_prompt, generator, seeds)
        ends = (_query(start, negative_prompt), _query(end, negative_prompt))
        draws = interpolate(cast("Text2LatentPipeline", self), *ends, num_frames, chosen, settings)
        return to_output(list(draws), chosen * num_frames, output_type)

    @torch.no_grad()
    def edit(
        self,
        source: str | Picture,
        target: str | Picture,
        strength: float = DEFAULT_STRENGTH,
        latents: Tensor | None = None,
        prompt: str | Sequence[str] | None = None,
        image: Picture | Sequence[Picture] | None = None,
        num_images_per_prompt: int = 1,
        num_inference_steps: int = DEFAULT_STEPS,
        guidance_scale: float | None = None,
        truncation: float = 1.0,
        generator: Randomness = None,
        seeds: Sequence[int] | None = None,
        output_type: str = "pil",
        batch_size: int = DEFAULT_BATCH_SIZE,
        return_scores: bool = True,
    ) -> Text2LatentOutput:
        """Move images along the direction between two texts or pictures, carried into latent space by the prior.

        Args:
            source: what is to go, such as "a face".
            target: what is to come, such as "a face with glasses".
            strength: 1 is the whole way, 0 leaves the images as they are, below 0 goes the other way.
            latents: `[N, L, D]` of the generator to edit, as the pipeline gives them; or
            prompt, image: what to draw first, as the pipeline takes them. Without any of the three, images of the
                generator's own are edited, of random z that `seeds` or `generator` give.
            num_images_per_prompt: images to edit of each prompt, or in all.

        Returns:
            CLIP scores tell how near the images come to `target`. Seeds are those of the starts, rows for `latents`.

        Raises:
            UsageError: for unusable prompts, values out of range, or latents together with what to draw first.
        """
        pipeline = cast("Text2LatentPipeline", self)
        scale = choose_guidance_scale(guidance_scale, False)
        settings = Settings(num_inference_steps, scale, truncation, 1, batch_size, return_scores)
        change = Edit(_query(source), _query(target), strength)
        require_count("num_images_per_prompt", num_images_per_prompt)
        require_output_type(output_type)
        if latents is not None:
            if prompt is not None or image is not None or seeds is not None or generator is not None:
                raise UsageError("latents: expected no prompt, image, seeds or generator with them")
            chosen = list(range(len(latents)))
        else:
            queries = [] if prompt is None and image is None else make_queries(as_list(prompt), as_list(image), None)
            chosen = seeds_per_image(len(queries) or 1, num_images_per_prompt, generator, seeds)
            rows = [query for query in queries for _ in range(num_images_per_prompt)]
            latents = draw_starts(pipeline, rows, chosen, settings)
        return to_output(list(draw_edited(pipeline, latents, settings, change)), chosen, output_type)


def _query(subject: str | Picture, negative: str | None = None) -> Query:
    """A text or a picture as a query."""
    if isinstance(subject, str):
        return Query(subject, negative=negative)
    return Query(image=subject, negative=negative)
