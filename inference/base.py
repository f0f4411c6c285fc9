"""What draws images of queries: CLIP's embedding, the prior's latent, the generator's image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from text2latent.common.errors import InputError, UsageError
from text2latent.inference.conditions import Conditions, embed_prompts, encode_queries
from text2latent.inference.optimization.refine import LatentDistribution, Optimization, optimize_latents
from text2latent.inference.query import Query
from text2latent.inference.result import Draw, best_of, concatenate
from text2latent.inference.settings import DEFAULT_BATCH_SIZE, Settings
from text2latent.models.acceleration import Acceleration, Run, directly
from text2latent.models.generators.layouts import layout_shape, to_w, w_statistics
from text2latent.models.priors.diffusion import Denoiser, NegativePrior, initial_noise, sample
from text2latent.models.priors.folder import TrainedPrior
from text2latent.models.priors.prior import Prior
from text2latent.models.sources.identity import Identity, require_same

if TYPE_CHECKING:
    from text2latent.inference.domain import Domain, DomainScore
    from text2latent.models.clip.encoder import ClipEncoder
    from text2latent.models.generators.base import Generator

ENCODED_AT_ONCE = 256
Pipeline = TypeVar("Pipeline", bound="BasePipeline")


class BasePipeline:
    """Draws images of queries; `Text2LatentPipeline` is its face to users.

    Args:
        generator: latents -> images.
        clip: texts and images -> embeddings.
        trained: the prior, its scheduler, and the record of what it was trained with.
        domain: what the generator's images are like to CLIP, which finds prompts beyond them; None scores no prompts.

    Raises:
        InputError: when the prior was trained with another generator or CLIP, or the shapes don't fit.
    """

    acceleration = Acceleration()
    run: Run = staticmethod(directly)

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

    def to(self: Pipeline, device: str | torch.device) -> Pipeline:
        """Move all parts to a device; returns the pipeline itself."""
        for network in (self.generator, self.clip, self.prior):
            # Convolutions run fastest with channels last.
            network.to(device).to(memory_format=torch.channels_last)
        self.domain = self.domain and self.domain.to(device)
        self._set_runner(self.acceleration.runner() if self.device.type == "cuda" else directly)
        return self

    def accelerate(self: Pipeline, how: Acceleration) -> Pipeline:
        """Draw faster from now on, once a first image of each batch size has been drawn; returns the pipeline itself.

        Images stay the same but for rounding. See `models.acceleration` for what is captured and compiled.

        Raises:
            InputError: when the device or this machine can't do it.
        """
        how.check(self.device)
        if how.compile and not self.acceleration.compile:
            self.generator.compile_parts()
            self.clip.compile_parts()
            self.prior.compile()
        self.acceleration = how
        self._set_runner(how.runner())
        return self

    def _set_runner(self, run: Run) -> None:
        # Graphs hold the places of weights: none may outlive a move.
        self.run = self.generator.run = self.clip.run = run

    @property
    def device(self) -> torch.device:
        return self.prior.latent_mean.device

    def stream(self, prompts: Sequence[str | Query], seeds: Sequence[int], settings: Settings) -> Iterator[Draw]:
        """Draw one image per prompt or query, a group at a time, so that any number of them fits in memory.

        Args:
            prompts: a prompt or a query per image.
            seeds: a seed per image.

        Yields:
            Groups of consecutive images, in order.
        """
        texts = {text: Query(text) for text in prompts if isinstance(text, str)}
        queries = [texts[prompt] if isinstance(prompt, str) else prompt for prompt in prompts]
        group = settings.group_size
        chunk = group * max(1, ENCODED_AT_ONCE // group)
        for start in range(0, len(queries), chunk):
            conditions = self.encode(queries[start : start + chunk])
            yield from self.draw(conditions, seeds[start : start + chunk], settings)

    def draw(self, conditions: Conditions, seeds: Sequence[int], settings: Settings) -> Iterator[Draw]:
        """Draw one image per row of `conditions` and seed; yields groups of consecutive images, in order."""
        group = settings.group_size
        for start in range(0, len(conditions), group):
            with torch.no_grad():  # and not around the yield, which would leave whoever draws without gradients
                drawn = self._draw(conditions[start : start + group], seeds[start : start + group], settings)
            yield drawn

    @torch.no_grad()
    def encode(self, queries: Sequence[Query]) -> Conditions:
        """Queries as embeddings, a row each; one that comes several times is embedded once. See `encode_queries`."""
        rows = {query: row for row, query in enumerate(dict.fromkeys(queries))}
        conditions = encode_queries(self.clip, self.prior, list(rows))
        if len(rows) == len(queries):
            return conditions
        return conditions[torch.tensor([rows[query] for query in queries])]

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

        All texts pass here on their way to the prior, and nothing else does: images pass the prior's
        `image_condition`, and CLIP scores compare with the text embeddings themselves.
        """
        return self.prior.text_condition(embeddings)

    def domain_scores(self, prompts: Sequence[str]) -> list[DomainScore] | None:
        """How far prompts are from what the generator draws; None where the prior has no record of that."""
        return self.score_domain([Query(prompt) for prompt in prompts]) if self.domain else None

    @torch.no_grad()
    def score_domain(self, queries: Sequence[Query], conditions: Conditions | None = None) -> list[DomainScore]:
        """Domain scores of queries with a text, of a pipeline that has a domain.

        `conditions` are theirs, if they have been encoded already.
        """
        assert self.domain is not None
        texts = (self.encode(queries) if conditions is None else conditions).text
        prompts = [query.text or "" for query in queries]
        return self.domain.score(self.clip, prompts, texts, self.text_condition(texts))

    def draw_latents(self, condition: Tensor | Conditions, noise: Tensor, settings: Settings) -> Tensor:
        """Latents `[N, L, D]` of conditions, or of their embeddings `[N, E]`, and noise `[N, L, D]`, truncated.

        Raises:
            InputError: when they aren't finite.
        """
        latents = self._draw_latents(condition, noise, settings)
        _require_finite(latents, settings)
        return latents

    def _draw_latents(self, condition: Tensor | Conditions, noise: Tensor, settings: Settings) -> Tensor:
        negative: list[Tensor] = []
        if isinstance(condition, Conditions):
            if condition.has_negative.any():
                negative = [condition.negative, condition.has_negative.to(self.device)]
            condition = condition.condition
        steps, scale = settings.num_inference_steps, settings.guidance_scale
        # Schedulers of diffusers' compute on the CPU between evaluations.
        is_ours = self.scheduler.draws_with is not None
        later = self.scheduler.later_noise(noise, steps) if is_ours else None
        noises = [one.to(self.device) for one in (noise, later) if one is not None]
        run = self.run if is_ours else directly
        latents = run(self._sample, condition, *noises, *negative, steps=steps, scale=scale, noises=len(noises))
        return self.truncate(latents, settings.truncation)

    def _sample(self, condition: Tensor, *tensors: Tensor, steps: int, scale: float, noises: int) -> Tensor:
        """Latents of conditions; `tensors` are one or two of noise, then what a `NegativePrior` takes, if anything."""
        (noise, *later), negative = tensors[:noises], tensors[noises:]
        prior: Denoiser = NegativePrior(self.prior, *negative) if negative else self.prior
        drawn = sample(prior, self.scheduler, condition, steps, scale, noise, *later)
        return to_w(drawn, self.prior.latent_layout, self.generator)

    def truncate(self, latents: Tensor, truncation: float) -> Tensor:
        """Move latents `[N, L, D]` to the mean one: the generator's, or the pairs' if the prior `truncates_to_pairs`.

        A truncation of 1 leaves them as they are, 0 gives the mean.
        """
        if truncation == 1:
            return latents
        if not self.prior.truncates_to_pairs:
            return self.generator.truncate(latents, truncation)
        mean = to_w(self.prior.latent_mean[None], self.prior.latent_layout, self.generator)
        return mean + truncation * (latents - mean)

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
        """Mean and deviation of the training pairs' w, `[L, D]` each, which optimisation starts from."""
        prior = self.prior
        return LatentDistribution(
            *w_statistics(prior.latent_mean, prior.latent_std, prior.latent_layout, self.generator)
        )

    def _draw(self, conditions: Conditions, seeds: Sequence[int], settings: Settings) -> Draw:
        """A group of images: all candidates, in batches, of these the best of each image, and that refined."""
        noise = initial_noise(seeds, self.prior.latent_shape, settings.rerank)
        rows = conditions.repeat_interleave(settings.rerank)
        size, scored = settings.batch_size, settings.rerank > 1 or (settings.return_scores and not settings.refine)
        batches = [(rows[i : i + size], noise[i : i + size]) for i in range(0, len(noise), size)]
        latents = [self._draw_latents(row, start, settings) for row, start in batches]
        if settings.refine and settings.rerank == 1:
            return self._refine(torch.cat(latents), conditions.target, seeds, settings)
        targets = [row.target if scored else None for row, _ in batches]
        drawn = concatenate(list(map(self._finish, latents, targets)))
        # Only now that all is under way: looking at them waits for the device.
        _require_finite(drawn.latents, settings)
        best = best_of(drawn, settings.rerank)
        return self._refine(best.latents, conditions.target, seeds, settings) if settings.refine else best

    def _finish(self, latents: Tensor, target: Tensor | None) -> Draw:
        images = self.generator.synthesize(latents)
        if target is None:
            return Draw(images, latents, None)
        embeddings = self.clip.encode_image(images)
        return Draw(images, latents, (embeddings * target).sum(dim=1), embeddings)

    def _refine(self, latents: Tensor, target: Tensor, seeds: Sequence[int], settings: Settings) -> Draw:
        _require_finite(latents, settings)
        how = Optimization(settings.refine)
        refined = optimize_latents(self.generator, self.clip, target, latents, self.latent_distribution, how, seeds)
        return self._finish(refined, target if settings.return_scores else None)


def _require_finite(latents: Tensor, settings: Settings) -> None:
    if not latents.isfinite().all():
        scale = settings.guidance_scale
        raise InputError(f"guidance_scale: {scale} gives infinite latents; expected a moderate number such as 2")


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
