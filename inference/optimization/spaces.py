"""Where optimisation moves: free numbers `x`, the latents that they stand for, and what keeps them sensible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from text2latent.common.errors import UsageError

if TYPE_CHECKING:
    from text2latent.models.generators.base import Generator

VARIANCE_FLOOR = 1e-3
STATISTICS_SAMPLES, STATISTICS_BATCH, STATISTICS_SEED = 2048, 256, 1 << 40
"""Random latents whose mean and covariance stand for a generator's, with seeds that no image is likely to have."""
CLASS_LOGIT_MEAN, CLASS_LOGIT_STD = -3.9, 0.3
CLASS_WEIGHT, MOMENT_WEIGHT = 50.0, 4.0
LOSS_UNIT = 100.0
"""Big Sleep's loss is 100 times a cosine; its regularisers are divided by that to stand beside a plain cosine."""


class LatentSpace(Protocol):
    """What optimisation needs to know of `x` `[N, L, D]`, N images of L tokens.

    Attributes:
        penalty_weight: weight of the penalty where none is asked for.
    """

    penalty_weight: float

    def latents(self, x: Tensor, generators: Sequence[torch.Generator] | None = None) -> Tensor:
        """What the generator takes, `[N, L, w_dim]`; random where generators, one per image, are given."""

    def penalty(self, x: Tensor) -> Tensor:
        """How far from sensible each image's `x` is, `[N]`, in units of a cosine; 0 is best."""


class LatentDistribution:
    """A normal distribution of latents, from their statistics; `x` are standard deviations from the mean.

    Args:
        mean: `[L, D]`.
        std: `[L, D]`, standard deviations; channels that never vary count as 1.
        covariance: `[L * D, L * D]`; None takes the channels as independent.
    """

    penalty_weight = 0.1

    def __init__(self, mean: Tensor, std: Tensor, covariance: Tensor | None = None) -> None:
        self.mean = mean
        self.std = torch.where(std > 1e-6, std, torch.ones_like(std))
        self.whitening = None if covariance is None else self._whiten(covariance)

    @classmethod
    def of_samples(cls, latents: Tensor) -> LatentDistribution:
        """Distribution of latents `[N, 1, D]`, N at least 2, with their covariance."""
        rows = latents[:, 0]
        return cls(rows.mean(dim=0)[None], rows.std(dim=0)[None], torch.cov(rows.T))

    @classmethod
    def of_generator(cls, generator: Generator) -> LatentDistribution:
        """Distribution of a generator's w, of random z."""
        seeds = range(STATISTICS_SEED, STATISTICS_SEED + STATISTICS_SAMPLES, STATISTICS_BATCH)
        return cls.of_samples(torch.cat([generator.sample_w(STATISTICS_BATCH, seed)[:, :1] for seed in seeds]))

    def _whiten(self, covariance: Tensor) -> Tensor:
        """Inverse square root of the correlation matrix; directions of hardly any variance count as little ones."""
        scale = self.std.flatten().double()
        values, vectors = torch.linalg.eigh(covariance.double() / scale[:, None] / scale)
        return (vectors * values.clamp(min=VARIANCE_FLOOR).rsqrt() @ vectors.T).to(self.mean.dtype)

    def normalize(self, latents: Tensor) -> Tensor:
        """Latents `[N, L, D]` in standard deviations from the mean."""
        return (latents - self.mean) / self.std

    def denormalize(self, x: Tensor) -> Tensor:
        """Latents `[N, L, D]` of `x`, which is in standard deviations from the mean."""
        return x * self.std + self.mean

    def latents(self, x: Tensor, generators: Sequence[torch.Generator] | None = None) -> Tensor:
        return self.denormalize(x)

    def penalty(self, x: Tensor) -> Tensor:
        """How far normalised latents `x` `[N, L, D]` are beyond a typical distance from the mean, `[N]`.

        The squared Mahalanobis distance over its number of dimensions is 1 on average; what exceeds that counts.
        With L = 1 in the statistics, every token of `x` is held against them.
        """
        tokens = x if self.whitening is None else x.reshape(-1, len(self.whitening)) @ self.whitening
        distance = tokens.reshape(len(x), -1).square().mean(dim=1)
        return F.relu(distance - 1)


class LayerSpace(LatentDistribution):
    """A distribution of latents whose layers move together at first, and later each for itself, but not far apart.

    What layers differ in is held against them (e4e's delta regularisation, arXiv:2102.02766, sec. 4.1): latents whose
    layers are alike are those that the generator was trained on, and that edits are made for.

    Args:
        base: the distribution of each layer.
        spread_weight: weight of the mean squared deviation of layers from their mean, beside `penalty`.

    Attributes:
        tied: whether all layers are one.
    """

    def __init__(self, base: LatentDistribution, spread_weight: float) -> None:
        self.mean, self.std, self.whitening = base.mean, base.std, base.whitening
        self.spread_weight, self.tied = spread_weight, False

    def latents(self, x: Tensor, generators: Sequence[torch.Generator] | None = None) -> Tensor:
        return super().latents(x.mean(dim=1, keepdim=True).expand_as(x) if self.tied else x)

    def penalty(self, x: Tensor) -> Tensor:
        spread = (x - x.mean(dim=1, keepdim=True)).square().mean(dim=(1, 2))
        return super().penalty(x) + self.spread_weight * spread


def top_classes(logits: Tensor, count: int, temperature: float) -> Tensor:
    """Weights of the `count` likeliest classes, the others 0; differentiable.

    The i-th likeliest class weighs what a softmax over those not yet taken gives it, as in Big Sleep: 1 for a class
    that stands out, less for one among equals.

    Args:
        logits: `[..., C]`.
        count: classes to keep, at most C.
        temperature: positive; the lower, the more the likeliest stands out.

    Returns:
        `[..., C]`, at most `count` of them other than 0, each in [0, 1].
    """
    ordered, order = (logits / temperature).sort(dim=-1, descending=True)
    remaining = ordered.flip(-1).logcumsumexp(dim=-1).flip(-1)
    kept = (ordered - remaining).exp()[..., :count]
    return torch.zeros_like(logits).scatter(-1, order[..., :count], kept)


class ClassConditionalSpace:
    """`x` = (z, class logits) of BigGAN, with Big Sleep's regularisers.

    Args:
        embedding: `[E, C]`, columns are the classes' embeddings.
        z_dim: the first channels of `x`, followed by C logits.
        max_classes: classes that a token may mix; None allows all, each with the sigmoid of its logit as weight.
        temperature: of the choice among them, see `top_classes`.

    Raises:
        UsageError: for more classes than there are, or a temperature that isn't positive.
    """

    penalty_weight = 1.0

    def __init__(self, embedding: Tensor, z_dim: int, max_classes: int | None = None, temperature: float = 2.0) -> None:
        count = embedding.shape[1]
        if max_classes is not None and not 1 <= max_classes <= count:
            raise UsageError(f"max_classes: expected a whole number from 1 to {count}, got {max_classes}")
        if not temperature > 0:
            raise UsageError(f"class_temperature: expected a number > 0, got {temperature}")
        self.embedding, self.z_dim = embedding, z_dim
        self.max_classes, self.temperature = max_classes, temperature

    def start(self, num_tokens: int, generators: Sequence[torch.Generator]) -> Tensor:
        """Random `x` `[N, num_tokens, z_dim + C]`, normal; the logits such that each class weighs about 0.02."""
        count = self.embedding.shape[1]
        rows = [torch.randn(num_tokens, self.z_dim + count, generator=generator) for generator in generators]
        x = torch.stack(rows).to(self.embedding.device)
        return torch.cat([x[..., : self.z_dim], CLASS_LOGIT_MEAN + CLASS_LOGIT_STD * x[..., self.z_dim :]], dim=-1)

    def classes(self, x: Tensor) -> Tensor:
        """Soft class vectors `[N, L, C]` in [0, 1]."""
        logits = x[..., self.z_dim :]
        if self.max_classes is None:
            return logits.sigmoid()
        return top_classes(logits, self.max_classes, self.temperature)

    def latents(self, x: Tensor, generators: Sequence[torch.Generator] | None = None) -> Tensor:
        """See `LatentSpace`: z and the mixed class embedding; nothing is random."""
        return torch.cat([x[..., : self.z_dim], self.classes(x) @ self.embedding.T], dim=-1)

    def penalty(self, x: Tensor) -> Tensor:
        """Distance of each token's z from a standard normal sample (its first four moments), and of classes from 0.

        Big Sleep's terms: |1 - std| + |mean| + 4 max(mean square, 1) + |skewness| + |excess kurtosis|, averaged over
        tokens, and the mean square of 50 times all class weights but the largest; over `LOSS_UNIT`.
        """
        z, classes = x[..., : self.z_dim], self.classes(x)
        mean, std = z.mean(dim=-1, keepdim=True), z.std(dim=-1, keepdim=True)
        scores = (z - mean) / std.clamp(min=1e-6)
        shape = scores.pow(3).mean(dim=-1).abs() + (scores.pow(4).mean(dim=-1) - 3).abs()
        spread = (1 - std[..., 0]).abs() + mean[..., 0].abs() + shape
        power = MOMENT_WEIGHT * (z.square().mean(dim=(-2, -1)).clamp(min=1) - 1)
        minor = classes.square().sum(dim=-1) - classes.amax(dim=-1).square()
        crowd = CLASS_WEIGHT**2 * minor / max(1, classes.shape[-1] - 1)
        return (spread.mean(dim=-1) + power + crowd.mean(dim=-1)) / LOSS_UNIT


class TokenSpace:
    """`x` = logits `[N, positions, codes]` of a discrete autoencoder, softened or sampled.

    Args:
        temperature: positive; the latents are the logits over it.
        gumbel: add Gumbel noise during optimisation, so that their softmax is a Gumbel-softmax (arXiv:1611.01144).

    Raises:
        UsageError: for a temperature that isn't positive.
    """

    penalty_weight = 0.0

    def __init__(self, temperature: float = 1.0, gumbel: bool = False) -> None:
        if not temperature > 0:
            raise UsageError(f"token_temperature: expected a number > 0, got {temperature}")
        self.temperature, self.gumbel = temperature, gumbel

    def latents(self, x: Tensor, generators: Sequence[torch.Generator] | None = None) -> Tensor:
        if self.gumbel and generators is not None:
            x = x + torch.stack([_gumbel(x.shape[1:], generator) for generator in generators]).to(x)
        return x / self.temperature

    def penalty(self, x: Tensor) -> Tensor:
        """Nothing: any logits are sensible."""
        return x.new_zeros(len(x))


def _gumbel(shape: torch.Size, generator: torch.Generator) -> Tensor:
    return -torch.empty(shape).exponential_(generator=generator).log()
