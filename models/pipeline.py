"""Text to image: CLIP's text embedding, the prior's latent, the generator's image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers.utils.outputs import BaseOutput
from PIL import Image
from torch import Tensor

from text2latent.configs.errors import InputError, UsageError
from text2latent.models.diffusion import initial_noise, sample
from text2latent.models.identity import Identity, require_same
from text2latent.models.images import to_pil
from text2latent.models.prior import ResidualMLPPrior
from text2latent.models.prior_folder import TrainedPrior, load_prior

if TYPE_CHECKING:
    from text2latent.models.clip import ClipEncoder
    from text2latent.models.generators.base import Generator

DEFAULT_MODEL = "faces"
DEFAULT_STEPS = 8
DEFAULT_GUIDANCE_SCALE = 1.0
DEFAULT_BATCH_SIZE = 16
OUTPUT_TYPES = ("pil", "pt")
MAX_SEED = 2**63
MAX_TRUNCATION = 2.0


@dataclass
class Text2LatentOutput(BaseOutput):
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
class Settings:
    """How images are drawn from a prompt; see `Text2LatentPipeline.__call__`.

    Raises:
        UsageError: for a value out of range.
    """

    num_inference_steps: int = DEFAULT_STEPS
    guidance_scale: float = DEFAULT_GUIDANCE_SCALE
    truncation: float = 1.0
    rerank: int = 1
    batch_size: int = DEFAULT_BATCH_SIZE
    return_scores: bool = True

    def __post_init__(self) -> None:
        for name in ("num_inference_steps", "rerank", "batch_size"):
            _require_count(name, getattr(self, name))
        if not (math.isfinite(self.guidance_scale) and self.guidance_scale >= 0):
            raise UsageError(f"guidance_scale: expected a finite number >= 0, got {self.guidance_scale}")
        if not 0 <= self.truncation <= MAX_TRUNCATION:
            raise UsageError(f"truncation: expected a number in [0, {MAX_TRUNCATION:g}], got {self.truncation}")


@dataclass(frozen=True)
class Draw:
    """A group of images as the pipeline makes them.

    Attributes:
        images: `[n, 3, H, W]` in [-1, 1].
        latents: `[n, L, D]`.
        clip_scores: `[n]`, or None.
    """

    images: Tensor
    latents: Tensor
    clip_scores: Tensor | None


class Text2LatentPipeline:
    """Draws images of a generator's domain from texts (clip2latent, arXiv:2210.02347, section 3.3).

    Args:
        generator: latents -> images.
        clip: texts and images -> embeddings.
        trained: the prior, its scheduler, and the record of what it was trained with.

    Raises:
        InputError: when the prior was trained with another generator or CLIP, or the shapes don't fit.
    """

    def __init__(self, generator: Generator, clip: ClipEncoder, trained: TrainedPrior) -> None:
        _require_pair(trained.generator, generator.identity, "generator")
        _require_pair(trained.clip, clip.identity, "CLIP")
        _require_fit(trained.prior, generator, clip)
        self.generator = generator.eval()
        self.clip = clip.eval()
        self.prior = trained.prior
        self.scheduler = trained.scheduler
        self.identity = trained.identity
        self.record = trained.record

    @classmethod
    def from_pretrained(
        cls,
        model: str = DEFAULT_MODEL,
        device: str | torch.device = "cpu",
        generator: str | None = None,
        clip: str | None = None,
    ) -> Text2LatentPipeline:
        """Load the prior, and the generator and CLIP that it was trained with.

        Args:
            model: name of a zoo world, prior folder, run folder or checkpoint of `text2latent train`.
            device: where to compute.
            generator: where the generator is now, if not where it was in training: zoo name or folder.
            clip: likewise, where CLIP is.

        Raises:
            UsageError: for an unknown model.
            InputError: for files that are missing, damaged, foreign, or not the ones the prior was trained with.
        """
        from text2latent.models.clip import ClipEncoder
        from text2latent.models.generators import load_generator

        trained = load_prior(model)
        loaded_generator = load_generator(generator or trained.generator.source)
        loaded_clip = ClipEncoder.from_pretrained(clip or trained.clip.source)
        return cls(loaded_generator, loaded_clip, trained).to(device)

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
        prompt: str | Sequence[str],
        num_images_per_prompt: int = 1,
        num_inference_steps: int = DEFAULT_STEPS,
        guidance_scale: float = DEFAULT_GUIDANCE_SCALE,
        truncation: float = 1.0,
        rerank: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        seeds: Sequence[int] | None = None,
        output_type: str = "pil",
        batch_size: int = DEFAULT_BATCH_SIZE,
        return_scores: bool = True,
    ) -> Text2LatentOutput:
        """Draw images of prompts.

        Args:
            prompt: a text, or several.
            num_images_per_prompt: images of each.
            num_inference_steps: evaluations of the prior per image.
            guidance_scale: >= 0; 1 is no guidance, more follows the prompt more closely at the cost of variety.
            truncation: psi in [0, 2]; below 1 moves latents towards the generator's mean one.
            rerank: candidates per image, of which the one with the highest CLIP score is kept.
            generator: randomness as in diffusers: one for all, or one per image; see `seeds_of`. None draws seeds from
                torch's global generator.
            seeds: instead of a generator, a seed per image of one prompt (then used for every prompt) or per image in
                all. A seed draws the same image whatever the other prompts, the number of images and the batch size.
            output_type: `pil` or `pt`.
            batch_size: images at once; changes speed and memory, not the images.
            return_scores: compute CLIP scores (rerank needs and returns them anyway).

        Raises:
            UsageError: for an empty or unusable prompt and values out of range.
            InputError: when the result isn't finite, as with an enormous guidance_scale.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        settings = Settings(num_inference_steps, guidance_scale, truncation, rerank, batch_size, return_scores)
        _require_count("num_images_per_prompt", num_images_per_prompt)
        if output_type not in OUTPUT_TYPES:
            raise UsageError(f"output_type: expected one of {', '.join(OUTPUT_TYPES)}, got {output_type!r}")
        all_seeds = _seeds_per_image(len(prompts), num_images_per_prompt, generator, seeds)
        texts = [text for text in prompts for _ in range(num_images_per_prompt)]
        drawn = _concatenate(list(self.stream(texts, all_seeds, settings)))
        images = to_pil(drawn.images) if output_type == "pil" else drawn.images
        return Text2LatentOutput(images=images, latents=drawn.latents, clip_scores=drawn.clip_scores, seeds=all_seeds)

    def stream(self, prompts: Sequence[str], seeds: Sequence[int], settings: Settings) -> Iterator[Draw]:
        """Draw one image per prompt, a group at a time, so that any number of them fits in memory.

        Args:
            prompts: a prompt per image.
            seeds: a seed per image.
            settings: how.

        Yields:
            Groups of consecutive images, in order.
        """
        unique = list(dict.fromkeys(prompts))
        with torch.no_grad():
            embeddings = dict(zip(unique, self.encode_prompts(unique), strict=True))
        group = max(1, settings.batch_size // settings.rerank)
        for start in range(0, len(prompts), group):
            condition = torch.stack([embeddings[text] for text in prompts[start : start + group]])
            with torch.no_grad():
                yield self._draw(condition, seeds[start : start + group], settings)

    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """CLIP text embeddings `[N, E]`, L2-normalised.

        Raises:
            UsageError: without prompts, or for one that is empty or otherwise unusable.
        """
        if not prompts:
            raise UsageError("prompt: expected at least one text, got none")
        return self.clip.encode_text(prompts)

    def draw_latents(self, condition: Tensor, noise: Tensor, settings: Settings) -> Tensor:
        """Latents `[N, L, D]` of embeddings `[N, E]` and noise `[N, L, D]`, truncated.

        Raises:
            InputError: when they aren't finite.
        """
        steps, scale = settings.num_inference_steps, settings.guidance_scale
        latents = sample(self.prior, self.scheduler, condition, steps, scale, noise)
        if not latents.isfinite().all():
            raise InputError(f"guidance_scale: {scale} gives infinite latents; expected a moderate number such as 2")
        return latents if settings.truncation == 1 else self.generator.truncate(latents, settings.truncation)

    def score(self, images: Tensor, condition: Tensor) -> Tensor:
        """CLIP scores `[N]` in [-1, 1] of images `[N, 3, H, W]` in [-1, 1] and text embeddings `[N, E]`."""
        return (self.clip.encode_image(images) * condition).sum(dim=1)

    def _draw(self, condition: Tensor, seeds: Sequence[int], settings: Settings) -> Draw:
        """A group of images: all candidates, in batches, and of these the best of each image."""
        rerank = settings.rerank
        noise = initial_noise(seeds, self.prior.latent_shape, rerank).to(self.device)
        rows = condition.repeat_interleave(rerank, dim=0)
        batches = zip(rows.split(settings.batch_size), noise.split(settings.batch_size), strict=True)
        candidates = _concatenate([self._draw_batch(row, start, settings) for row, start in batches])
        if rerank == 1 or candidates.clip_scores is None:
            return candidates
        best = candidates.clip_scores.view(-1, rerank).argmax(dim=1)
        chosen = best + torch.arange(len(seeds), device=best.device) * rerank
        return Draw(candidates.images[chosen], candidates.latents[chosen], candidates.clip_scores[chosen])

    def _draw_batch(self, condition: Tensor, noise: Tensor, settings: Settings) -> Draw:
        latents = self.draw_latents(condition, noise, settings)
        images = self.generator.synthesize(latents)
        scored = settings.return_scores or settings.rerank > 1
        return Draw(images, latents, self.score(images, condition) if scored else None)


def seeds_of(generator: torch.Generator, n: int) -> list[int]:
    """Seeds of n images from a torch generator, which moves on, as diffusers' pipelines move it on.

    A generator fresh from `manual_seed(s)` gives s, s + 1, ..., the same as `text2latent infer --seed s`; one that has
    been used gives consecutive seeds from a number that it draws.
    """
    initial = generator.initial_seed() % MAX_SEED
    untouched = torch.Generator(generator.device).manual_seed(generator.initial_seed()).get_state()
    fresh = torch.equal(generator.get_state(), untouched)
    drawn = int(torch.randint(MAX_SEED - 1, (), generator=generator, device=generator.device))
    first = initial if fresh else drawn
    return [(first + i) % MAX_SEED for i in range(n)]


def _seeds_per_image(
    num_prompts: int,
    num_images: int,
    generator: torch.Generator | Sequence[torch.Generator] | None,
    seeds: Sequence[int] | None,
) -> list[int]:
    """A seed for each of num_prompts * num_images images."""
    total = num_prompts * num_images
    if seeds is not None and generator is not None:
        raise UsageError("seeds: expected either seeds or a generator, got both")
    if seeds is not None:
        return _repeat("seeds", [_require_seed(seed) for seed in seeds], num_images, total)
    if generator is None:
        return [int(seed) for seed in torch.randint(2**32, (total,))]
    if isinstance(generator, torch.Generator):
        return seeds_of(generator, total)
    return _repeat("generator", [seeds_of(one, 1)[0] for one in generator], num_images, total)


def _repeat(name: str, seeds: list[int], num_images: int, total: int) -> list[int]:
    if len(seeds) not in (num_images, total):
        raise UsageError(f"{name}: expected {num_images} (images of a prompt) or {total} (in all), got {len(seeds)}")
    return seeds if len(seeds) == total else seeds * (total // num_images)


def _require_seed(seed: Any) -> int:
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < MAX_SEED:
        raise UsageError(f"seeds: expected whole numbers in [0, 2^63), got {seed!r}")
    return seed


def _require_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name}: expected a whole number >= 1, got {value!r}")


def _require_pair(expected: Identity, actual: Identity | None, what: str) -> None:
    if actual is None:
        raise InputError(f"{what}: expected {expected}, got one that has no identity")
    require_same(expected, actual, what)


def _require_fit(prior: ResidualMLPPrior, generator: Generator, clip: ClipEncoder) -> None:
    """Refuse shapes that don't fit, which a record that isn't true would let pass."""
    layers, channels = prior.latent_shape
    if channels != generator.w_dim or layers not in (1, generator.num_ws):
        raise InputError(f"prior: gives latents {prior.latent_shape}, the generator takes {generator.latent_shape}")
    if prior.embedding_dim != clip.embedding_dim:
        raise InputError(f"prior: takes embeddings of {prior.embedding_dim} channels, CLIP gives {clip.embedding_dim}")


def _concatenate(draws: Sequence[Draw]) -> Draw:
    if len(draws) == 1:
        return draws[0]
    scores = [draw.clip_scores for draw in draws if draw.clip_scores is not None]
    images, latents = torch.cat([draw.images for draw in draws]), torch.cat([draw.latents for draw in draws])
    return Draw(images, latents, torch.cat(scores) if scores else None)
