"""Optimisation against its formula by hand, on a small generator and CLIP."""

from pathlib import Path

import pytest
import torch

from text2latent.common.errors import InputError, UsageError
from text2latent.inference.optimization.refine import (
    OPTIMIZERS,
    LatentDistribution,
    Optimization,
    optimize_latents,
    random_cutouts,
)
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.generators import load_generator
from text2latent.models.generators.base import Generator

PLAIN = {"num_cutouts": 2, "min_cutout": 1.0, "jitter": 0.0}


@pytest.fixture(scope="module")
def parts(tiny_world: Path) -> tuple[Generator, ClipEncoder, LatentDistribution]:
    generator = load_generator(str(tiny_world))
    w = generator.map(generator.sample_latents(256, 0))[:, :1]
    distribution = LatentDistribution(w.mean(0), w.std(0))
    return generator, ClipEncoder.from_pretrained(str(tiny_world)), distribution


@pytest.fixture(scope="module")
def start(parts: tuple) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents `[3, 1, 16]` and the texts that they are to come nearer to."""
    generator, clip, _ = parts
    return generator.map(generator.sample_latents(3, 500))[:, :1], clip.encode_text(["a man", "a dog", "眼鏡"])


def score(parts: tuple, latents: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    generator, clip, _ = parts
    return (clip.encode_image(generator.synthesize(latents)) * target).sum(1)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_image_comes_nearer_to_its_text(parts: tuple, start: tuple, optimizer: str) -> None:
    rate = 3.0 if optimizer == "sgd" else 0.05
    settings = Optimization(15, optimizer=optimizer, learning_rate=rate)
    latents = optimize_latents(parts[0], parts[1], start[1], start[0], parts[2], settings, [0, 1, 2])
    assert (score(parts, latents, start[1]) > score(parts, *start)).all()
    assert not latents.requires_grad


def test_one_step_of_sgd_is_the_gradient_of_the_stated_loss(parts: tuple, start: tuple) -> None:
    generator, clip, distribution = parts
    latents, target = start[0] * 3, start[1]
    settings = Optimization(1, optimizer="sgd", learning_rate=0.5, distribution_weight=0.3, **PLAIN)
    moved = optimize_latents(generator, clip, target, latents, distribution, settings, [0, 1, 2])
    x = ((latents - distribution.mean) / distribution.std).requires_grad_()
    images = generator.synthesis((x * distribution.std + distribution.mean).expand(-1, generator.num_ws, -1))
    # Whole cutouts are the image, or it mirrored, as the seed has it.
    mirrored = images.clamp(-1, 1).flip(-1)
    flips = torch.stack(
        [torch.rand(2, 4, generator=torch.Generator().manual_seed(seed))[:, 3] < 0.5 for seed in range(3)]
    )
    plain, mirror = ((clip.encode_image(one) * target).sum(1) for one in (images.clamp(-1, 1), mirrored))
    cosines = torch.where(flips, mirror[:, None], plain[:, None]).mean(1)
    excess = (x.square().mean((1, 2)) - 1).clamp(min=0)
    assert (excess > 0).all()
    (1 - cosines + 0.3 * excess).sum().backward()
    expected = (x - 0.5 * x.grad).detach() * distribution.std + distribution.mean
    torch.testing.assert_close(moved, expected, atol=1e-4, rtol=1e-3)


def test_an_image_does_not_depend_on_its_batch(parts: tuple, start: tuple) -> None:
    settings = Optimization(3)
    together = optimize_latents(*parts[:2], start[1], start[0], parts[2], settings, [7, 8, 9])
    alone = optimize_latents(*parts[:2], start[1][1:2], start[0][1:2], parts[2], settings, [8])
    torch.testing.assert_close(together[1:2], alone, atol=1e-3, rtol=1e-3)
    other = optimize_latents(*parts[:2], start[1][1:2], start[0][1:2], parts[2], settings, [9])
    assert (other - alone).abs().max() > 1e-3


def test_layers_may_move_each_for_itself(parts: tuple, start: tuple) -> None:
    generator = parts[0]
    wide = start[0].expand(-1, generator.num_ws, -1)
    moved = optimize_latents(*parts[:2], start[1], wide, parts[2], Optimization(3), [0, 1, 2])
    assert moved.shape == wide.shape
    assert (moved[:, 0] - moved[:, -1]).abs().max() > 1e-3


def test_no_iterations_change_nothing(parts: tuple, start: tuple) -> None:
    torch.testing.assert_close(
        optimize_latents(*parts[:2], start[1], start[0], parts[2], Optimization(0), [0, 1, 2]), start[0]
    )


def test_steps_are_told(parts: tuple, start: tuple) -> None:
    reported = []
    optimize_latents(
        *parts[:2], start[1], start[0], parts[2], Optimization(3), [0, 1, 2], lambda *step: reported.append(step)
    )
    assert [number for number, _, _ in reported] == [1, 2, 3]
    assert all(latents.shape == start[0].shape and losses.shape == (3,) for _, latents, losses in reported)


def test_penalty_holds_latents_back(parts: tuple, start: tuple) -> None:
    generator, clip, distribution = parts

    def distance(weight: float) -> torch.Tensor:
        settings = Optimization(20, 0.3, distribution_weight=weight)
        latents = optimize_latents(generator, clip, start[1], start[0], distribution, settings, range(3))
        return distribution.penalty(distribution.normalize(latents)).mean()

    assert distance(10.0) < 0.5 * distance(0.0)


def test_typical_latents_are_not_penalised(parts: tuple) -> None:
    rng = torch.Generator().manual_seed(0)
    covariance = torch.tensor([[4.0, 1.8], [1.8, 1.0]])
    distribution = LatentDistribution(torch.ones(1, 2), covariance.diagonal().sqrt()[None], covariance)
    drawn = torch.randn(4000, 1, 2, generator=rng) @ torch.linalg.cholesky(covariance).T + 1
    x = distribution.normalize(drawn)
    offsets = (drawn - 1).flatten(1).double()
    mahalanobis = (torch.linalg.solve(covariance.double(), offsets.T) * offsets.T).sum(0) / 2
    expected = (mahalanobis - 1).clamp(min=0).float()
    torch.testing.assert_close(distribution.penalty(x), expected, atol=1e-4, rtol=1e-4)
    against = distribution.normalize(torch.tensor([[[1.0, 1.0]], [[3.0, 0.0]], [[3.0, 2.0]]]))
    center, across, along = distribution.penalty(against)
    assert center == 0
    assert across > along + 1


def test_channels_that_never_vary_count_as_of_unit_spread() -> None:
    distribution = LatentDistribution(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]))
    torch.testing.assert_close(distribution.normalize(torch.tensor([[[4.0, 3.0]]])), torch.tensor([[[2.0, 3.0]]]))


def test_whole_cutouts_are_the_image_or_its_mirror_image() -> None:
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    cutouts = random_cutouts(images, Optimization(1, num_cutouts=8, min_cutout=1.0, jitter=0.0), generators)
    kinds = set()
    for row, cutout in enumerate(cutouts):
        image = images[row // 8]
        kinds.add(mirrored := bool((cutout - image.flip(-1)).abs().max() < 1e-4))
        assert mirrored or (cutout - image).abs().max() < 1e-4
    assert kinds == {True, False}


def test_cutouts_lie_inside_the_image_and_vary() -> None:
    ramp = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32)
    settings = Optimization(1, num_cutouts=64, min_cutout=0.5, jitter=0.0)
    cutouts = random_cutouts(ramp, settings, [torch.Generator().manual_seed(0)])
    spans = (cutouts[:, 0, 0, -1] - cutouts[:, 0, 0, 0]).abs() / 2 * 32 / 31
    assert 0.45 < spans.min() < 0.6 < 0.9 < spans.max() <= 1.05
    jittered = random_cutouts(
        ramp, Optimization(1, 0.1, num_cutouts=64, min_cutout=1.0), [torch.Generator().manual_seed(0)]
    )
    assert jittered.mean((1, 2, 3)).std() == pytest.approx(0.1, rel=0.3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": -1}, "iterations"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"optimizer": "lion"}, "optimizer: expected one of adam, .*got 'lion'"),
        ({"num_cutouts": 0}, "num_cutouts"),
        ({"min_cutout": 0.0}, "min_cutout"),
        ({"min_cutout": 1.5}, "min_cutout"),
        ({"jitter": -1.0}, "jitter"),
        ({"distribution_weight": float("inf")}, "distribution_weight"),
    ],
)
def test_wrong_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Optimization(**{"iterations": 1, **settings})


def test_latents_that_run_away_are_refused(parts: tuple, start: tuple) -> None:
    with pytest.raises(InputError, match="learning_rate"):
        optimize_latents(
            *parts[:2], start[1], start[0], parts[2], Optimization(3, learning_rate=1e38, optimizer="sgd"), [0, 1, 2]
        )
