"""The pipeline of exported diffusers folders: a text's CLIP embedding, the prior's latent, the generator's image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import DiffusionPipeline
from diffusers.utils.outputs import BaseOutput
from PIL import Image
from torch import Tensor

from text2latent.models.conditions import Conditions, embed_prompts, encode_queries, make_queries
from text2latent.models.diffusion import Denoiser, initial_noise, sample
from text2latent.models.guidance import NegativePrior
from text2latent.models.identity import Identity, require_same, sha256_of
from text2latent.models.images import to_pil
from text2latent.models.layouts import to_w
from text2latent.models.seeds import seeds_per_image
from text2latent.models.settings import DEFAULT_IMAGE_WEIGHT, DEFAULT_STEPS, choose_guidance_scale

NETWORK_WEIGHTS = "diffusion_pytorch_model.safetensors"


@dataclass
class LatentPipelineOutput(BaseOutput):
    """What the pipeline drew, N images in the order of the prompts.

    Attributes:
        images: N RGB pictures, or a tensor `[N, 3, H, W]` in [-1, 1].
        latents: `[N, L, D]`, the latents that were synthesised, after truncation.
        seeds: N seeds that draw the images again.
    """

    images: list[Image.Image] | Tensor
    latents: Tensor
    seeds: list[int]


class LatentPriorPipeline(DiffusionPipeline):
    """Draws images of a generator's domain from texts (clip2latent, arXiv:2210.02347, section 3.3).

    Args:
        prior: the denoiser, CLIP embedding to latent.
        scheduler: it is sampled with.
        generator: latents to images.
        clip: texts to embeddings.
        trained_with: name and SHA-256 of the `generator` and the `clip` that the prior belongs to.

    Raises:
        InputError: for another generator or CLIP than these, naming both.
    """

    model_cpu_offload_seq = "clip->prior->generator"

    def __init__(
        self, prior: Any, scheduler: Any, generator: Any, clip: Any, trained_with: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        require_trained_with(trained_with or {}, {"generator": generator, "clip": clip})
        self.register_modules(prior=prior, scheduler=scheduler, generator=generator, clip=clip)
        self.register_to_config(trained_with=trained_with)
        for network in (prior, generator, clip):
            # Convolutions run fastest with channels last.
            torch.nn.Module.to(network.eval(), memory_format=torch.channels_last)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        negative_prompt: str | Sequence[str] | None = None,
        num_images_per_prompt: int = 1,
        num_inference_steps: int = DEFAULT_STEPS,
        guidance_scale: float | None = None,
        truncation: float = 1.0,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> LatentPipelineOutput | tuple[Any, ...]:
        """Draw images of prompts.

        Args:
            prompt: a text, or several; its parts may be weighted, as in `woman:1 | glasses:0.5`.
            negative_prompt: what not to show, for all prompts or one for each.
            num_images_per_prompt: images of each.
            num_inference_steps: evaluations of the prior per image.
            guidance_scale: >= 0; 1 (the default) is no guidance, more follows the prompt more closely at the cost of
                variety. With a negative prompt the default is 2.
            truncation: psi; below 1 moves latents towards the generator's mean one.
            generator: one for all images, or one per image. A generator fresh from `manual_seed(s)` gives the images of
                `text2latent infer --seed s`.
            output_type: `pil`, or `pt` for a tensor.
            return_dict: False returns the output's values as a tuple.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        negatives = [negative_prompt] if isinstance(negative_prompt, str) else negative_prompt
        queries = make_queries(prompts, None, negatives, DEFAULT_IMAGE_WEIGHT)
        seeds = seeds_per_image(len(queries), num_images_per_prompt, generator, None)
        noise = initial_noise(seeds, self.prior.latent_shape).to(self.device)
        conditions = encode_queries(cast(Any, self), queries).repeat_interleave(num_images_per_prompt)
        scale = choose_guidance_scale(guidance_scale, negatives is not None)
        latents = self.draw_latents(conditions, noise, num_inference_steps, scale, truncation)
        images = self.generator.synthesize(latents)
        output = LatentPipelineOutput(to_pil(images) if output_type == "pil" else images, latents, seeds)
        return output if return_dict else output.to_tuple()

    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """CLIP text embeddings `[N, E]` of prompts, weighted ones included, L2-normalised."""
        return embed_prompts(self.clip, prompts)

    def text_condition(self, embeddings: Tensor) -> Tensor:
        """What the prior takes for text embeddings `[N, E]`: `[N, E]`, L2-normalised."""
        return self.prior.text_condition(embeddings)

    def draw_latents(
        self, conditions: Conditions, noise: Tensor, num_inference_steps: int, scale: float, truncation: float
    ) -> Tensor:
        """Latents `[N, L, D]` of N conditions and noise of the prior's shape, for the generator to synthesise."""
        prior: Denoiser = self.prior
        if conditions.has_negative.any():
            prior = NegativePrior(prior, conditions.negative, conditions.has_negative)
        drawn = sample(prior, self.scheduler, conditions.condition, num_inference_steps, scale, noise)
        latents = to_w(drawn, self.prior.latent_layout, self.generator)
        return latents if truncation == 1 else self.generator.truncate(latents, truncation)


def require_trained_with(expected: Mapping[str, Any], networks: Mapping[str, Any]) -> None:
    """Refuse networks whose weights files are not the expected ones; networks that came from no file can't be told."""
    for part, network in networks.items():
        found = network_identity(network, part)
        if part in expected and found is not None:
            require_same(Identity(**expected[part]), found, part)


def network_identity(network: Any, name: str) -> Identity | None:
    """Identity of a network that knows it, or that diffusers has loaded from a folder of this machine."""
    known = getattr(network, "identity", None)
    folder = Path(getattr(getattr(network, "config", None), "_name_or_path", None) or "")
    if known is not None or not (folder / NETWORK_WEIGHTS).is_file():
        return known
    return Identity(name, str(folder), sha256_of(folder / NETWORK_WEIGHTS))
