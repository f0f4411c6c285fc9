"""Each rival on data whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from text2latent.models.pseudo_text import PseudoText
from text2latent.models.rivals import (
    NearestNeighbours,
    RegressionObjective,
    RegressionPrior,
    VariationalObjective,
    VariationalPrior,
)

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
    prior.set_statistics(latents.mean(0), latents.std(0), embeddings.mean(0), embeddings.T.cov())
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


def test_autoencoder_draws_the_conditional_distribution() -> None:
    prior = train(VariationalPrior, VariationalObjective, 400)
    drawn = prior.draw(torch.eye(E).repeat_interleave(200, 0), range(800)).view(E, 200, 2)
    _, latents, _ = clusters(512)
    means = torch.stack([latents[label::CLUSTERS].mean((0, 1)) for label in range(CLUSTERS)])
    torch.testing.assert_close(drawn.mean(1), means, atol=0.4, rtol=0)
    assert 0.1 < drawn.std(1).mean() < 1.5 * SPREAD


def test_bound_is_below_the_likelihood_of_the_data() -> None:
    """Per dimension, up to the constant 0.5 ln(2 pi e): the entropy of a normal distribution with the spread."""
    prior = train(VariationalPrior, VariationalObjective, 400)
    _, latents, embeddings = clusters(4000, seed=5)
    with torch.no_grad():
        bound = VariationalObjective(PseudoText(noise_scale=0.05)).loss(prior, latents, embeddings)
    entropy = (SPREAD / prior.latent_std).log().mean()
    assert bound > entropy - 0.05


def test_retrieval_is_by_cosine_and_rank() -> None:
    rng = torch.Generator().manual_seed(0)
    embeddings, latents = normalize(torch.randn(50, 8, generator=rng), dim=1), torch.randn(50, 1, 3, generator=rng)
    condition = normalize(torch.randn(6, 8, generator=rng), dim=1)
    ranks = [0, 1, 2, 0, 1, 2]
    order = (condition @ embeddings.T).argsort(dim=1, descending=True)
    expected = torch.stack([latents[order[row, rank]] for row, rank in enumerate(ranks)])
    assert torch.equal(NearestNeighbours(latents, embeddings).draw(condition, ranks), expected)
