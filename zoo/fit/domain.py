"""Learns what is in a world's domain: image embeddings of its generator, and texts that speak of its pictures.

python -m text2latent.zoo.fit.domain WORLD
"""

from __future__ import annotations

import itertools
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from text2latent.inference.domain import SAMPLE_SIZE, Domain, fit_domain, save_domain
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.prompt_lists import general_prompts, read_prompt_list
from text2latent.inference.wording import fit_wording
from text2latent.zoo.language.captions import LANGUAGES, draw_caption, noisy_caption
from text2latent.zoo.world import World, load_world, world_names

NUM_CAPTIONS, NUM_FURTHER = 500, 20_000
SEED = 10_000_000
"""z and captions of seeds that evaluation doesn't use."""
BATCH = 32


@torch.no_grad()
def own_embeddings(pipeline: Text2LatentPipeline, n: int, seed: int = SEED) -> Tensor:
    """Return CLIP embeddings `[n, E]` of images that the generator draws of random z."""
    z = pipeline.generator.sample_latents(n, seed).to(pipeline.device)
    images = (pipeline.generator.synthesize(pipeline.generator.map(batch)) for batch in z.split(BATCH))
    return torch.cat([pipeline.clip.encode_image(batch) for batch in images])


def plain_captions(world: World, n: int, seed: int = SEED) -> list[str]:
    """Return `n` captions in each language, of templates and words that CLIP was fitted on."""
    rng = np.random.default_rng([seed, 3])
    return [draw_caption(world, rng, row, language).text for language in LANGUAGES for row in world.draw_codes(rng, n)]


def further_texts(world: World, n: int = NUM_FURTHER, seed: int = SEED) -> list[str]:
    """Return texts in which nearly all words of a world stand: `n` captions in each language, and the free wordings."""
    rng = np.random.default_rng([seed, 4])
    codes = world.draw_codes(rng, n)
    captions = [noisy_caption(world, rng, row, language).text for language in LANGUAGES for row in codes]
    return captions + read_prompt_list(world.name)


def background_texts(world: World) -> list[str]:
    """Return texts of all kinds, and of the world in languages that CLIP never learnt."""
    foreign = world.folder / "language" / "foreign.txt"
    return [*itertools.chain(*general_prompts().values()), *read_prompt_list(str(foreign))]


def in_domain_prompts(world: World, num_captions: int = NUM_CAPTIONS) -> list[str]:
    """Return prompts that are in the domain: captions, and the free wordings of `configs/prompts/WORLD.txt`."""
    return plain_captions(world, num_captions) + read_prompt_list(world.name)


def learn_domain(world: World, pipeline: Text2LatentPipeline, num_images: int, num_captions: int) -> Domain:
    """Return what is in the domain of a pipeline of a world."""
    prompts = in_domain_prompts(world, num_captions)
    conditions = pipeline.text_condition(pipeline.encode_prompts(prompts))
    images = pipeline.prior.image_condition(own_embeddings(pipeline, num_images))
    wording = fit_wording(pipeline.clip, prompts, further_texts(world), background_texts(world))
    return fit_domain(images, conditions, wording)


def fit_world_domain(
    world: World, prior: Path, num_images: int = SAMPLE_SIZE, num_captions: int = NUM_CAPTIONS
) -> None:
    """Write what is in the domain of a prior for a world into its folder."""
    pipeline = Text2LatentPipeline.from_pretrained(str(prior))
    save_domain(prior, learn_domain(world, pipeline, num_images, num_captions))


def main(argv: Sequence[str] | None = None) -> int:
    """Fit the domain of the shipped prior, or of another of the same world."""
    parser = ArgumentParser(description=main.__doc__)
    parser.add_argument("world", choices=world_names(), help="world of the prior")
    parser.add_argument("--prior", type=Path, help="prior folder to write into; by default the shipped one")
    flags = parser.parse_args(argv)
    world = load_world(flags.world)
    fit_world_domain(world, flags.prior or world.weights / "prior")
    return 0


if __name__ == "__main__":
    sys.exit(main())
