"""Each rival on data whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from text2latent.benchmarks.priors.rivals import (
    DECODER_STD,
    NearestNeighbours,
    RegressionObjective,
    RegressionPrior,
    VariationalObjective,
    VariationalPrior,
)
from text2latent.training.pseudo_text import PseudoText

CLUSTERS, E = 4, 4
SPREAD = 0.5


def clusters(n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Latents around a centre for each embedding: labels, latents `[n, 1, 2]`, embeddings."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % CLUSTERS
    centres = torch.tensor([[-3.0, 0.0], [3.0, 0.0], [0.0, 3.0], [0.0, -3.0]])
    latents = centres[labels][:, None] + SPREAD * torch.randn(n, 1, 2, generator=rng)
    return labels, latents, normalize(torch.eye(E)[labels] + 0.05 * torch.randn(n, E, generator=rng), dim=1)


def train(kind: type[RegressionPrior], objective: Callable[[PseudoText], Any], steps: int) -> RegressionPrior:
    torch.manual_seed(0)
    _, latents, embeddings = clusters(512)
    prior = kind((1, 2), E, width=32, depth=2)
    prior.set_statistics(latents.mean(0), latents.std(0))
    loss, optimizer = objective(PseudoText(noise_scale=0.05)).loss, torch.optim.Adam(prior.parameters(), 3e-3)
    rng = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(prior, latents, embeddings, rng).backward()
        optimizer.step()
    return prior.eval()


def test_regressor_gives_the_mean_whatever_the_seed() -> None:
    prior = train(RegressionPrior, RegressionObjective, 200)
    drawn = prior.draw(torch.eye(E), range(E))
    _, latents, _ = clusters(512)
    means = torch.stack([latents[label::CLUSTERS].mean(0) for label in range(CLUSTERS)])
    torch.testing.assert_close(drawn, means, atol=0.25, rtol=0)
    assert torch.equal(drawn, prior.draw(torch.eye(E), range(10, 10 + E)))


@pytest.fixture(scope="module")
def autoencoder() -> RegressionPrior:
    return train(VariationalPrior, VariationalObjective, 600)


def test_autoencoder_draws_the_conditional_distribution(autoencoder: RegressionPrior) -> None:
    drawn = autoencoder.draw(torch.eye(E).repeat_interleave(200, 0), range(800)).view(E, 200, 2)
    _, latents, _ = clusters(512)
    means = torch.stack([latents[label::CLUSTERS].mean((0, 1)) for label in range(CLUSTERS)])
    torch.testing.assert_close(drawn.mean(1), means, atol=0.4, rtol=0)
    torch.testing.assert_close(drawn.std(1), torch.full((E, 2), SPREAD), atol=0.2, rtol=0)


def test_bound_is_above_the_entropy_of_the_data_and_near(autoencoder: RegressionPrior) -> None:
    """The loss is the bound per dimension over the decoder's precision, but for the constant of a normal density."""
    _, latents, embeddings = clusters(4000, seed=5)
    objective = VariationalObjective(PseudoText(noise_scale=0.05))
    with torch.no_grad():
        loss = objective.loss(autoencoder, latents, embeddings, torch.Generator().manual_seed(0))
    bound = loss / DECODER_STD**2 + math.log(DECODER_STD) + 0.5 * math.log(2 * math.pi)
    entropy = (SPREAD / autoencoder.latent_std).log().mean() + 0.5 * math.log(2 * math.pi * math.e)
    assert entropy - 0.03 < bound < entropy + 0.4


def test_retrieval_is_by_cosine_and_rank() -> None:
    rng = torch.Generator().manual_seed(0)
    embeddings, latents = normalize(torch.randn(50, 8, generator=rng), dim=1), torch.randn(50, 1, 3, generator=rng)
    condition = normalize(torch.randn(6, 8, generator=rng), dim=1)
    ranks = [0, 1, 2, 0, 1, 2]
    order = (condition @ embeddings.T).argsort(dim=1, descending=True)
    expected = torch.stack([latents[order[row, rank]] for row, rank in enumerate(ranks)])
    assert torch.equal(NearestNeighbours(latents, embeddings).draw(condition, ranks), expected)
