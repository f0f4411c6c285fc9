import math

import pytest
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from text2latent.configs.errors import UsageError
from text2latent.models.diffusion import RectifiedFlow, guided_velocity, initial_noise, interpolate, sample
from text2latent.models.prior import ResidualMLPPrior


class GaussianVelocity:
    """The exact velocity of the flow between N(mean, std^2 I) and noise; guidance sees the null condition as mean 0."""

    def __init__(self, mean: float, std: float) -> None:
        self.mean, self.std = mean, std
        self.rows: list[int] = []
        self.times: list[float] = []

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor, drop: Tensor | None = None) -> Tensor:
        self.rows.append(len(x))
        self.times.append(float(t[0]))
        t = t[:, None, None]
        mean = torch.full_like(x, self.mean) if drop is None else self.mean * ~drop[:, None, None]
        # Both ends given x are linear in it, with Cov(end, x) / Var(x) as coefficient.
        deviation = (x - (1 - t) * mean) / ((1 - t) ** 2 * self.std**2 + t**2)
        return t * deviation - (mean + (1 - t) * self.std**2 * deviation)

    def denormalize(self, x: Tensor) -> Tensor:
        return 10 * x


def draw(velocity: GaussianVelocity, steps: int, guidance_scale: float = 1.0, n: int = 4000) -> Tensor:
    noise = torch.randn(n, 1, 4, generator=torch.Generator().manual_seed(0))
    return sample(velocity, FlowMatchEulerDiscreteScheduler(), torch.zeros(n, 3), steps, guidance_scale, noise) / 10


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (3.0, 0.5), (-1.0, 2.0)])
def test_exact_velocity_gives_the_data_distribution(mean: float, std: float) -> None:
    drawn = draw(GaussianVelocity(mean, std), steps=100)
    assert drawn.mean() == pytest.approx(mean, abs=0.03)
    assert drawn.std() == pytest.approx(std, rel=0.03)


def test_error_falls_with_the_steps() -> None:
    errors = [abs(draw(GaussianVelocity(0, 0.3), steps).std().item() - 0.3) for steps in (4, 16, 64)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_one_step_lands_on_the_mean() -> None:
    """At t = 1 the state says nothing of the data, so the velocity is noise - mean, and one step gives the mean."""
    torch.testing.assert_close(draw(GaussianVelocity(3.0, 0.5), steps=1), torch.full((4000, 1, 4), 3.0))


@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_evaluation_times_are_evenly_spaced_from_one_and_none_is_wasted(steps: int) -> None:
    velocity = GaussianVelocity(0, 1)
    draw(velocity, steps, n=2)
    assert velocity.times == pytest.approx([1 - i / steps for i in range(steps)])


def test_guidance_is_one_call_that_extrapolates_from_null() -> None:
    velocity = GaussianVelocity(2.0, 0.5)
    x, t = torch.randn(3, 1, 4), torch.full((3,), 0.5)
    plain = velocity(x, t, torch.zeros(3, 3))
    null = velocity(x, t, torch.zeros(3, 3), torch.ones(3, dtype=torch.bool))
    velocity.rows.clear()
    for scale in (0.0, 1.0, 2.5):
        guided = guided_velocity(velocity, x, t, torch.zeros(3, 3), scale)
        torch.testing.assert_close(guided, null + scale * (plain - null))
    assert velocity.rows == [6, 3, 6]


def test_guidance_moves_the_mean() -> None:
    assert draw(GaussianVelocity(1.0, 0.5), 100, guidance_scale=2.0).mean() == pytest.approx(2.0, abs=0.05)


def test_sampling_leaves_noise_and_scheduler_as_they_were() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    before, noise = scheduler.timesteps.clone(), torch.randn(2, 1, 4)
    copy = noise.clone()
    sample(GaussianVelocity(0, 1), scheduler, torch.zeros(2, 3), 4, 1.0, noise)
    assert torch.equal(scheduler.timesteps, before)
    assert scheduler.step_index is None
    assert torch.equal(noise, copy)


def test_interpolation_is_the_schedulers() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    x0, noise = torch.randn(3, 1, 4), torch.randn(3, 1, 4)
    timesteps = scheduler.timesteps[torch.tensor([0, 400, 999])]
    t = timesteps / scheduler.config.num_train_timesteps
    torch.testing.assert_close(interpolate(x0, noise, t), scheduler.scale_noise(x0, timesteps, noise))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=6), st.integers(1, 4))
def test_noise_depends_on_its_own_seed_only(seeds: list[int], draws: int) -> None:
    together = initial_noise(seeds, (2, 3), draws).view(len(seeds), draws, 2, 3)
    for seed, rows in zip(seeds, together, strict=True):
        assert torch.equal(rows, initial_noise([seed], (2, 3), draws))
        assert torch.equal(rows[:1], initial_noise([seed], (2, 3)))
        assert torch.equal(rows[0], torch.randn(2, 3, generator=torch.Generator().manual_seed(seed)))


def test_noise_of_different_draws_differs() -> None:
    assert len(initial_noise([0, 1], (1, 4), 3).unique(dim=0)) == 6
    assert initial_noise([], (1, 4)).shape == (0, 1, 4)


def unit_rows(n: int, size: int = 32, seed: int = 0) -> Tensor:
    return normalize(torch.randn(n, size, generator=torch.Generator().manual_seed(seed)), dim=1)


def low_rank_root(size: int = 32, rank: int = 3) -> Tensor:
    return torch.diag((torch.arange(size) < rank).float())


@pytest.mark.parametrize("noise_covariance", ["isotropic", "data"])
@pytest.mark.parametrize("noise_scale", [0.0, 0.5, 1.0])
def test_pseudo_text_stays_on_the_sphere_at_the_right_distance(noise_covariance: str, noise_scale: float) -> None:
    embeddings = unit_rows(1000, 256)
    flow = RectifiedFlow(noise_scale=noise_scale, noise_covariance=noise_covariance)
    moved = flow.pseudo_text(embeddings, low_rank_root(256, 128), torch.Generator().manual_seed(1))
    torch.testing.assert_close(moved.norm(dim=1), torch.ones(1000))
    # The angle's tangent is |noise| / |embedding| where they are orthogonal, as they nearly are on average.
    cosine = (moved * embeddings).sum(1).mean().item()
    assert cosine == pytest.approx(1 / math.sqrt(1 + noise_scale**2), abs=0.02)


def test_isotropic_noise_has_exactly_the_relative_norm() -> None:
    embeddings, flow = unit_rows(100), RectifiedFlow(noise_scale=0.7, noise_covariance="isotropic")
    moved = flow.pseudo_text(embeddings, low_rank_root(), torch.Generator().manual_seed(1))
    # e + n is a multiple r of the result; |r m - e| = 0.7 must have a real solution r for each row.
    cosine = (moved * embeddings).sum(1)
    r = cosine + (cosine**2 - 1 + 0.7**2).clamp(min=0).sqrt()
    distance = (r[:, None] * moved - embeddings).norm(dim=1)
    torch.testing.assert_close(distance, torch.full((100,), 0.7), atol=1e-3, rtol=0)


def test_data_noise_lies_where_images_differ() -> None:
    embeddings = torch.zeros(50, 32)
    embeddings[:, -1] = 1
    flow = RectifiedFlow(noise_scale=0.5, noise_covariance="data")
    moved = flow.pseudo_text(embeddings, low_rank_root(rank=3), torch.Generator().manual_seed(1))
    assert moved[:, :3].abs().min() > 0
    assert not moved[:, 3:-1].any()


def test_random_noise_level_is_milder_but_not_zero() -> None:
    embeddings, root = unit_rows(2000), low_rank_root(rank=32)
    angles = [
        flow.pseudo_text(embeddings, root, torch.Generator().manual_seed(1)).sub(embeddings).norm(dim=1)
        for random in (False, True)
        for flow in [RectifiedFlow(noise_scale=0.5, noise_covariance="isotropic", random_noise_level=random)]
    ]
    assert 0.3 < (angles[1].mean() / angles[0].mean()) < 0.7
    assert angles[1].std() > 3 * angles[0].std()


def test_mixing_adds_other_rows_of_the_batch_with_weights_up_to_one() -> None:
    embeddings = torch.eye(64)
    flow = RectifiedFlow(noise_scale=0.0, mixed_images=2)
    mixed = flow.mix(embeddings, torch.Generator().manual_seed(0))
    torch.testing.assert_close(mixed.norm(dim=1), torch.ones(64))
    weights = mixed / mixed.diagonal()[:, None]  # relative to the row itself, whose weight is 1 (or more, if drawn too)
    others = (weights - torch.diag(weights.diagonal()) > 0).sum(dim=1)
    assert weights.max() <= 1 + 1e-6
    assert set(others.tolist()) == {0, 1, 2}


def test_mixing_keeps_what_images_share() -> None:
    shared, own = torch.tensor([1.0, 0.0]), torch.randn(512, 30, generator=torch.Generator().manual_seed(0)) / 30**0.5
    embeddings = normalize(torch.cat([shared.expand(512, 2), own], dim=1), dim=1)
    mixed = RectifiedFlow(noise_scale=0.0, mixed_images=3).mix(embeddings, torch.Generator().manual_seed(1))
    assert mixed[:, 0].mean() > embeddings[:, 0].mean() + 0.05
    assert mixed[:, 2:].norm(dim=1).mean() < embeddings[:, 2:].norm(dim=1).mean() - 0.05


def test_uniform_times_are_stratified() -> None:
    t = RectifiedFlow().sample_times(100, torch.device("cpu"), torch.Generator().manual_seed(0))
    assert sorted((t * 100).floor().int().tolist()) == list(range(100))
    assert t.tolist() != sorted(t.tolist())


def test_logit_normal_times_have_its_quantiles() -> None:
    flow = RectifiedFlow(time_sampling="logit_normal")
    t = flow.sample_times(20_000, torch.device("cpu"), torch.Generator().manual_seed(0))
    expected = torch.sigmoid(torch.tensor([-1.0, 0.0, 1.0]))
    found = t.quantile(torch.distributions.Normal(0, 1).cdf(torch.tensor([-1.0, 0.0, 1.0])))
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)


def test_loss_of_an_untrained_prior_is_half_pi() -> None:
    prior, rng = ResidualMLPPrior((1, 8), 4, width=8, depth=1), torch.Generator().manual_seed(0)
    latents = torch.randn(20_000, 1, 8, generator=rng)
    loss = RectifiedFlow().loss(prior, latents, unit_rows(20_000, 4), rng)
    assert loss.item() == pytest.approx(math.pi / 2, rel=0.02)


def test_loss_is_a_function_of_the_generator() -> None:
    prior, latents = ResidualMLPPrior((1, 8), 4, width=8, depth=1), torch.randn(16, 1, 8)
    losses = [
        RectifiedFlow().loss(prior, latents, unit_rows(16, 4), torch.Generator().manual_seed(seed)).item()
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_condition_is_dropped_at_its_rate(rate: float) -> None:
    seen: list[Tensor] = []

    class Watched(ResidualMLPPrior):
        def forward(self, x: Tensor, t: Tensor, condition: Tensor, drop: Tensor | None = None) -> Tensor:
            assert drop is not None
            seen.append(drop)
            return super().forward(x, t, condition, drop)

    prior, rng = Watched((1, 8), 4, width=8, depth=1), torch.Generator().manual_seed(0)
    RectifiedFlow(condition_dropout=rate).loss(prior, torch.randn(4000, 1, 8), unit_rows(4000, 4), rng)
    assert seen[0].float().mean().item() == pytest.approx(rate, abs=0.03)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixed_images": -1}, "mixed_images"),
        ({"noise_covariance": "pink"}, "noise_covariance: expected one of isotropic, data, got 'pink'"),
        ({"time_sampling": "cosine"}, "time_sampling"),
        ({"condition_dropout": 1.5}, "condition_dropout"),
        ({"noise_scale": -1.0}, "noise_scale"),
        ({"noise_scale": math.nan}, "noise_scale"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RectifiedFlow(**changes)


def test_training_learns_a_conditional_distribution() -> None:
    """Two clusters told apart by the embedding: the condition must choose the cluster, and none must give both."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(256) % 2
    embeddings = normalize(torch.eye(4)[labels] + 0.1 * torch.randn(256, 4, generator=rng), dim=1)
    latents = (4.0 * labels - 2.0)[:, None, None] + 0.2 * torch.randn(256, 1, 2, generator=rng)
    prior = ResidualMLPPrior((1, 2), 4, width=32, depth=2)
    prior.set_statistics(latents.mean(0), latents.std(0), embeddings.mean(0), embeddings.T.cov())
    flow, optimizer = RectifiedFlow(noise_scale=0.2), torch.optim.Adam(prior.parameters(), 3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        flow.loss(prior, latents, embeddings, rng).backward()
        optimizer.step()
    condition, noise = torch.eye(4)[torch.arange(200) % 2], initial_noise(range(200), (1, 2))
    scheduler = FlowMatchEulerDiscreteScheduler()
    drawn = sample(prior.eval(), scheduler, condition, 8, 1.0, noise).mean(dim=(1, 2))
    assert ((drawn > 0) == (torch.arange(200) % 2 == 1)).float().mean() > 0.97
    assert drawn.abs().mean() == pytest.approx(2, abs=0.4)
    unconditional = sample(prior, scheduler, condition, 8, 0.0, noise).mean(dim=(1, 2))
    assert 0.3 < (unconditional > 0).float().mean() < 0.7
