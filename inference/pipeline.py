"""Text to image: CLIP's text embedding, the prior's latent, the generator's image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from text2latent.common.errors import InputError, UsageError
from text2latent.inference.conditions import Conditions, Query, as_list, embed_prompts, encode_queries, make_queries
from text2latent.inference.optimization.refine import LatentDistribution, Optimization, optimize_latents
from text2latent.inference.pipeline_editing import EditingMixin
from text2latent.inference.result import (
    Draw,
    Text2LatentOutput,
    best_of,
    concatenate,
    require_output_type,
    to_output,
)
from text2latent.inference.seeds import seeds_of, seeds_per_image
from text2latent.inference.settings import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_GUIDANCE_SCALE,
    DEFAULT_IMAGE_WEIGHT,
    DEFAULT_MODEL,
    DEFAULT_NEGATIVE_GUIDANCE_SCALE,
    DEFAULT_STEPS,
    Settings,
    choose_guidance_scale,
    require_count,
)
from text2latent.models.generators.layouts import layout_shape, to_w, w_statistics
from text2latent.models.priors.diffusion import Denoiser, initial_noise, sample
from text2latent.models.priors.folder import TrainedPrior, load_prior
from text2latent.models.priors.guidance import NegativePrior
from text2latent.models.priors.prior import Prior
from text2latent.models.sources import zoo
from text2latent.models.sources.identity import Identity, require_same
from text2latent.models.sources.whereabouts import load_recorded

if TYPE_CHECKING:
    from text2latent.inference.domain import Domain, DomainScore
    from text2latent.models.clip.encoder import ClipEncoder
    from text2latent.models.generators.base import Generator

__all__ = [
    "DEFAULT_BATCH_SIZE",
    "DEFAULT_GUIDANCE_SCALE",
    "DEFAULT_IMAGE_WEIGHT",
    "DEFAULT_MODEL",
    "DEFAULT_NEGATIVE_GUIDANCE_SCALE",
    "DEFAULT_STEPS",
    "Draw",
    "Query",
    "Settings",
    "Text2LatentOutput",
    "Text2LatentPipeline",
    "seeds_of",
]

ENCODED_AT_ONCE = 256


class Text2LatentPipeline(EditingMixin):
    """Draws images of a generator's domain from texts (clip2latent, arXiv:2210.02347, section 3.3).

    Args:
        generator: latents -> images.
        clip: texts and images -> embeddings.
        trained: the prior, its scheduler, and the record of what it was trained with.
        domain: what the generator's images are like to CLIP, to tell prompts from beyond; None to not tell.

    Raises:
        InputError: when the prior was trained with another generator or CLIP, or the shapes don't fit.
    """

    def __init__(
        self, generator: Generator, clip: ClipEncoder, trained: TrainedPrior, domain: Domain | None = None
    ) -> None:
        _require_pair(trained.generator, generator.identity, "generator")
        _require_pair(trained.clip, clip.identity, "CLIP")
        _require_fit(trained.prior, generator, clip)
        self.generator = generator.eval()
        self.clip = clip.eval()
        self.prior = trained.prior
        self.scheduler = trained.scheduler
        self.identity = trained.identity
        self.record = trained.record
        self.domain = domain

    @classmethod
    def from_pretrained(
        cls,
        model: str = DEFAULT_MODEL,
        device: str | torch.device = "cpu",
        generator: str | Mapping[str, Any] | None = None,
        clip: str | None = None,
        force: bool = False,
    ) -> Text2LatentPipeline:
        """Load the prior, and the generator and CLIP that it was trained with.

        Args:
            model: name of a zoo world, prior folder, run folder, checkpoint of `text2latent train`, folder of
                `text2latent export`, or the `hf://` id of one of these.
            device: where to compute.
            generator: where the generator is now, if not where it was in training; see `load_generator`. A generator of
                a class of your own has to be named, since a model's record never makes code be imported.
            clip: likewise, where CLIP is.
            force: take generator and CLIP with a warning although the prior was trained with others.

        Raises:
            UsageError: for an unknown model.
            InputError: for files that are missing, damaged, foreign, or not the ones the prior was trained with.
        """
        from text2latent.inference.domain import load_domain
        from text2latent.models.clip.encoder import ClipEncoder
        from text2latent.models.generators import load_generator

        trained = load_prior(model)
        domain = load_domain(zoo.locate(model, "prior"), trained.prior.embedding_dim)
        recorded_generator = partial(load_generator, allow_import=False)
        loaded_generator = (
            load_generator(generator)
            if generator is not None
            else load_recorded(recorded_generator, trained.generator, "generator", "--generator")
        )
        loaded_clip = (
            ClipEncoder.from_pretrained(clip)
            if clip is not None
            else load_recorded(ClipEncoder.from_pretrained, trained.clip, "CLIP", "--clip")
        )
        if force:
            trained = trained.paired_with(loaded_generator.identity, loaded_clip.identity)
        return cls(loaded_generator, loaded_clip, trained, domain).to(device)

    def to(self, device: str | torch.device) -> Text2LatentPipeline:
        """Move all parts to a device; returns the pipeline itself."""
        # Convolutions run fastest with channels last. ModelMixin's own `to` would import diffusers' offloading, for
        # tenths of a second, and else do the same.
        for network in (self.generator, self.clip, self.prior):
            torch.nn.Module.to(network, device)
            torch.nn.Module.to(network, memory_format=torch.channels_last)
        return self

    @property
    def device(self) -> torch.device:
        """Where the parts are."""
        return self.prior.latent_mean.device

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        num_images_per_prompt: int = 1,
        num_inference_steps: int = DEFAULT_STEPS,
        guidance_scale: float | None = None,
        truncation: float = 1.0,
        rerank: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        seeds: Sequence[int] | None = None,
        output_type: str = "pil",
        batch_size: int = DEFAULT_BATCH_SIZE,
        return_scores: bool = True,
        negative_prompt: str | Sequence[str] | None = None,
        image: Image.Image | Tensor | Sequence[Image.Image | Tensor] | None = None,
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
        settings = Settings(num_inference_steps, scale, truncation, rerank, batch_size, return_scores, refine)
        require_count("num_images_per_prompt", num_images_per_prompt)
        require_output_type(output_type)
        queries = make_queries(as_list(prompt), as_list(image), as_list(negative_prompt), image_weight)
        all_seeds = seeds_per_image(len(queries), num_images_per_prompt, generator, seeds)
        repeated = [query for query in queries for _ in range(num_images_per_prompt)]
        return to_output(list(self.stream(repeated, all_seeds, settings)), all_seeds, output_type)

    def stream(self, prompts: Sequence[str | Query], seeds: Sequence[int], settings: Settings) -> Iterator[Draw]:
        """Draw one image per prompt or query, a group at a time, so that any number of them fits in memory.

        Args:
            prompts: a prompt or a query per image.
            seeds: a seed per image.
            settings: how.

        Yields:
            Groups of consecutive images, in order.
        """
        texts = {text: Query(text) for text in prompts if isinstance(text, str)}
        queries = [texts[prompt] if isinstance(prompt, str) else prompt for prompt in prompts]
        group = settings.group_size
        chunk = group * max(1, ENCODED_AT_ONCE // group)
        for start in range(0, len(queries), chunk):
            unique = list(dict.fromkeys(queries[start : start + chunk]))
            rows = {query: row for row, query in enumerate(unique)}
            with torch.no_grad():
                conditions = encode_queries(self, unique)
            index = torch.tensor([rows[query] for query in queries[start : start + chunk]], device=self.device)
            yield from self.draw(conditions[index], seeds[start : start + chunk], settings)

    def draw(self, conditions: Conditions, seeds: Sequence[int], settings: Settings) -> Iterator[Draw]:
        """Draw one image per row of `conditions` and seed; yields groups of consecutive images, in order."""
        group = settings.group_size
        for start in range(0, len(conditions), group):
            with torch.no_grad():
                yield self._draw(conditions[start : start + group], seeds[start : start + group], settings)

    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """CLIP text embeddings `[N, E]` of prompts, weighted ones included, L2-normalised.

        Raises:
            UsageError: without prompts, or for one that is empty or otherwise unusable.
        """
        if not prompts:
            raise UsageError("prompt: expected at least one text, got none")
        return embed_prompts(self.clip, prompts)

    def text_condition(self, embeddings: Tensor) -> Tensor:
        """What the prior takes for text embeddings `[N, E]`: `[N, E]`, L2-normalised.

        All texts pass here on their way to the prior, and nothing else does: images are conditions as they are, and
        CLIP scores compare with the text embeddings themselves.
        """
        return self.prior.text_condition(embeddings)

    def domain_scores(self, prompts: Sequence[str]) -> list[DomainScore] | None:
        """How far prompts are from what the generator draws; None where the prior has no record of that."""
        return None if self.domain is None else self.domain.score(self, prompts)

    def draw_latents(self, condition: Tensor | Conditions, noise: Tensor, settings: Settings) -> Tensor:
        """Latents `[N, L, D]` of conditions, or of their embeddings `[N, E]`, and noise `[N, L, D]`, truncated.

        Raises:
            InputError: when they aren't finite.
        """
        prior: Denoiser = self.prior
        if isinstance(condition, Conditions):
            if condition.has_negative.any():
                prior = NegativePrior(prior, condition.negative, condition.has_negative)
            condition = condition.condition
        steps, scale = settings.num_inference_steps, settings.guidance_scale
        drawn = sample(prior, self.scheduler, condition, steps, scale, noise)
        latents = to_w(drawn, self.prior.latent_layout, self.generator)
        if not latents.isfinite().all():
            raise InputError(f"guidance_scale: {scale} gives infinite latents; expected a moderate number such as 2")
        return latents if settings.truncation == 1 else self.generator.truncate(latents, settings.truncation)

    def score(self, images: Tensor, target: Tensor) -> Tensor:
        """CLIP scores `[N]` in [-1, 1] of images `[N, 3, H, W]` in [-1, 1] and embeddings `[N, E]`."""
        return (self.clip.encode_image(images) * target).sum(dim=1)

    @torch.no_grad()
    def render(self, latents: Tensor, target: Tensor | None = None, batch_size: int = DEFAULT_BATCH_SIZE) -> Draw:
        """Images of latents `[N, L, D]`, and their CLIP scores with `target` `[N, E]` if there is one."""
        latents = latents.to(self.device)
        targets = [None] * len(latents) if target is None else target.split(batch_size)
        batches = zip(latents.split(batch_size), targets, strict=False)
        return concatenate([self._finish(batch, wanted) for batch, wanted in batches])

    @property
    def latent_distribution(self) -> LatentDistribution:
        """Where the training pairs' latents are."""
        prior = self.prior
        return LatentDistribution(
            *w_statistics(prior.latent_mean, prior.latent_std, prior.latent_layout, self.generator)
        )

    def _draw(self, conditions: Conditions, seeds: Sequence[int], settings: Settings) -> Draw:
        """A group of images: all candidates, in batches, of these the best of each image, and that refined."""
        noise = initial_noise(seeds, self.prior.latent_shape, settings.rerank).to(self.device)
        rows = conditions.repeat_interleave(settings.rerank)
        size, scored = settings.batch_size, settings.rerank > 1 or (settings.return_scores and not settings.refine)
        batches = [(rows[i : i + size], noise[i : i + size]) for i in range(0, len(noise), size)]
        latents = [self.draw_latents(row, start, settings) for row, start in batches]
        if settings.refine and settings.rerank == 1:
            return self._refine(torch.cat(latents), conditions.target, seeds, settings)
        targets = [row.target if scored else None for row, _ in batches]
        best = best_of(concatenate(list(map(self._finish, latents, targets))), settings.rerank)
        return self._refine(best.latents, conditions.target, seeds, settings) if settings.refine else best

    def _finish(self, latents: Tensor, target: Tensor | None) -> Draw:
        images = self.generator.synthesize(latents)
        if target is None:
            return Draw(images, latents, None)
        embeddings = self.clip.encode_image(images)
        return Draw(images, latents, (embeddings * target).sum(dim=1), embeddings)

    def _refine(self, latents: Tensor, target: Tensor, seeds: Sequence[int], settings: Settings) -> Draw:
        how = Optimization(settings.refine)
        refined = optimize_latents(self.generator, self.clip, target, latents, self.latent_distribution, how, seeds)
        return self._finish(refined, target if settings.return_scores else None)


def _require_pair(expected: Identity, actual: Identity | None, what: str) -> None:
    if actual is None:
        raise InputError(f"{what}: expected {expected}, got one that has no identity")
    require_same(expected, actual, what)


def _require_fit(prior: Prior, generator: Generator, clip: ClipEncoder) -> None:
    """Refuse shapes that don't fit, which a record that isn't true would let pass."""
    expected = layout_shape(prior.latent_layout, generator)
    if prior.latent_shape != expected:
        raise InputError(
            f"prior: gives latents {prior.latent_shape}, the generator takes {expected} in layout {prior.latent_layout}"
        )
    if prior.embedding_dim != clip.embedding_dim:
        raise InputError(f"prior: takes embeddings of {prior.embedding_dim} channels, CLIP gives {clip.embedding_dim}")
