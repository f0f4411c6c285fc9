"""Draw a prompt set's images by many methods, and measure them all in the same way; kept so that a rerun goes on.

Times are of the process's CPU, which what else the machine does leaves alone; so run on one thread.
"""

from __future__ import annotations

import hashlib
import json
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from text2latent.apps.evaluation.metrics import (
    CONFIDENCE,
    Estimate,
    estimate_mean,
    frechet_distance,
    pairwise_diversity,
)
from text2latent.common.files import replacing
from text2latent.common.progress import progress
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.generators import Generator, load_generator
from text2latent.zoo.evaluation import find_named, held_out_captions
from text2latent.zoo.judge import load_judge
from text2latent.zoo.language.captions import LANGUAGES, Caption
from text2latent.zoo.world import load_world

FACES = load_world("faces")

GROUP = 32
"""Images drawn and timed together."""
OWN_SEED = 30_000_000
"""The generator's own images, which the Frechet distance compares with, are of z from here on."""
FRECHET_RESAMPLES = 200


@dataclass(frozen=True)
class Drawn:
    """What a method draws.

    Attributes:
        latents: w, `[N, 1 or num_ws, w_dim]`.
        seconds: CPU time of that, where it isn't what passed.
    """

    latents: Tensor
    seconds: float | None = None


Draw = Callable[[Tensor, list[str], list[int]], Drawn]
"""Draws latents for text embeddings `[N, E]`, prompts and seeds, one of each per image."""


@dataclass(frozen=True)
class Measured:
    """What is kept of a method's images, all seeds of the first prompt first.

    Attributes:
        embeddings: `[N, E]` float32, CLIP's of the images.
        clip_scores: `[N]`, cosines with the text embeddings.
        codes: `[N, attributes]`, what the judge sees.
        seconds: `[G]`, CPU time per image in each group of prompts, from embedding the texts to the images.
        latent_seconds: `[G]`, the part of that from the texts' embeddings to the latents.
        num_prompts: P, of the prompt set's first ones.
    """

    embeddings: NDArray[np.float32]
    clip_scores: NDArray[np.float32]
    codes: NDArray[np.int64]
    seconds: NDArray[np.float64]
    latent_seconds: NDArray[np.float64]
    num_prompts: int


def captions_in_turns(num_prompts: int, seed: int) -> list[Caption]:
    """So many held-out captions of each language; the languages take turns, so that the first ones are of both."""
    by_language = [held_out_captions(FACES, num_prompts, language, seed) for language in LANGUAGES]
    return [caption for pair in zip(*by_language, strict=True) for caption in pair]


def make_bench(flags: Namespace, folder: Path) -> Bench:
    """The bench of the flags `model`, `num_prompts` (of each language), `first_prompts`, `num_images` and `seed`."""
    captions = captions_in_turns(flags.num_prompts, flags.seed)[: flags.first_prompts]
    return Bench(flags.model, captions, range(flags.seed, flags.seed + flags.num_images), folder)


class Bench:
    """The prompts, the networks that judge, and a folder for what is measured.

    Args:
        model: zoo name or folder of generator and CLIP.
        captions: the prompts, with what they say.
        seeds: of each prompt's images.
        folder: where measurements are kept.
    """

    def __init__(self, model: str, captions: Sequence[Caption], seeds: Sequence[int], folder: Path) -> None:
        self.model, self.folder = model, folder
        self.generator: Generator = load_generator(model).eval()
        self.clip = ClipEncoder.from_pretrained(model).eval()
        self.judge = load_judge(FACES)
        self.captions, self.seeds = list(captions), list(seeds)

    @property
    def digest(self) -> str:
        assert self.generator.identity is not None
        assert self.clip.identity is not None
        texts = [caption.text for caption in self.captions]
        parts = [self.generator.identity.sha256, self.clip.identity.sha256, texts, self.seeds]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

    @property
    def group_size(self) -> int:
        return max(1, GROUP // len(self.seeds))

    def measure(self, name: str, draw: Draw, num_prompts: int | None = None) -> Measured:
        """Draw and measure, or take what a former run has kept under the same name.

        Args:
            name: file name; it must name the method with all its settings and weights.
            draw: the method.
            num_prompts: only the first ones; None for all.
        """
        captions = self.captions[:num_prompts]
        file = self.folder / f"{name}-{len(captions)}-{self.digest}.npz"
        if not file.is_file():
            groups = [captions[i : i + self.group_size] for i in range(0, len(captions), self.group_size)]
            parts = [self._measure_group(draw, group) for group in progress(groups, unit="groups", description=name)]
            joined: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            with replacing(file) as partial, open(partial, "wb") as opened:
                np.savez(opened, **joined)
        with np.load(file) as arrays:
            return Measured(**arrays, num_prompts=len(captions))

    @torch.no_grad()
    def single_image_seconds(self, draw: Draw, num_images: int = 12) -> float:
        """Median CPU time of an image that is drawn alone, from its text to its pixels, once all is warm."""
        taken = []
        for caption in self.captions[: num_images + 1]:
            started = time.process_time()
            drawn = draw(self.clip.encode_text([caption.text]), [caption.text], self.seeds[:1])
            self.generator.synthesize(drawn.latents)
            taken.append(time.process_time() - started)
        return float(np.median(taken[1:]))

    @torch.no_grad()
    def _measure_group(self, draw: Draw, captions: Sequence[Caption]) -> dict[str, NDArray[Any]]:
        """What is kept of some prompts' images, by the names of `Measured`."""
        prompts = [caption.text for caption in captions for _ in self.seeds]
        started = time.process_time()
        texts = self.clip.encode_text([caption.text for caption in captions])
        texts = texts.repeat_interleave(len(self.seeds), dim=0)
        embedded = time.process_time()
        drawn = draw(texts, prompts, self.seeds * len(captions))
        latent_seconds = time.process_time() - embedded if drawn.seconds is None else drawn.seconds
        synthesis = time.process_time()
        images = torch.cat([self.generator.synthesize(batch) for batch in drawn.latents.split(GROUP)])
        seconds = embedded - started + latent_seconds + time.process_time() - synthesis
        embeddings = torch.cat([self.clip.encode_image(batch) for batch in images.split(GROUP)])
        return {
            "embeddings": embeddings.numpy(),
            "clip_scores": (embeddings * texts).sum(dim=1).numpy(),
            "codes": self.judge.classify(images),
            "seconds": np.array([seconds / len(images)]),
            "latent_seconds": np.array([latent_seconds / len(images)]),
        }

    @cached_property
    def own(self) -> NDArray[np.float32]:
        """CLIP embeddings of as many images of the generator's own as a method draws, of random z."""
        file = self.folder / f"own-{self.digest}.npy"
        if not file.is_file():
            z = self.generator.sample_latents(len(self.captions) * len(self.seeds), OWN_SEED)
            with torch.no_grad():
                drawn = [
                    self.clip.encode_image(self.generator.synthesize(self.generator.map(batch)))
                    for batch in progress(z.split(GROUP), unit="batches", description="own images")
                ]
            with replacing(file) as partial, open(partial, "wb") as opened:
                np.save(opened, torch.cat(drawn).numpy())
        return np.load(file)

    def summarize(self, measured: Measured, num_prompts: int | None = None) -> dict[str, Estimate]:
        """Figures by name, each with its 95 % bootstrap interval over prompts.

        `named`: share of named attributes that are there; `complete`: share of images with all of them; `named X` of
        each attribute; `clip_score`; `diversity`: mean cosine distance between images of a prompt; `frechet`: squared
        Frechet distance to the generator's own images in CLIP's space, absent for less than all prompts; `seconds` and
        `latent_seconds` per image. Without several images of a prompt there is no `diversity`.

        Args:
            measured: a method's images.
            num_prompts: of the first ones only; None for all there are.
        """
        prompts = measured.num_prompts if num_prompts is None else min(num_prompts, measured.num_prompts)
        images = len(self.seeds)
        rows = slice(0, prompts * images)
        groups = np.repeat(np.arange(prompts), images)
        captions = [caption for caption in self.captions[:prompts] for _ in range(images)]
        there, named = find_named(FACES, measured.codes[rows], captions)
        embeddings = measured.embeddings[rows].reshape(prompts, images, -1)
        by_attribute = {
            f"named {name}": estimate_mean(there[:, i], groups, named[:, i])
            for i, name in enumerate(FACES.names)
            if named[:, i].any()
        }
        timed = range(-(-prompts // self.group_size))
        figures = {
            "named": estimate_mean(_share(there, named), groups, named.sum(axis=1)),
            "complete": estimate_mean((there | ~named).all(axis=1), groups),
            "clip_score": estimate_mean(measured.clip_scores[rows], groups),
            "seconds": estimate_mean(measured.seconds[timed], timed),
            "latent_seconds": estimate_mean(measured.latent_seconds[timed], timed),
            **by_attribute,
        }
        if images > 1:
            diversities = [pairwise_diversity(part) for part in embeddings]
            figures["diversity"] = estimate_mean(diversities, np.arange(prompts))
        if prompts < len(self.captions):
            return figures
        return figures | {"frechet": estimate_frechet(embeddings, self.own)}


def _share(there: NDArray[np.bool_], named: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of the named attributes `[N]` that are there, of `[N, attributes]`."""
    return (there & named).sum(axis=1) / np.maximum(named.sum(axis=1), 1)


def estimate_frechet(embeddings: NDArray[np.float32], own: NDArray[np.float32], seed: int = 0) -> Estimate:
    """Squared Frechet distance of images `[P, S, E]` to others `[N, E]`, with a bootstrap interval over the P prompts.

    Resampling repeats images, which makes covariances look narrower and the distance larger; so the interval is the
    basic one, the quantiles of the resampled distances mirrored at the distance itself (Davison and Hinkley, 1997,
    section 5.2).
    """
    rng = np.random.default_rng(seed)
    prompts, size = len(embeddings), embeddings.shape[-1]
    value = frechet_distance(embeddings.reshape(-1, size), own)
    draws = rng.integers(prompts, size=(FRECHET_RESAMPLES, prompts))
    resampled = [frechet_distance(embeddings[rows].reshape(-1, size), own) for rows in draws]
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, max(0.0, 2 * value - float(high)), max(0.0, 2 * value - float(low)))
