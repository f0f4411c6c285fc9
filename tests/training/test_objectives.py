import math

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor
from torch.nn.functional import normalize

from text2latent.common.errors import UsageError
from text2latent.models.priors.diffusion import initial_noise, sample
from text2latent.models.priors.parametrization import COSINE_STEPS, OBJECTIVES, Parametrization, cosine_steps
from text2latent.models.priors.residual_mlp import ResidualMLPPrior
from text2latent.training.objectives import DenoisingObjective
from text2latent.training.pseudo_text import PseudoText

FLOW = Parametrization("flow")


def unit_rows(n: int, size: int = 32, seed: int = 0) -> Tensor:
    return normalize(torch.randn(n, size, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_uniform_times_are_stratified() -> None:
    t = DenoisingObjective(PseudoText()).sample_times(FLOW, 100, torch.device("cpu"), torch.Generator().manual_seed(0))
    assert sorted((t * 100).floor().int().tolist()) == list(range(100))
    assert t.tolist() != sorted(t.tolist())


def test_logit_normal_times_have_its_quantiles() -> None:
    objective = DenoisingObjective(PseudoText(), time_sampling="logit_normal")
    t = objective.sample_times(FLOW, 20_000, torch.device("cpu"), torch.Generator().manual_seed(0))
    expected = torch.sigmoid(torch.tensor([-1.0, 0.0, 1.0]))
    found = t.quantile(torch.distributions.Normal(0, 1).cdf(torch.tensor([-1.0, 0.0, 1.0])))
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)


def test_ddpm_times_are_the_steps_of_the_cosine_schedule() -> None:
    """Each of diffusers' steps as often, with its own share of data."""
    objective, form = DenoisingObjective(PseudoText(), time_sampling="ddpm"), Parametrization("sample")
    t = objective.sample_times(form, 100_000, torch.device("cpu"), torch.Generator().manual_seed(0))
    steps = cosine_steps(t) - 1
    assert steps.bincount(minlength=COSINE_STEPS).sub(100).abs().max() < 50
    kept = DDPMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod
    torch.testing.assert_close(form.levels(t)[0].square(), kept[steps], atol=1e-5, rtol=0)
    flow = objective.sample_times(FLOW, 1000, torch.device("cpu"), torch.Generator().manual_seed(0))
    torch.testing.assert_close((1000 * flow).round(), 1000 * flow)


def test_loss_of_an_untrained_prior_is_half_pi() -> None:
    prior, rng = ResidualMLPPrior((1, 8), 4, width=8, depth=1), torch.Generator().manual_seed(0)
    latents = torch.randn(20_000, 1, 8, generator=rng)
    loss = DenoisingObjective(PseudoText()).loss(prior, latents, unit_rows(20_000, 4), rng)
    assert loss.item() == pytest.approx(math.pi / 2, rel=0.02)


def test_loss_is_a_function_of_the_generator() -> None:
    prior, latents = ResidualMLPPrior((1, 8), 4, width=8, depth=1), torch.randn(16, 1, 8)
    losses = [
        DenoisingObjective(PseudoText())
        .loss(prior, latents, unit_rows(16, 4), torch.Generator().manual_seed(seed))
        .item()
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_condition_is_dropped_at_its_rate(rate: float) -> None:
    seen: list[Tensor] = []

    class Watched(ResidualMLPPrior):
        def forward(self, x: Tensor, t: Tensor, condition: Tensor, drop: Tensor) -> Tensor:
            seen.append(drop)
            return super().forward(x, t, condition, drop)

    prior, rng = Watched((1, 8), 4, width=8, depth=1), torch.Generator().manual_seed(0)
    DenoisingObjective(PseudoText(), condition_dropout=rate).loss(
        prior, torch.randn(4000, 1, 8), unit_rows(4000, 4), rng
    )
    assert seen[0].float().mean().item() == pytest.approx(rate, abs=0.03)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time_sampling": "cosine"}, "time_sampling"),
        ({"condition_dropout": 1.5}, "condition_dropout"),
        ({"loss_weighting": "snr"}, "loss_weighting: expected one of none, min_snr, edm, got 'snr'"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DenoisingObjective(PseudoText(), **changes)


def test_training_learns_a_conditional_distribution() -> None:
    """Two clusters, distinguished by the embedding: the condition must choose the cluster, and none must give both."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(256) % 2
    embeddings = normalize(torch.eye(4)[labels] + 0.1 * torch.randn(256, 4, generator=rng), dim=1)
    latents = (4.0 * labels - 2.0)[:, None, None] + 0.2 * torch.randn(256, 1, 2, generator=rng)
    prior = ResidualMLPPrior((1, 2), 4, width=32, depth=2)
    prior.set_statistics(latents.mean(0), latents.std(0))
    objective, optimizer = DenoisingObjective(PseudoText(noise_scale=0.2)), torch.optim.Adam(prior.parameters(), 3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        objective.loss(prior, latents, embeddings, rng).backward()
        optimizer.step()
    condition, noise = torch.eye(4)[torch.arange(200) % 2], initial_noise(range(200), (1, 2))
    scheduler = FlowMatchEulerDiscreteScheduler()
    drawn = sample(prior.eval(), scheduler, condition, 8, 1.0, noise).mean(dim=(1, 2))
    assert ((drawn > 0) == (torch.arange(200) % 2 == 1)).float().mean() > 0.97
    assert drawn.abs().mean() == pytest.approx(2, abs=0.4)
    unconditional = sample(prior, scheduler, condition, 8, 0.0, noise).mean(dim=(1, 2))
    assert 0.3 < (unconditional > 0).float().mean() < 0.7


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_log_normal_times_are_edms_noise_levels(objective: str) -> None:
    """EDM draws ln sigma from N(-1.2, 1.2^2) for data of deviation 1/2, so twice that sigma for data of deviation 1."""
    form = Parametrization(objective)
    drawn = DenoisingObjective(PseudoText(), time_sampling="log_normal").sample_times(
        form, 20_000, torch.device("cpu"), torch.Generator().manual_seed(0)
    )
    a, s = form.levels(drawn)
    log_sigma = (s / a / 2).log()
    assert log_sigma.mean() == pytest.approx(-1.2, abs=0.03)
    assert log_sigma.std() == pytest.approx(1.2, abs=0.03)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_edm_weights_make_the_untrained_loss_one_at_all_times(objective: str) -> None:
    form, t = Parametrization(objective), torch.tensor([0.1, 0.4, 0.9])
    x0, noise = torch.randn(2, 3, 20_000, 4, generator=torch.Generator().manual_seed(0))
    skip, _, _ = form.preconditioning(t)
    error = form.target(x0, noise, t) - skip[:, None, None] * form.mix(x0, noise, t)
    weights = DenoisingObjective(PseudoText(), loss_weighting="edm").weights(form, t)
    torch.testing.assert_close(weights * error.square().mean(dim=(1, 2)), torch.ones(3), atol=0.02, rtol=0)


def data(form: Parametrization, x: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
    """The x0 that a prediction for the mixture x stands for, solved from the mixture and the target."""
    a, s = (level[:, None, None] for level in form.levels(t))
    return {
        "flow": lambda: x - s * prediction,
        "epsilon": lambda: (x - s * prediction) / a,
        "sample": lambda: prediction,
        "v": lambda: a * x - s * prediction,
    }[form.objective]()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_min_snr_weighs_the_error_of_x0_by_the_bounded_ratio(objective: str) -> None:
    form, t = Parametrization(objective), torch.tensor([0.1, 0.3, 0.5, 0.9])
    a, s = form.levels(t)
    x, one, other = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    error_of_data = (data(form, x, one, t) - data(form, x, other, t)).square().mean(dim=(1, 2))
    expected = (a / s).square().clamp(max=5) * error_of_data
    weights = DenoisingObjective(PseudoText(), loss_weighting="min_snr").weights(form, t)
    torch.testing.assert_close(weights * (one - other).square().mean(dim=(1, 2)), expected)
