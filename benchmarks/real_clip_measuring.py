"""What a prior of real embeddings makes of texts: which attributes move, how near the latent is to the image's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from text2latent.apps.evaluation.metrics import CONFIDENCE, RESAMPLES, Estimate
from text2latent.benchmarks.real_clip_data import MatchingPairs, Question
from text2latent.models.priors.diffusion import Guidance, initial_noise, sample
from text2latent.models.priors.prior import Prior
from text2latent.models.priors.schedulers import build_scheduler

TOP = 5
Array = NDArray[np.float64]
Statistic = Callable[[Array], float]
Correction = Callable[[MatchingPairs, MatchingPairs], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Drawing:
    """How latents are drawn.

    Attributes:
        sampler, objective: see `build_scheduler`.
        samples: latents for each text, whose mean counts.
    """

    sampler: str
    objective: str
    steps: int
    guidance: Guidance
    samples: int


@dataclass(frozen=True)
class Answers:
    """What some priors that differ in their seed answered.

    Attributes:
        moves: `[S, Q]`, how far the named attribute moved the right way, in standard deviations over the images.
        among_top: `[S, Q]`, whether it did, and no more than four others moved further, whichever way.
        texts: `[Q]`, which text each question asks.
    """

    moves: Array
    among_top: Array
    texts: NDArray[np.int64]

    def figures(self) -> dict[str, Estimate]:
        """Shares `right_sign` and `top5`, and of the moves the smallest, `worst`, and the mean, `lift`."""
        parts: dict[str, tuple[Array, Statistic]] = {
            "right_sign": (np.float64(1) * (self.moves > 0), np.mean),
            "top5": (self.among_top, np.mean),
            "worst": (self.moves, np.min),
            "lift": (self.moves, np.mean),
        }
        return {name: bootstrap(values, self.texts, how) for name, (values, how) in parts.items()}


def bootstrap(values: Array, texts: NDArray[np.int64], statistic: Statistic, seed: int = 0) -> Estimate:
    """A statistic and its 95 % percentile bootstrap interval, seeds and texts both drawn anew.

    Args:
        values: `[S, Q]`, a row for each seed.
        texts: `[Q]`, which text each column belongs to; those of one text are drawn together.
    """
    rng = np.random.default_rng(seed)
    columns = [np.flatnonzero(texts == text) for text in np.unique(texts)]
    drawn = []
    for _ in range(RESAMPLES):
        rows = rng.integers(len(values), size=len(values))
        chosen = np.concatenate([columns[text] for text in rng.integers(len(columns), size=len(columns))])
        drawn.append(statistic(values[rows[:, None], chosen]))
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(statistic(values)), float(low), float(high))


@torch.no_grad()
def mean_latents(prior: Prior, condition: Tensor, how: Drawing) -> Tensor:
    """Mean `[N, D]` of the latents that are drawn for each of the conditions `[N, E]`, the same noise for all."""
    noise = initial_noise(range(how.samples), prior.latent_shape).repeat(len(condition), 1, 1)
    conditions = condition.repeat_interleave(how.samples, dim=0)
    scheduler = build_scheduler(how.sampler, how.objective)
    drawn = sample(prior, scheduler, conditions, how.steps, how.guidance, noise)
    return drawn.flatten(1).unflatten(0, (len(condition), how.samples)).mean(dim=1)


def judge(latents: Sequence[Tensor], questions: Sequence[Question], names: Sequence[str]) -> Answers:
    """What the mean latents `[Q, A]` of priors of some seeds, standardised attributes of these names, answer."""
    asked = torch.tensor([names.index(question.attribute) for question in questions])[:, None]
    signs = torch.tensor([question.sign for question in questions])
    texts = [question.text for question in questions]
    moves, among_top = [], []
    for moved in latents:
        own = moved.gather(1, asked)
        further = (moved.abs() > own.abs()).sum(dim=1)
        moves.append(signs * own[:, 0])
        among_top.append((moves[-1] > 0) & (further < TOP))
    rows = [torch.stack(part).double().numpy() for part in (moves, among_top)]
    return Answers(rows[0], rows[1], np.array([texts.index(text) for text in texts]))


def retrieve(found: Tensor, own: Tensor) -> tuple[Array, Array]:
    """Cosine `[N]` of each row to its own, and whether no other's is larger `[N]`; both `[N, D]`."""
    cosines = normalize(found, dim=1) @ normalize(own, dim=1).T
    itself = cosines.diagonal()
    first = (cosines > itself[:, None]).sum(dim=1) == 0
    return itself.double().numpy(), first.double().numpy()


def retrieval_figures(results: Sequence[tuple[Array, Array]], prefix: str) -> dict[str, Estimate]:
    """Mean cosine and R@1 of what `retrieve` gave for each seed, with their intervals."""
    texts = np.arange(len(results[0][0]))
    names = (f"{prefix}cosine", f"{prefix}r_at_1")
    return {
        name: bootstrap(np.stack(values), texts, np.mean)
        for name, values in zip(names, zip(*results, strict=True), strict=True)
    }


def _moved(share: float) -> Correction:
    """Texts moved by a share of the difference between the means."""

    def correct(known: MatchingPairs, asked: MatchingPairs) -> tuple[Tensor, Tensor]:
        offset = share * (known.images.mean(dim=0) - known.texts.mean(dim=0))
        return normalize(asked.texts + offset, dim=1), asked.images

    return correct


def _centred(known: MatchingPairs, asked: MatchingPairs) -> tuple[Tensor, Tensor]:
    return asked.texts - known.texts.mean(dim=0), asked.images - known.images.mean(dim=0)


CORRECTIONS: dict[str, Correction] = {
    "as they are": _moved(0.0),
    "texts moved by half the difference of the means": _moved(0.5),
    "texts moved by the whole": _moved(1.0),
    "both centred": _centred,
}
"""What makes texts and images comparable, given pairs that give the means (which images belong to which isn't used)."""


def image_latents(pairs: MatchingPairs, num_train: int, components: int) -> Tensor:
    """Latents `[N, components]` of the pairs' images: principal components of the first ones, of variance 1 there."""
    train = pairs.images[:num_train].double()
    centre = train.mean(dim=0)
    _, values, directions = torch.linalg.svd(train - centre, full_matrices=False)
    scale = values[:components] / num_train**0.5
    return ((pairs.images.double() - centre) @ directions[:components].T / scale).float()
