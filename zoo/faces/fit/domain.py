"""Learns what is in the faces world's domain: image embeddings of its generator, and texts that speak of faces."""

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
from text2latent.zoo.faces.attributes import draw_codes
from text2latent.zoo.faces.fit.clip import noisy_caption
from text2latent.zoo.faces.language.captions import LANGUAGES, draw_caption

PRIOR = Path(__file__).parents[1] / "weights" / "prior"
FOREIGN = Path(__file__).parents[1] / "language" / "foreign.txt"
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


def plain_captions(n: int, seed: int = SEED) -> list[str]:
    """Return `n` captions in each language, of templates and words that CLIP was fitted on."""
    rng = np.random.default_rng([seed, 3])
    return [draw_caption(rng, row, language).text for language in LANGUAGES for row in draw_codes(rng, n)]


def further_texts(n: int = NUM_FURTHER, seed: int = SEED) -> list[str]:
    """Return texts in which nearly all words of faces stand: `n` captions in each language, and the free wordings."""
    rng = np.random.default_rng([seed, 4])
    codes = draw_codes(rng, n)
    return [noisy_caption(rng, row, language).text for language in LANGUAGES for row in codes] + read_prompt_list(
        "faces"
    )


def background_texts() -> list[str]:
    """Return texts of all kinds, and of faces in languages that CLIP never learnt."""
    return [*itertools.chain(*general_prompts().values()), *read_prompt_list(str(FOREIGN))]


def in_domain_prompts(num_captions: int = NUM_CAPTIONS) -> list[str]:
    """Return prompts that are in the domain: captions, and the free wordings of `configs/prompts/faces.txt`."""
    return plain_captions(num_captions) + read_prompt_list("faces")


def learn_domain(pipeline: Text2LatentPipeline, num_images: int, num_captions: int) -> Domain:
    """Return what is in the domain of a pipeline of the faces world."""
    prompts = in_domain_prompts(num_captions)
    conditions = pipeline.text_condition(pipeline.encode_prompts(prompts))
    images = pipeline.prior.image_condition(own_embeddings(pipeline, num_images))
    wording = fit_wording(pipeline.clip, prompts, further_texts(), background_texts())
    return fit_domain(images, conditions, wording)


def fit_faces_domain(prior: Path, num_images: int = SAMPLE_SIZE, num_captions: int = NUM_CAPTIONS) -> None:
    """Write what is in the domain of a prior into its folder."""
    save_domain(prior, learn_domain(Text2LatentPipeline.from_pretrained(str(prior)), num_images, num_captions))


def main(argv: Sequence[str] | None = None) -> int:
    """Fit the domain of the shipped prior, or of another of the same world."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--prior", type=Path, default=PRIOR, help="prior folder to write into")
    fit_faces_domain(parser.parse_args(argv).prior)
    return 0


if __name__ == "__main__":
    sys.exit(main())
