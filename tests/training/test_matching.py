from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from text2latent.common.errors import UsageError
from text2latent.models.priors.diffusion import initial_noise, sample
from text2latent.models.priors.residual_mlp import ResidualMLPPrior
from text2latent.models.priors.schedulers import build_scheduler
from text2latent.training.matching import Matching
from text2latent.training.objectives import DenoisingObjective
from text2latent.training.pseudo_text import PseudoText


def unit_rows(n: int, size: int, seed: int) -> Tensor:
    return normalize(torch.randn(n, size, generator=torch.Generator().manual_seed(seed)), dim=1)


def numbered(n: int, first: int = 0) -> Tensor:
    """Latents `[n, 1, 2]` that tell the number of their pair."""
    return torch.arange(first, first + n).float()[:, None, None].expand(-1, 1, 2).contiguous()


def test_the_best_of_all_is_found_as_numpy_finds_it():
    pool, own, condition = (unit_rows(n, 6, seed) for seed, n in enumerate((50, 8, 8)))
    found = Matching(numbered(50).half(), pool, 1000)(condition, numbered(8, 50), own)
    cosines = condition.numpy() @ pool.numpy().T
    own_cosines = (condition * own).sum(1).numpy()
    expected = np.where(cosines.max(1) > own_cosines, cosines.argmax(1), 50 + np.arange(8))
    assert found.dtype == torch.float32
    assert found[:, 0, 0].tolist() == expected.tolist()


def test_a_pair_that_fits_perfectly_keeps_its_latent():
    pool, own = unit_rows(50, 6, 0), unit_rows(8, 6, 1)
    assert torch.equal(Matching(numbered(50), pool, 50)(own, numbered(8, 50), own), numbered(8, 50))


@given(candidates=st.integers(1, 40), seed=st.integers(0, 10_000))
def test_what_is_found_never_fits_less_and_lies_in_one_run(candidates: int, seed: int):
    pool, own, condition = unit_rows(30, 4, seed), unit_rows(9, 4, seed + 1), unit_rows(9, 4, seed + 2)
    rng = torch.Generator().manual_seed(seed)
    found = Matching(numbered(30), pool, candidates)(condition, numbered(9, 30), own, rng)[:, 0, 0].long()
    fits = (condition * torch.cat([pool, own])[found]).sum(dim=1)
    assert (fits >= (condition * own).sum(dim=1) - 1e-6).all()
    others = found[found < 30]
    assert len(others) == 0 or others.max() - others.min() < candidates
    assert (found[found >= 30] == torch.arange(30, 39)[found >= 30]).all()


def test_candidates_follow_from_the_generator_and_change():
    pool, own, condition = unit_rows(400, 4, 0), unit_rows(16, 4, 1), unit_rows(16, 4, 2)
    matching = Matching(numbered(400), pool, 20)
    draws = [matching(condition, numbered(16), own, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize(("pairs", "candidates"), [(10, 0), (10, -1), (0, 5)])
def test_no_candidates_are_refused(pairs, candidates):
    with pytest.raises(UsageError, match="match_among: expected a count >= 1"):
        Matching(numbered(pairs), unit_rows(pairs, 4, 0), candidates)


def test_a_prior_learns_what_is_found():
    """The pairs of the batches have latents that tell nothing; those that are looked through tell the embedding."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    pool, batch = unit_rows(2000, 4, 0), unit_rows(256, 4, 1)
    clean = 2 * pool[:, :1].sign()[:, None].expand(-1, 1, 2)
    prior = ResidualMLPPrior((1, 2), 4, width=32, depth=2)
    prior.set_statistics(torch.zeros(1, 2), 2 * torch.ones(1, 2), batch.mean(0), batch.T.cov())
    objective = DenoisingObjective(PseudoText(noise_scale=0.5), matching=Matching(clean, pool, 500))
    optimizer = torch.optim.Adam(prior.parameters(), 3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        objective.loss(prior, torch.zeros(256, 1, 2), batch, rng).backward()
        optimizer.step()
    condition = unit_rows(200, 4, 2)
    condition = condition[condition[:, 0].abs() > 0.5]
    noise = initial_noise(range(len(condition)), (1, 2))
    drawn = sample(prior.eval(), build_scheduler("euler", "flow"), condition, 8, 1.0, noise).mean(dim=(1, 2))
    assert (drawn.sign() == condition[:, 0].sign()).float().mean() > 0.95
    assert drawn.abs().mean() == pytest.approx(2, abs=0.5)
