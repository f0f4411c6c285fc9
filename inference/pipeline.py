"""Text to image: the pipeline that users load and call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from text2latent.common.errors import UsageError
from text2latent.inference.base import BasePipeline
from text2latent.inference.conditions import as_list
from text2latent.inference.editing import Edit, draw_edited, draw_starts, interpolate
from text2latent.inference.query import Query, make_queries
from text2latent.inference.result import Text2LatentOutput, require_output_type, to_output
from text2latent.inference.seeds import seeds_per_image
from text2latent.inference.settings import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_FRAMES,
    DEFAULT_IMAGE_WEIGHT,
    DEFAULT_MODEL,
    DEFAULT_STEPS,
    DEFAULT_STRENGTH,
    Settings,
    choose_guidance_scale,
    require_count,
)
from text2latent.models.priors.folder import load_prior
from text2latent.models.sources.location import locate
from text2latent.models.sources.whereabouts import load_recorded

if TYPE_CHECKING:
    from text2latent.inference.projection.features import ImageFeatures
    from text2latent.inference.projection.framing import Framing
    from text2latent.inference.projection.projector import ProjectionSettings
    from text2latent.inference.projection.result import Projection

Picture = Image.Image | Tensor
Randomness = torch.Generator | Sequence[torch.Generator] | None


@dataclass(frozen=True)
class Options(Settings):
    """Arguments of all methods of the pipeline that draw, see `Text2LatentPipeline.__call__`.

    Raises:
        UsageError: for a value out of range, or an unknown type of output.
    """

    num_images_per_prompt: int = 1
    generator: Randomness = None
    seeds: Sequence[int] | None = None
    output_type: str = "pil"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("num_images_per_prompt", self.num_images_per_prompt)
        require_output_type(self.output_type)

    @classmethod
    def choose(cls, negative: bool, guidance_scale: float | None = None, **options: Any) -> Options:
        """Options with the default guidance scale of prompts with or without a negative one, unless it is given."""
        return cls(guidance_scale=choose_guidance_scale(guidance_scale, negative), **options)

    def seeds_of(self, num_prompts: int) -> list[int]:
        """A seed per image, all of the first prompt first."""
        return seeds_per_image(num_prompts, self.num_images_per_prompt, self.generator, self.seeds)

    def rows(self, queries: Sequence[Query]) -> tuple[list[Query], list[int]]:
        """A query per image, and a seed; seeds alone where there is no query."""
        chosen = self.seeds_of(len(queries) or 1)
        return [query for query in queries for _ in range(self.num_images_per_prompt)], chosen


class Text2LatentPipeline(BasePipeline):
    """Draws images of a generator's domain from texts (clip2latent, arXiv:2210.02347, section 3.3).

    Prompts, variations of images, ways between prompts, and edits; see `BasePipeline` for the arguments.
    """

    @classmethod
    def from_pretrained(
        cls,
        model: str = DEFAULT_MODEL,
        device: str | torch.device = "cpu",
        generator: str | Mapping[str, Any] | None = None,
        clip: str | Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> Text2LatentPipeline:
        """Load the prior, and the generator and CLIP that it was trained with.

        Args:
            model: name of a zoo world, prior folder, run folder, checkpoint of `text2latent train`, folder of
                `text2latent export`, or the `hf://` id of one of these.
            device: where to compute.
            generator: where the generator is now, if not where it was in training; see `load_generator`. A generator of
                a class of your own has to be named, since a model's record never makes code be imported.
            clip: likewise, where CLIP is; see `ClipEncoder.from_pretrained`. A mapping of `arguments` alone is for the
                CLIP that the model names.
            force: take generator and CLIP with a warning although the prior was trained with others.

        Raises:
            UsageError: for an unknown model.
            InputError: for files that are missing, damaged, foreign, or not the ones the prior was trained with.
        """
        from text2latent.inference.domain import load_domain
        from text2latent.models.clip.recorded import load_clip
        from text2latent.models.generators import load_generator

        found = locate(model, "prior")
        trained = load_prior(found)
        domain = load_domain(found.path, trained.prior.embedding_dim)
        recorded_generator = partial(load_generator, allow_import=False)
        loaded_generator = (
            load_generator(generator)
            if generator is not None
            else load_recorded(recorded_generator, trained.generator, "generator", "--generator")
        )
        loaded_clip = load_clip(clip, trained.clip)
        if force:
            trained = trained.paired_with(loaded_generator.identity, loaded_clip.identity)
        return cls(loaded_generator, loaded_clip, trained, domain).to(device)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        num_images_per_prompt: int = 1,
        num_inference_steps: int = DEFAULT_STEPS,
        guidance_scale: float | None = None,
        truncation: float = 1.0,
        rerank: int = 1,
        generator: Randomness = None,
        seeds: Sequence[int] | None = None,
        output_type: str = "pil",
        batch_size: int = DEFAULT_BATCH_SIZE,
        return_scores: bool = True,
        negative_prompt: str | Sequence[str] | None = None,
        image: Picture | Sequence[Picture] | None = None,
        image_weight: float = DEFAULT_IMAGE_WEIGHT,
        refine: int = 0,
    ) -> Text2LatentOutput:
        """Draw images of prompts, variations of images, or both mixed.

        Args:
            prompt: a text, or several; a text may be weighted, see `text2latent.inference.prompts`. None with an image.
            num_images_per_prompt: images of each.
            num_inference_steps: evaluations of the prior per image.
            guidance_scale: >= 0; 1 is no guidance, more follows the prompt more closely at the cost of variety. None
                takes `DEFAULT_GUIDANCE_SCALE`, or with a negative prompt `DEFAULT_NEGATIVE_GUIDANCE_SCALE`.
            truncation: psi in [0, 2]; below 1 moves latents towards the generator's mean one.
            rerank: candidates per image, of which the one with the highest CLIP score is kept.
            generator: randomness as in diffusers: one for all, or one per image; see `seeds_of`. None draws seeds from
                torch's global generator.
            seeds: instead of a generator, a seed per image of one prompt (then used for every prompt) or per image in
                all. A seed draws the same image whatever the other prompts, the number of images and the batch size.
            output_type: `pil` or `pt`.
            batch_size: images at once; changes speed and memory, not the images.
            return_scores: compute CLIP scores (rerank needs and returns them anyway).
            negative_prompt: what not to show, for all prompts or one for each; needs a guidance scale other than 1.
            image: a picture or a tensor `[3, H, W]` in [-1, 1] to vary, for all prompts or one for each.
            image_weight: share of the image in [0, 1] where there is a prompt too.
            refine: steps of CLIP-guided gradient descent from what the prior draws, see
                `text2latent.inference.optimization.refine`.

        Raises:
            UsageError: for an empty or unusable prompt and values out of range.
            InputError: when the result isn't finite, as with an enormous guidance_scale.
        """
        scale = choose_guidance_scale(guidance_scale, negative_prompt is not None)
        drawn = (num_inference_steps, scale, truncation, rerank, batch_size, return_scores, refine)
        options = Options(*drawn, num_images_per_prompt, generator, seeds, output_type)
        queries = make_queries(as_list(prompt), as_list(image), as_list(negative_prompt), image_weight)
        rows, chosen = options.rows(queries)
        return to_output(list(self.stream(rows, chosen, options)), chosen, output_type)

    def variations(
        self, image: Picture | Sequence[Picture], num_images_per_prompt: int = 4, **options: Any
    ) -> Text2LatentOutput:
        """Draw images that are like given ones to CLIP.

        Args:
            image: a picture or a tensor `[3, H, W]` in [-1, 1], or several.
            num_images_per_prompt: variations of each.
            options: any other argument of the pipeline; with a `prompt`, text and image are mixed.

        Raises:
            UsageError: as the pipeline.
        """
        return self(image=image, num_images_per_prompt=num_images_per_prompt, **options)

    @torch.no_grad()
    def interpolate(
        self,
        start: str | Picture,
        end: str | Picture,
        num_frames: int = DEFAULT_FRAMES,
        num_images_per_prompt: int = 1,
        negative_prompt: str | None = None,
        **options: Any,
    ) -> Text2LatentOutput:
        """Draw the way from one text or image to another, spherical in CLIP's space, with the noise fixed.

        Args:
            start: the first frame's prompt or picture.
            end: the last frame's.
            num_frames: frames, at least 2.
            num_images_per_prompt: images of each frame, a seed each.
            negative_prompt: what no frame is to show.
            options: any other argument of the pipeline but `rerank`, with which frames would jump.

        Returns:
            All images of the first frame first; `seeds` has one per image.

        Raises:
            UsageError: for unusable prompts and values out of range.
        """
        options["num_images_per_prompt"] = num_images_per_prompt
        how = Options.choose(negative_prompt is not None, rerank=1, **options)
        seeds = how.seeds_of(1)
        ends = (_query(start, negative_prompt), _query(end, negative_prompt))
        frames = list(interpolate(self, *ends, num_frames, seeds, how))
        return to_output(frames, seeds * num_frames, how.output_type)

    @torch.no_grad()
    def edit(
        self,
        source: str | Picture,
        target: str | Picture,
        strength: float = DEFAULT_STRENGTH,
        latents: Tensor | None = None,
        prompt: str | Sequence[str] | None = None,
        image: Picture | Sequence[Picture] | None = None,
        **options: Any,
    ) -> Text2LatentOutput:
        """Move images along the direction between two texts or pictures, carried into latent space by the prior.

        Args:
            source: what is to go, such as "a face".
            target: what is to come, such as "a face with glasses".
            strength: 1 is the whole way, 0 leaves the images as they are, below 0 goes the other way.
            latents: `[N, L, D]` of the generator to edit, as the pipeline gives them; or
            prompt, image: what to draw first, as the pipeline takes them. Without any of the three, images of the
                generator's own are edited, of random z that `seeds` or `generator` give.
            options: any other argument of the pipeline but `rerank`, `refine` and `negative_prompt`;
                `num_images_per_prompt` of each prompt, or in all, are edited.

        Returns:
            CLIP scores say how near the images come to `target`. Seeds are those of the starts, rows for `latents`.

        Raises:
            UsageError: for unusable prompts, values out of range, or latents together with what to draw first.
        """
        how = Options.choose(False, rerank=1, refine=0, **options)
        change = Edit(_query(source), _query(target), strength)
        if latents is not None:
            if prompt is not None or image is not None or how.seeds is not None or how.generator is not None:
                raise UsageError("latents: expected no prompt, image, seeds or generator with them")
            seeds = list(range(len(latents)))
        else:
            queries = [] if prompt is None and image is None else make_queries(as_list(prompt), as_list(image), None)
            rows, seeds = how.rows(queries)
            latents = draw_starts(self, rows, seeds, how)
        return to_output(list(draw_edited(self, latents, how, change)), seeds, how.output_type)

    def project(
        self,
        image: Picture | Sequence[Picture],
        settings: ProjectionSettings | None = None,
        seed: int = 0,
        framing: Framing | None = None,
        features: ImageFeatures | None = None,
        on_step: Callable[[int, Tensor], object] | None = None,
    ) -> Projection:
        """Find latents whose images are pictures of one's own, for `edit` and the like.

        Args:
            image: a picture, or a tensor `[C, H, W]` in [-1, 1] of the generator's size; or several, which are looked
                for together and don't depend on each other.
            settings: how; by default a hundred steps from what the prior draws.
            seed: of the prior's candidates.
            framing: what part of a picture is taken; by default its middle.
            features: what a network sees; by default CLIP's image tower.
            on_step: called after each step with its number from 1 and the losses `[N]` that it came from.

        Raises:
            UsageError: for tensors of another shape or out of range.
            InputError: for a generator that passes no gradients.
        """
        # Its libraries take a second to import, which those who only draw needn't wait for.
        from text2latent.inference.projection.framing import Framing
        from text2latent.inference.projection.projector import ProjectionSettings, project

        how, frame = settings or ProjectionSettings(), framing or Framing()
        return project(self, as_list(image) or [], how, frame, seed, features, on_step)


def _query(subject: str | Picture, negative: str | None = None) -> Query:
    if isinstance(subject, str):
        return Query(subject, negative=negative)
    return Query(image=subject, negative=negative)
