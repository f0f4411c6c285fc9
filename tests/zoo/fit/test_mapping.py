from __future__ import annotations

from functools import partial
from statistics import NormalDist

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from text2latent.zoo.fit.fitting import FitPlan, fit
from text2latent.zoo.fit.generator import make_generator
from text2latent.zoo.fit.mapping import HALF_WIDTH, fit_mapping, mapping_loss, start_as_steps
from text2latent.zoo.world import W_SCALE, load_world

FACES = load_world("faces")
LOSS = partial(mapping_loss, world=FACES)


class Exact(nn.Module):
    """A mapping network that has learned everything."""

    def forward(self, z: Tensor) -> Tensor:
        return FACES.latents(*FACES.meaning(z))


def test_mapping_loss_is_the_error_in_units_of_a_value():
    assert mapping_loss(Exact(), 3, FACES)[0].item() == 0
    halfway = nn.Module()
    halfway.forward = lambda z: FACES.latents(*FACES.meaning(z)) + 0.5 * W_SCALE
    assert mapping_loss(halfway, 3, FACES)[0].item() == pytest.approx(0.25)


def test_mapping_loss_draws_its_z_from_the_step():
    mapping = make_generator(FACES, 32).mapping
    with torch.no_grad():
        losses = [mapping_loss(mapping, step, FACES)[0].item() for step in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_mapping_learns(tmp_path):
    plan = FitPlan(num_steps=15, lr=4e-3, warmup_steps=3, anneal=False, ema_decay=0.5)
    mapping = make_generator(FACES, 32).mapping
    before = mapping_loss(mapping, 10**6, FACES)[0].item()
    assert mapping_loss(fit(mapping, LOSS, plan, tmp_path), 10**6, FACES)[0].item() < 0.85 * before


def first_layers(z: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs of the first and second layer of a mapping network that starts as steps."""
    mapping = make_generator(FACES, 32).mapping
    start_as_steps(mapping, FACES)
    with torch.no_grad():
        first = mapping.get_submodule("fc0")(z)
        return first, mapping.get_submodule("fc1")(first)


def test_the_second_layer_starts_as_a_step_where_each_attribute_changes():
    places = [(axis, NormalDist().inv_cdf(k / size)) for axis, size in enumerate(FACES.sizes) for k in range(1, size)]
    z = torch.randn(400, 32, generator=torch.Generator().manual_seed(0))
    steps = first_layers(z)[1][:, : len(places)].numpy()
    assert start_as_steps(make_generator(FACES, 32).mapping, FACES) == len(places)
    for index, (axis, place) in enumerate(places):
        position = (z[:, axis].numpy() - place) / HALF_WIDTH
        ramp = np.interp(position, [-1, 1], [0.4, 2.0])
        expected = np.sqrt(2) * np.where(ramp > 1.2, ramp - 1.2, 0.2 * (ramp - 1.2))
        np.testing.assert_allclose(steps[:, index], expected, atol=2e-3)


def test_the_other_units_bend_at_quantiles_of_the_nuisances():
    mapping = make_generator(FACES, 32).mapping
    num_steps = start_as_steps(mapping, FACES)
    layer = mapping.get_submodule("fc0")
    bends = (len(layer.weight) - 2 * num_steps) // len(FACES.nuisances)
    last = slice(2 * num_steps, 2 * num_steps + bends)
    axis = len(FACES.sizes)
    gains = layer.weight[last].detach() * layer.weight_gain
    torch.testing.assert_close(gains, torch.eye(32)[axis].expand(bends, -1))
    np.testing.assert_allclose(
        -layer.bias[last].detach(), [NormalDist().inv_cdf(k / (bends + 1)) for k in range(1, bends + 1)], atol=1e-5
    )


def test_steps_are_found_sooner_than_from_a_random_start(tmp_path):
    plan = FitPlan(num_steps=60, lr=2e-3, warmup_steps=10, anneal=False, ema_decay=0.5)
    losses = []
    for prepare in (start_as_steps, lambda mapping, world: None):
        mapping = make_generator(FACES, 32).mapping
        prepare(mapping, FACES)
        fitted = fit(mapping, LOSS, plan, tmp_path / str(len(losses)))
        losses.append(mapping_loss(fitted, 10**6, FACES)[0].item())
    assert losses[0] < 0.9 * losses[1]


def test_fitting_goes_on_where_it_was(tmp_path, monkeypatch):
    plan = FitPlan(num_steps=2, lr=1e-3, warmup_steps=1, log_every=1, save_every=1)
    monkeypatch.setattr("text2latent.zoo.fit.mapping.make_plan", lambda world: plan)
    first = fit_mapping(make_generator(FACES, 32).mapping, FACES, tmp_path).state_dict()
    again = fit_mapping(make_generator(FACES, 32).mapping, FACES, tmp_path).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
