"""Every sampler with the exact denoiser of a normal distribution: it must draw that distribution."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from text2latent.common.errors import UsageError
from text2latent.models.priors.diffusion import initial_noise, sample
from text2latent.models.priors.parametrization import Parametrization
from text2latent.models.priors.schedulers import (
    CONFIG_FILE,
    DEFAULTS,
    PREDICTION_TYPES,
    RESPACED,
    SAMPLERS,
    build_scheduler,
    load_scheduler,
    scheduler_class,
    set_steps,
)

MEAN, STD = 3.0, 0.5
UNCLIPPED = {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing", "clip_sample": False}
COMBINATIONS = [("flow", sampler) for sampler in SAMPLERS["flow"]] + [
    (objective, sampler) for objective in PREDICTION_TYPES for sampler in SAMPLERS["diffusion"]
]


class GaussianDenoiser:
    """The exact prediction of any objective for data ~ N(MEAN, STD^2 I)."""

    def __init__(self, objective: str) -> None:
        self.form = Parametrization(objective)
        self.calls = 0

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor, drop: Tensor | None = None) -> Tensor:
        self.calls += 1
        a, s = (level[:, None, None] for level in self.form.levels(t))
        deviation = (x - a * MEAN) / (a**2 * STD**2 + s**2)
        x0, noise = MEAN + a * STD**2 * deviation, s * deviation
        return self.form.target(x0, noise, t)

    def denormalize(self, x: Tensor) -> Tensor:
        return x


def draw(objective: str, sampler: str, steps: int, n: int = 400) -> tuple[Tensor, GaussianDenoiser]:
    denoiser = GaussianDenoiser(objective)
    noise = torch.randn(n, 1, 8, generator=torch.Generator().manual_seed(0))
    scheduler = build_scheduler(sampler, objective)
    return sample(denoiser, scheduler, torch.zeros(n, 3), steps, 1.0, noise), denoiser


@pytest.mark.parametrize(("objective", "sampler"), COMBINATIONS)
def test_exact_denoiser_gives_the_data_distribution(objective: str, sampler: str) -> None:
    drawn, denoiser = draw(objective, sampler, 50)
    assert drawn.mean() == pytest.approx(MEAN, abs=0.03)
    # Ancestral sampling converges slowly, and from below.
    assert drawn.std() == pytest.approx(STD, rel=0.1 if sampler == "ddpm" else 0.04)
    assert denoiser.calls == (99 if sampler == "heun" else 50)


@pytest.mark.parametrize(("objective", "sampler"), COMBINATIONS)
def test_one_step_gives_the_mean(objective: str, sampler: str) -> None:
    drawn, denoiser = draw(objective, sampler, 1, 4)
    torch.testing.assert_close(drawn, torch.full((4, 1, 8), MEAN), atol=0.02, rtol=0)
    assert denoiser.calls == 1


@pytest.mark.parametrize(
    ("objective", "sampler"),
    [("sample", "ddpm"), ("epsilon", "ddim"), ("v", "dpm++"), ("v", "heun"), ("flow", "euler"), ("flow", "dpm++")],
)
def test_thousand_steps_give_the_data_distribution(objective: str, sampler: str) -> None:
    drawn, denoiser = draw(objective, sampler, 1000, 100)
    assert drawn.mean() == pytest.approx(MEAN, abs=0.05)
    assert drawn.std() == pytest.approx(STD, rel=0.05)
    assert denoiser.calls == {"heun": 1999, "dpm++": 1000 if objective == "flow" else 996}.get(sampler, 1000)


def test_rows_of_a_stochastic_sampler_depend_on_their_own_seed_only() -> None:
    scheduler, denoiser = build_scheduler("ddpm", "sample"), GaussianDenoiser("sample")
    noise = initial_noise([5, 6, 7], (1, 8))
    together = sample(denoiser, scheduler, torch.zeros(3, 3), 7, 1.0, noise)
    alone = sample(denoiser, scheduler, torch.zeros(1, 3), 7, 1.0, noise[1:2])
    assert torch.equal(together[1:2], alone)
    assert (together[0] - together[2]).abs().min() > 0


@pytest.mark.parametrize(("objective", "sampler"), COMBINATIONS)
def test_times_fall_and_scheduler_survives_its_config(objective: str, sampler: str) -> None:
    scheduler = build_scheduler(sampler, objective)
    loaded = load_scheduler({**scheduler.config, "_class_name": scheduler.name})
    assert loaded == scheduler
    times = set_steps(loaded.to_diffusers(), 10, torch.device("cpu"))
    assert times.max() <= 1
    assert times.min() > 0
    assert (times.diff() <= 0).all()


def test_sampler_for_another_objective_is_refused() -> None:
    with pytest.raises(UsageError, match="for objective flow, got 'ddim'"):
        build_scheduler("ddim", "flow")
    with pytest.raises(UsageError, match="sampler: expected one of ddpm, ddim"):
        build_scheduler("euler", "v")


@pytest.mark.parametrize("name", sorted(set(DEFAULTS) - {RESPACED}))
def test_defaults_are_diffusers(name: str) -> None:
    found = scheduler_class(name)().config
    assert {key: value for key, value in found.items() if not key.startswith("_")} == DEFAULTS[name]


@pytest.mark.parametrize(("objective", "sampler"), COMBINATIONS)
def test_file_is_the_one_that_diffusers_writes(objective: str, sampler: str, tmp_path: Path) -> None:
    scheduler = build_scheduler(sampler, objective)
    scheduler.save_pretrained(tmp_path / "ours")
    scheduler.to_diffusers().save_pretrained(tmp_path / "theirs")
    written, expected = (json.loads((tmp_path / name / CONFIG_FILE).read_text()) for name in ("ours", "theirs"))
    assert written == expected
    assert load_scheduler(written) == scheduler


@pytest.mark.parametrize(
    ("config", "ours"),
    [
        ({}, True),
        ({"shift": 1.0}, True),
        ({"shift": 3.0}, False),
        ({"_class_name": "DDIMScheduler"}, False),
        ({"_class_name": "DDIMScheduler", **UNCLIPPED, "prediction_type": "sample"}, True),
        ({"_class_name": "DDPMScheduler", **UNCLIPPED, "variance_type": "fixed_large"}, False),
        ({"_class_name": "DPMSolverMultistepScheduler"}, False),
    ],
)
def test_functions_of_ours_draw_with_the_settings_that_they_know(config: dict[str, object], ours: bool) -> None:
    assert (load_scheduler(config).draws_with is not None) == ours


def test_foreign_scheduler_is_refused() -> None:
    with pytest.raises(UsageError, match="'PNDMScheduler': expected one of FlowMatchEuler"):
        load_scheduler({"_class_name": "PNDMScheduler"})


def test_clip2latents_way_is_kept_and_is_no_class_of_diffusers(tmp_path: Path) -> None:
    loaded = load_scheduler({"_class_name": RESPACED})
    assert loaded.config == DEFAULTS[RESPACED]
    assert loaded.draws_with is not None
    loaded.save_pretrained(tmp_path)
    assert load_scheduler(json.loads((tmp_path / CONFIG_FILE).read_text(encoding="utf-8"))) == loaded
    with pytest.raises(UsageError, match="no other tool than this one"):
        loaded.to_diffusers()
    with pytest.raises(UsageError, match="RespacedDDPMScheduler: expected"):
        load_scheduler({"_class_name": RESPACED, "beta_schedule": "linear"})


def test_clip2latents_way_through_all_steps_is_ddpms() -> None:
    """Where no step is left out, its variance is DDPM's."""
    denoiser, noise = GaussianDenoiser("sample"), initial_noise([0, 1], (1, 8))
    ways = load_scheduler({"_class_name": RESPACED}), build_scheduler("ddpm", "sample")
    one, other = (sample(denoiser, way, torch.zeros(2, 4), 1000, 1.0, noise) for way in ways)
    torch.testing.assert_close(one, other)
