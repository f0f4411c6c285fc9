from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor, nn

from text2latent.zoo.fit.adversarial import (
    AdversarialPlan,
    AdversarialTraining,
    Batch,
    discriminator_loss,
    generator_loss,
    r1_penalty,
)
from text2latent.zoo.fit.fitting import FitPlan, run_steps

FIT = FitPlan(num_steps=6, lr=0.01, betas=(0.0, 0.99), warmup_steps=1, anneal=False, ema_decay=0.5, log_every=2)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_losses_by_their_formulas():
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])
    expected = (softplus(-2.0) + softplus(1.0)) / 2 + (softplus(0.5) + softplus(-3.0)) / 2
    assert discriminator_loss(real, fake).item() == pytest.approx(expected, rel=1e-6)
    assert generator_loss(fake).item() == pytest.approx((softplus(-0.5) + softplus(3.0)) / 2, rel=1e-6)


def test_each_network_wants_logits_to_go_its_way():
    real, fake = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    discriminator_loss(real, fake).backward()
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()
    fake.grad = None
    generator_loss(fake).backward()
    assert (fake.grad < 0).all()


def test_r1_of_a_quadratic_form():
    """The gradient of x'Ax / 2 + b'x is Ax + b for symmetric A."""
    rng = torch.Generator().manual_seed(0)
    matrix, b = torch.randn(12, 12, generator=rng), torch.randn(12, generator=rng)
    matrix = ((matrix + matrix.T) / 2).requires_grad_()
    x = torch.randn(5, 3, 2, 2, generator=rng)

    def score(images: Tensor) -> Tensor:
        rows = images.flatten(1)
        return ((rows @ matrix) * rows).sum(dim=1) / 2 + rows @ b

    penalty = r1_penalty(score, x)
    gradients = x.flatten(1) @ matrix + b
    assert penalty.item() == pytest.approx(gradients.square().sum(dim=1).mean().item(), rel=1e-5)
    (found,) = torch.autograd.grad(penalty, matrix)
    (expected,) = torch.autograd.grad(gradients.square().sum(dim=1).mean(), matrix)
    torch.testing.assert_close(found + found.T, expected + expected.T)


def test_r1_is_computed_in_float32_under_autocast():
    seen = []

    def score(images: Tensor) -> Tensor:
        products = images.flatten(1) @ torch.ones(4, 1)
        seen.append(products.dtype)
        return products[:, 0]

    with torch.autocast("cpu", torch.bfloat16):
        assert r1_penalty(score, torch.zeros(2, 1, 2, 2)).item() == pytest.approx(4)
    assert seen == [torch.float32]


class Judge(nn.Module):
    """A discriminator of a few weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 8), nn.Softplus(), nn.Linear(8, 1))

    def forward(self, images: Tensor, w: Tensor) -> Tensor:
        return self.layers(images)[:, 0].float() + w.sum(dim=1) * 0.1


def draw(network: nn.Module, w: Tensor) -> Tensor:
    return network(w).unflatten(1, (3, 4, 4))


def regression(images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {"l1": (images - targets).abs().mean(), "l2": (images - targets).square().mean()}


def make_training(seed: int = 0, **settings: float) -> AdversarialTraining[nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AdversarialTraining(nn.Linear(5, 48), Judge(), draw, regression, AdversarialPlan(FIT, **settings))


def batch_of(step: int) -> Batch:
    rng = torch.Generator().manual_seed(step)
    w = torch.rand(4, 5, generator=rng)
    return Batch(torch.rand(4, 3, 4, 4, generator=rng) * 2 - 1, w, w + 0.1 * torch.rand(4, 5, generator=rng))


def steps_of(training: AdversarialTraining[nn.Module]):
    def steps(first: int):
        for step in range(first, FIT.num_steps):
            yield training.step(step, batch_of(step))

    return steps


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_two_steps_change_both_networks_and_the_average_lags_behind():
    training = make_training()
    before = {name: weights(training.parts[name]) for name in ("network", "discriminator")}
    for step in range(2):
        logged = training.step(step, batch_of(step))
    for name, old in before.items():
        for key, tensor in weights(training.parts[name]).items():
            assert not torch.equal(tensor, old[key]), key
    assert {"discriminator", "real", "fake", "adversarial", "l1", "l2"} == logged.keys()
    assert not torch.equal(training.mean_network.weight, training.network.weight)


def test_without_regression_the_distances_are_told_but_move_nothing():
    training = make_training(regression_weight=0.0, adversarial_weight=0.0)
    before = weights(training.network)
    logged = training.step(0, batch_of(0))
    assert logged["l1"] > 0
    for key, tensor in weights(training.network).items():
        assert torch.equal(tensor, before[key]), key


def test_the_generators_step_is_by_the_weighted_sum():
    """The generator is judged by the discriminator as it is after its own step, which is how it is found here."""
    training = make_training(regression_weight=0.5, adversarial_weight=2.0)
    images = draw(training.network, batch_of(0).vague_w)
    training.step(0, batch_of(0))
    found = training.network.weight.grad
    distances = regression(images, batch_of(0).images)
    with torch.autocast("cpu", torch.bfloat16):
        logits = training.discriminator(images, batch_of(0).w)
    loss = 2.0 * generator_loss(logits) + 0.5 * (distances["l1"] + distances["l2"])
    (expected,) = torch.autograd.grad(loss, images)
    torch.testing.assert_close(found, expected.flatten(1).T @ batch_of(0).vague_w, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(("index", "counts"), [(0, True), (1, False), (15, False), (16, True)])
def test_r1_counts_in_every_sixteenth_step(index, counts):
    strong, none = make_training(r1_gamma=100.0), make_training(r1_gamma=0.0)
    gradients = []
    for training in (strong, none):
        training.step(index, batch_of(0))
        gradients.append(training.discriminator.layers[1].weight.grad)
    assert torch.equal(*gradients) != counts


def test_an_interrupted_and_resumed_run_equals_an_uninterrupted_one(tmp_path):
    straight = make_training()
    run_steps(steps_of(straight), straight.parts, FIT, tmp_path / "straight", lambda step: None)
    broken = make_training()
    short = FitPlan(**{**vars(FIT), "num_steps": 3})
    run_steps(steps_of(broken), broken.parts, short, tmp_path / "broken", lambda step: None)
    resumed = make_training(seed=1)
    run_steps(steps_of(resumed), resumed.parts, FIT, tmp_path / "broken", lambda step: None)
    for name in ("network", "average", "discriminator"):
        for key, tensor in straight.parts[name].state_dict().items():
            assert torch.equal(tensor, resumed.parts[name].state_dict()[key]), (name, key)
    logged = [json.loads(line) for line in (tmp_path / "straight" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged] == [2, 4, 6]


def test_the_discriminator_learns_to_tell_bad_images():
    """Against a generator that stands still, logits of real images come to exceed those of drawn ones."""
    training = make_training(regression_weight=0.0, adversarial_weight=0.0, discriminator_lr=0.01)
    for step in range(100):
        logged = training.step(step, batch_of(step))
    assert logged["real"] > logged["fake"] + 0.5
