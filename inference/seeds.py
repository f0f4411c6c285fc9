"""A seed for each image, from the ways in which diffusers' pipelines and this one take randomness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from text2latent.common.errors import UsageError
from text2latent.inference.settings import MAX_SEED


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


def seeds_per_image(
    num_prompts: int,
    num_images: int,
    generator: torch.Generator | Sequence[torch.Generator] | None,
    seeds: Sequence[int] | None,
) -> list[int]:
    """A seed for each of num_prompts * num_images images.

    Args:
        generator: one for all images, one per image, or None to draw seeds from torch's global generator.
        seeds: instead of a generator, one per image of a prompt (used for every prompt) or one per image in all.

    Raises:
        UsageError: for another number of seeds or generators, a seed out of range, or both kinds at once.
    """
    total = num_prompts * num_images
    if seeds is not None and generator is not None:
        raise UsageError("seeds: expected either seeds or a generator, got both")
    if seeds is not None:
        return _repeat("seeds", [require_seed(seed) for seed in seeds], num_images, total)
    if generator is None:
        return [int(seed) for seed in torch.randint(2**32, (total,))]
    if isinstance(generator, torch.Generator):
        return seeds_of(generator, total)
    return _repeat("generator", [seeds_of(one, 1)[0] for one in generator], num_images, total)


def _repeat(name: str, seeds: list[int], num_images: int, total: int) -> list[int]:
    if len(seeds) not in (num_images, total):
        raise UsageError(f"{name}: expected {num_images} (images of a prompt) or {total} (in all), got {len(seeds)}")
    return seeds if len(seeds) == total else seeds * (total // num_images)


def require_seed(seed: Any) -> int:
    """Refuse all but whole numbers in [0, 2^63).

    Raises:
        UsageError: naming the value.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < MAX_SEED:
        raise UsageError(f"seeds: expected whole numbers in [0, 2^63), got {seed!r}")
    return seed
