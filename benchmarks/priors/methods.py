"""The methods that a comparison of priors measures: from text embeddings to latents, each in its own way."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from text2latent.benchmarks.priors.measuring import Bench, Draw, Drawn
from text2latent.benchmarks.priors.rivals import NearestNeighbours, RegressionPrior
from text2latent.common.files import replacing
from text2latent.inference.optimization.refine import LatentDistribution, Optimization, optimize_latents
from text2latent.inference.pipeline import Settings, Text2LatentPipeline
from text2latent.models.generators.layouts import to_w
from text2latent.models.priors.diffusion import Guidance, initial_noise, sample
from text2latent.models.priors.folder import TrainedPrior
from text2latent.models.priors.prior import Prior


def random_latents(bench: Bench) -> Draw:
    """The generator's own latents, whatever the text says."""

    def draw(texts: Tensor, prompts: list[str], seeds: list[int]) -> Drawn:
        z = torch.cat([bench.generator.sample_latents(1, start) for start in start_seeds(prompts, seeds)])
        return Drawn(bench.generator.map(z))

    return draw


def retrieval(bench: Bench, latents: Tensor, embeddings: Tensor) -> Draw:
    """The training pairs nearest to the text: the first image is of the nearest, the second of the next, and so on."""
    neighbours = NearestNeighbours(latents.float(), embeddings.float())

    def draw(texts: Tensor, prompts: list[str], seeds: list[int]) -> Drawn:
        return Drawn(neighbours.draw(texts, [seed - bench.seeds[0] for seed in seeds]))

    return draw


def regression(prior: RegressionPrior) -> Draw:
    """A regressor, or the decoder of an autoencoder."""

    def draw(texts: Tensor, prompts: list[str], seeds: list[int]) -> Drawn:
        return Drawn(prior.draw(prior.text_condition(texts), start_seeds(prompts, seeds)))

    return draw


def diffusion(bench: Bench, prior: Prior, scheduler: Any, steps: int, guidance: float | Guidance) -> Draw:
    def draw(texts: Tensor, prompts: list[str], seeds: list[int]) -> Drawn:
        noise = initial_noise(start_seeds(prompts, seeds), prior.latent_shape)
        latents = sample(prior, scheduler, prior.text_condition(texts), steps, guidance, noise)
        return Drawn(to_w(latents, prior.latent_layout, bench.generator))

    return draw


def controlled(bench: Bench, prior: Prior, scheduler: Any, settings: Settings) -> Draw:
    """A prior with all that the pipeline can do, such as reranking and refining."""
    assert bench.generator.identity is not None
    assert bench.clip.identity is not None
    record = {"generator": bench.generator.identity.to_dict(), "clip": bench.clip.identity.to_dict()}
    pipeline = Text2LatentPipeline(bench.generator, bench.clip, TrainedPrior(prior, scheduler, record))

    def draw(texts: Tensor, prompts: list[str], seeds: list[int]) -> Drawn:
        starts = start_seeds(prompts, seeds)
        return Drawn(torch.cat([part.latents for part in pipeline.stream(prompts, starts, settings)]))

    return draw


@dataclass(frozen=True)
class Snapshot:
    """Candidates of some images at a step of their optimisation.

    Attributes:
        latents: `[N, candidates, 1, w_dim]`.
        scores: `[N, candidates]`, CLIP scores.
        seconds: CPU time of all candidates of all images up to this step.
    """

    latents: Tensor
    scores: Tensor
    seconds: float


class OptimizationTrials:
    """CLIP-guided optimisation (Adam) from the generator's random latents, with several starts per image.

    Fewer steps and fewer starts are part of the run of most steps and starts; so one run serves all of them, and each
    is charged its own share of the time. Runs are kept in files, so that they need not be repeated.

    Args:
        bench: prompts and networks.
        distribution: where latents are to stay.
        steps: after how many gradient steps to look.
        candidates: starts per image.
    """

    def __init__(self, bench: Bench, distribution: LatentDistribution, steps: Sequence[int], candidates: int) -> None:
        self.bench, self.distribution = bench, distribution
        self.steps, self.candidates = sorted(steps), candidates

    def method(self, steps: int, best_of: int) -> Draw:
        """Drawing with some number of steps and starts; of the starts, the one of the highest CLIP score counts."""

        def draw(texts: Tensor, prompts: list[str], seeds: list[int]) -> Drawn:
            parts = [self._run(*row) for row in zip(texts, prompts, seeds, strict=True)]
            chosen = [part[steps].latents[part[steps].scores[:best_of].argmax()] for part in parts]
            seconds = sum(part[steps].seconds for part in parts) * best_of / self.candidates
            return Drawn(torch.stack(chosen), seconds)

        return draw

    def _run(self, text: Tensor, prompt: str, seed: int) -> dict[int, Snapshot]:
        name = f"optimized-{zlib.crc32(prompt.encode()):08x}-{seed}-{self.candidates}-{self.steps[-1]}"
        file = self.bench.folder / f"{name}-{self.bench.digest}.pt"
        if not file.is_file():
            snapshots = self._optimize(text, start_seed(prompt, seed))
            with replacing(file) as partial:
                torch.save({step: vars(snapshot) for step, snapshot in snapshots.items()}, partial)
        return {step: Snapshot(**kept) for step, kept in torch.load(file, weights_only=True).items()}

    def _optimize(self, text: Tensor, seed: int) -> dict[int, Snapshot]:
        found: dict[int, Snapshot] = {}
        target = text.expand(self.candidates, -1)
        seeds = [seed + candidate for candidate in range(self.candidates)]
        started = time.process_time()

        def look(step: int, latents: Tensor, losses: Tensor) -> None:
            if step in self.steps:
                seconds = time.process_time() - started
                images = self.bench.generator.synthesize(latents)
                scores = (self.bench.clip.encode_image(images) * target).sum(dim=1)
                found[step] = Snapshot(latents.clone(), scores.detach(), seconds)

        z = torch.cat([self.bench.generator.sample_latents(1, one) for one in seeds])
        w = self.bench.generator.map(z)[:, :1]
        how = Optimization(self.steps[-1])
        optimize_latents(self.bench.generator, self.bench.clip, target, w, self.distribution, how, seeds, look)
        return found


def start_seeds(prompts: Sequence[str], seeds: Sequence[int]) -> list[int]:
    return [start_seed(*row) for row in zip(prompts, seeds, strict=True)]


def start_seed(prompt: str, seed: int) -> int:
    """A seed that differs between prompts, so that what a text leaves open isn't the same in all prompts' images."""
    return 10 * (zlib.crc32(prompt.encode()) + seed)
