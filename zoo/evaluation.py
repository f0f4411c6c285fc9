"""Measures of a world's parts: what a picture shows is decided by the judge, never by CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import yaml
from torch import Tensor

from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.generators import Generator
from text2latent.zoo.judge import Judge, balanced_accuracy, load_judge
from text2latent.zoo.language.captions import Caption, draw_caption, make_caption, stack, zero_shot_prompts
from text2latent.zoo.world import World, load_world

SEED = 20_000_000
"""Evaluation draws renders, captions and z from seeds that no fitting script uses."""
BATCH = 32
COLLOQUIAL_PARTS = ("fit", "held", "reported")


def held_out_renders(world: World, n: int, seed: int = SEED) -> tuple[Tensor, np.ndarray]:
    """Return renders `[n, 3, 128, 128]` in [-1, 1] and their value indices `[n, len(world.names)]`."""
    # Asking the judge, as training does, needs no renderer.
    from text2latent.zoo.fit.batches import draw_renders

    return draw_renders(world, np.random.default_rng([seed, 1]), n)


def judge_accuracy(world: World, judge: Judge, images: Tensor, codes: np.ndarray) -> dict[str, float]:
    """Return the judge's balanced accuracy of each attribute on renders."""
    return balanced_accuracy(world, judge.classify(images), codes, world.visible(codes))


def class_embeddings(world: World, clip: ClipEncoder, attribute: str, language: str) -> Tensor:
    """Return the mean text embedding of each value's prompts, of unit length: `[values, D]`."""
    means = [clip.encode_text(prompts).mean(dim=0) for prompts in zero_shot_prompts(world, attribute, language)]
    return torch.nn.functional.normalize(torch.stack(means), dim=1)


def zero_shot_accuracy(
    world: World, clip: ClipEncoder, language: str, images: Tensor, codes: np.ndarray
) -> dict[str, float]:
    """Return CLIP's balanced zero-shot accuracy of each attribute on renders (CLIP, arXiv:2103.00020, section 3.1)."""
    with torch.inference_mode():
        embeddings = torch.cat([clip.encode_image(batch) for batch in images.split(BATCH)])
        guesses = [(embeddings @ class_embeddings(world, clip, name, language).T).argmax(dim=1) for name in world.names]
    return balanced_accuracy(world, torch.stack(guesses, dim=1).numpy(), codes, world.visible(codes))


@torch.inference_mode()
def own_images(world: World, generator: Generator, n: int, seed: int = SEED) -> tuple[Tensor, np.ndarray]:
    """Return images `[n, 3, 128, 128]` that the generator draws of random z, and the values that those stand for.

    The images are on the generator's device.
    """
    z = generator.sample_latents(n, seed)
    images = torch.cat([generator.synthesize(generator.map(batch)) for batch in z.to(generator.device).split(BATCH)])
    return images, world.meaning(z)[0]


def confidence(judge: Judge, images: Tensor) -> float:
    """Return the probability of the judge's own answer, averaged over attributes and images: high if plain."""
    return float(torch.stack([p.amax(dim=1) for p in judge.probabilities(images)]).mean())


@dataclass(frozen=True)
class Faithfulness:
    """How pictures fit their captions.

    Attributes:
        named: share of the named attributes that are there; 1 where no caption names any.
        complete: share of pictures in which all that is named is there.
        by_attribute: share of each attribute's mentions that are there.
        confidence: the judge's confidence on the pictures, see `confidence`.
        diversity: entropy of the values of attributes that captions leave open, over its maximum.
    """

    named: float
    complete: float
    by_attribute: dict[str, float]
    confidence: float
    diversity: float


def held_out_captions(
    world: World, n: int, language: str, seed: int = SEED, num_mentioned: int | None = None
) -> list[Caption]:
    """Return `n` captions of templates and wordings that fitting never used, of random pictures.

    Args:
        world: their world.
        n: how many.
        language: "en" or "ja".
        seed: decides on pictures and words.
        num_mentioned: see `draw_caption`.
    """
    rng = np.random.default_rng([seed, 2, *language.encode()])
    return [draw_caption(world, rng, row, language, True, num_mentioned) for row in world.draw_codes(rng, n)]


def colloquial_captions(world: World, language: str, part: str) -> list[Caption]:
    """Return what people type, with what it names; see the world's `language/colloquial.yaml`.

    Args:
        world: what they are about.
        language: "en" or "ja".
        part: one of `COLLOQUIAL_PARTS`.
    """
    kept = (world.folder / "language" / "colloquial.yaml").read_text(encoding="utf-8")
    prompts = yaml.safe_load(kept)[language][part]
    return [make_caption(world, text, language, world.allow(meaning)) for text, meaning in prompts.items()]


def prompt_faithfulness(
    world: World,
    pipeline: Text2LatentPipeline,
    judge: Judge,
    captions: Sequence[Caption],
    num_images: int = 4,
    seed: int = SEED,
    **settings: Any,
) -> Faithfulness:
    """Draw `num_images` pictures of each caption, each with a seed of its own, and ask the judge what they show.

    Args:
        settings: keyword arguments of the pipeline, such as `guidance_scale` or `rerank`.
    """
    drawn = pipeline(
        [caption.text for caption in captions],
        num_images_per_prompt=num_images,
        seeds=range(seed, seed + num_images * len(captions)),
        output_type="pt",
        **settings,
    )
    described = [caption for caption in captions for _ in range(num_images)]
    return score_pictures(world, judge, cast(Tensor, drawn.images), described)


def score_pictures(world: World, judge: Judge, images: Tensor, captions: Sequence[Caption]) -> Faithfulness:
    """Score pictures `[N, 3, 128, 128]` against a caption each."""
    codes = judge.classify(images)
    there, named = find_named(world, codes, captions)
    return Faithfulness(
        named=float(there[named].mean()) if named.any() else 1.0,
        complete=float(there.all(axis=1).mean()),
        by_attribute={
            name: float(there[named[:, i], i].mean()) for i, name in enumerate(world.names) if named[:, i].any()
        },
        confidence=confidence(judge, images),
        diversity=_open_entropy(world, codes, named),
    )


def find_named(world: World, codes: np.ndarray, captions: Sequence[Caption]) -> tuple[np.ndarray, np.ndarray]:
    """Which attributes of pictures fit their captions, and which the captions name, bool `[N, len(world.names)]` each.

    Args:
        world: theirs.
        codes: value indices, integer `[N, len(world.names)]`.
        captions: N, a caption each.
    """
    allowed, named = stack(captions)
    there = allowed[np.arange(len(codes))[:, None], np.arange(len(world.names)), codes]
    return there & (world.visible(codes) | ~named), named


def _open_entropy(world: World, codes: np.ndarray, named: np.ndarray) -> float:
    entropies = []
    for i, size in enumerate(world.sizes):
        counts = np.bincount(codes[~named[:, i], i], minlength=size)
        shares = counts[counts > 0] / max(counts.sum(), 1)
        entropies.append(-(shares * np.log(shares)).sum() / np.log(size))
    return float(np.mean(entropies))


def see(world: World, images: Tensor) -> list[dict[str, str]]:
    """What the shipped judge of a world sees in pictures `[N, 3, 128, 128]` in [-1, 1]: all that is visible."""
    codes = load_judge(world).classify(images.float().cpu())
    return [
        {name: value for (name, value), is_visible in zip(shown.items(), mask, strict=True) if is_visible}
        for shown, mask in zip(world.decode(codes), world.visible(codes), strict=True)
    ]


def attribute_accuracy(pipeline: Text2LatentPipeline, num_captions: int, **settings: Any) -> float:
    """What training of a prior for a world of the zoo logs; see `models.sources.zoo`.

    Share of the attributes named by English held-out captions that the judge sees, one picture per caption.

    Args:
        pipeline: draws with a generator of the zoo.
        num_captions: always the first of the same captions, so that validations compare.
        settings: keyword arguments of the pipeline.
    """
    assert pipeline.generator.identity is not None
    world = load_world(pipeline.generator.identity.name)
    judge, captions = load_judge(world).to(pipeline.device), held_out_captions(world, num_captions, "en")
    return prompt_faithfulness(world, pipeline, judge, captions, 1, **settings).named
