"""A flow between two clusters and noise, distilled: few steps must then draw what many do."""

from __future__ import annotations

import copy

import pytest
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor
from torch.nn.functional import normalize

from text2latent.common.errors import InputError
from text2latent.models.priors.diffusion import initial_noise, sample
from text2latent.models.priors.residual_mlp import ResidualMLPPrior
from text2latent.training.distillation import Reflow
from text2latent.training.objectives import DenoisingObjective
from text2latent.training.pseudo_text import PseudoText

PSEUDO_TEXT = PseudoText(noise_scale=0.1)


@pytest.fixture(scope="module")
def embeddings() -> Tensor:
    noise = torch.randn(128, 4, generator=torch.Generator().manual_seed(0))
    return normalize(torch.eye(4)[torch.arange(128) % 2] + 0.1 * noise, dim=1)


@pytest.fixture(scope="module")
def teacher(embeddings: Tensor) -> ResidualMLPPrior:
    """Of latents that are -2 or 2 whatever the embedding."""
    torch.manual_seed(0)
    signs = torch.where(torch.rand(128, generator=torch.Generator().manual_seed(1)) < 0.5, -1.0, 1.0)
    latents = (2 * signs[:, None, None]).expand(-1, 1, 2) + 0.1 * torch.randn(128, 1, 2)
    prior = ResidualMLPPrior((1, 2), 4, width=32, depth=2)
    prior.set_statistics(latents.mean(0), latents.std(0))
    fit(prior, DenoisingObjective(PSEUDO_TEXT), latents, embeddings, 400)
    return prior.eval()


def fit(prior: ResidualMLPPrior, objective: object, latents: Tensor, embeddings: Tensor, steps: int) -> None:
    rng, optimizer = torch.Generator().manual_seed(0), torch.optim.Adam(prior.parameters(), 3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        objective.loss(prior, latents, embeddings, rng).backward()
        optimizer.step()


def draw(prior: ResidualMLPPrior, embeddings: Tensor, steps: int) -> Tensor:
    noise = initial_noise(range(len(embeddings)), (1, 2))
    return sample(prior, FlowMatchEulerDiscreteScheduler(), embeddings, steps, 1.0, noise)[:, 0, 0]


def test_student_draws_in_one_step_what_the_teacher_draws_in_many(
    teacher: ResidualMLPPrior, embeddings: Tensor
) -> None:
    student = copy.deepcopy(teacher).requires_grad_(True).train()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    fit(student, Reflow(teacher, PSEUDO_TEXT), torch.zeros(128, 1, 2), embeddings, 300)
    many = draw(teacher, embeddings, 50)
    assert (many.abs() - 2).abs().mean() < 0.4
    errors = [(draw(prior.eval(), embeddings, 1) - many).abs().mean() for prior in (teacher, student)]
    assert errors[0] > 1.5  # one step of the teacher gives the mean of both clusters
    assert errors[1] < 0.25 * errors[0]
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_loss_follows_from_the_generator_and_ignores_latents(teacher: ResidualMLPPrior, embeddings: Tensor) -> None:
    objective = Reflow(teacher, PSEUDO_TEXT)
    losses = [
        objective.loss(teacher, latents, embeddings, torch.Generator().manual_seed(seed)).item()
        for seed, latents in ((0, torch.zeros(128, 1, 2)), (0, torch.ones(128, 1, 2)), (1, torch.zeros(128, 1, 2)))
    ]
    assert losses[0] == losses[1] != losses[2]


def test_null_conditions_follow_the_teachers_null(teacher: ResidualMLPPrior, embeddings: Tensor) -> None:
    noise = torch.randn(4, 1, 2)
    objective = Reflow(teacher, PSEUDO_TEXT)
    dropped = [objective.solve(noise, rows, torch.ones(4, dtype=torch.bool)) for rows in embeddings.split(4)[:2]]
    torch.testing.assert_close(dropped[0], dropped[1])


def test_teacher_of_another_objective_is_refused() -> None:
    with pytest.raises(InputError, match="expected a trained flow to distil, this one's objective is v"):
        Reflow(ResidualMLPPrior((1, 2), 4, width=8, depth=1, objective="v"), PSEUDO_TEXT)
