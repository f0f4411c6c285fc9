import pytest
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from text2latent.common.errors import UsageError
from text2latent.models.priors.diffusion import Guidance, guided_prediction, initial_noise, sample
from text2latent.models.priors.parametrization import Parametrization


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
        guided = guided_prediction(velocity, x, t, torch.zeros(3, 3), scale)
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
    torch.testing.assert_close(Parametrization("flow").mix(x0, noise, t), scheduler.scale_noise(x0, timesteps, noise))


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


def test_guidance_holds_in_its_interval_only() -> None:
    velocity = GaussianVelocity(1.0, 0.5)
    noise = torch.randn(3, 1, 4, generator=torch.Generator().manual_seed(0))
    guidance = Guidance(2.0, (0.25, 0.85))
    sample(velocity, FlowMatchEulerDiscreteScheduler(), torch.zeros(3, 3), 10, guidance, noise)
    guided = [time for time, rows in zip(velocity.times, velocity.rows, strict=True) if rows == 6]
    assert guided == pytest.approx([0.8, 0.7, 0.6, 0.5, 0.4, 0.3])


def test_rescaled_guidance_keeps_the_deviation_of_the_plain_prediction() -> None:
    velocity = GaussianVelocity(2.0, 0.5)
    x, t, condition = torch.randn(3, 2, 8), torch.full((3,), 0.5), torch.zeros(3, 3)
    plain, guided = (guided_prediction(velocity, x, t, condition, scale) for scale in (1.0, 3.0))
    rescaled, half = (guided_prediction(velocity, x, t, condition, 3.0, rescale) for rescale in (1.0, 0.5))
    torch.testing.assert_close(rescaled.std(dim=(1, 2)), plain.std(dim=(1, 2)))
    torch.testing.assert_close(half, (rescaled + guided) / 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"interval": (0.8, 0.3)}, "interval"), ({"interval": (0.0, 1.5)}, "interval"), ({"rescale": 1.5}, "rescale")],
)
def test_wrong_guidance_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Guidance(2.0, **settings)
