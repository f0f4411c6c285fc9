"""The descent on a small generator and CLIP: groups, accumulation, averaging, resuming, every optimiser, divergence."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from text2latent.common.errors import UsageError
from text2latent.inference.optimization.augmentations import parse_augmentations
from text2latent.inference.optimization.cutouts import Cutouts, cut, draw_views
from text2latent.inference.optimization.descent import Descent, DescentSettings, Diverged
from text2latent.inference.optimization.objectives import ClipObjective
from text2latent.inference.optimization.optimizers import optimizer_classes
from text2latent.inference.optimization.spaces import LatentDistribution
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.generators import load_generator

Make = Callable[..., Descent]


@pytest.fixture(scope="module")
def make(tiny_world: Path) -> Make:
    generator, clip = load_generator(str(tiny_world)), ClipEncoder.from_pretrained(str(tiny_world))
    space = LatentDistribution.of_samples(generator.map(generator.sample_latents(256, 0))[:, :1])
    start = space.normalize(generator.map(generator.sample_latents(1, 500))[:, :1])
    target = clip.encode_text(["a man"])

    def descent(seeds: tuple[int, ...] = (0,), **settings: object) -> Descent:
        cutouts, at_once = settings.pop("cutouts", Cutouts(3)), settings.pop("at_once", None)
        how, count = DescentSettings(**{"loss_scale": 100.0, **settings}), len(seeds)
        objective = ClipObjective(clip, target.expand(count, -1), cutouts, at_once)
        return Descent(generator, objective, space, start.expand(count, -1, -1), how, seeds)

    return descent


def walk(descent: Descent, steps: int) -> torch.Tensor:
    for _ in range(steps):
        descent.step()
    return descent.x


@pytest.mark.parametrize("size", [1, 2])
def test_groups_of_cutouts_change_nothing(make: Make, size: int) -> None:
    cutouts = Cutouts(3, augmentations=parse_augmentations(["rotation", "noise"]))
    whole = walk(make((0, 1), cutouts=cutouts), 2)
    torch.testing.assert_close(walk(make((0, 1), cutouts=cutouts, at_once=size), 2), whole, atol=2e-3, rtol=1e-3)


def test_accumulated_gradients_are_the_mean_of_draws(make: Make) -> None:
    descent = make(optimizer="sgd", learning_rate=1.0, accumulate=2, penalty_weight=0.0)
    before = descent.x.clone()
    gradients = []
    other = make(optimizer="sgd", learning_rate=1.0, penalty_weight=0.0)
    for _ in range(2):
        with torch.enable_grad():
            other._set_gradients()
        gradients.append(other.parameters[0].grad.clone())
    walk(descent, 1)
    torch.testing.assert_close(before - descent.x, (sum(gradients) / 2)[None], atol=1e-4, rtol=1e-3)


def test_average_follows_the_way(make: Make) -> None:
    descent, plain = make(ema_decay=0.5), make()
    way = [walk(plain, 1).clone() for _ in range(3)]
    # Weights 1/4, 1/2, 1 over their sum, as a moving average has that leaves its start out.
    torch.testing.assert_close(walk(descent, 3), (way[0] / 4 + way[1] / 2 + way[2]) / 1.75, atol=1e-4, rtol=1e-4)


def test_going_on_is_the_same_as_not_stopping(make: Make, tmp_path: Path) -> None:
    expected = walk(make(ema_decay=0.3), 4)
    first = make(ema_decay=0.3)
    walk(first, 2)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = make(ema_decay=0.3)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(walk(second, 2), expected)
    assert second.iteration == 4


@pytest.mark.parametrize("name", optimizer_classes())
def test_every_optimizer_of_torch_takes_a_step(make: Make, name: str) -> None:
    descent = make(optimizer=name, learning_rate=0.01)
    before = descent.x.clone()
    assert walk(descent, 1).isfinite().all()
    assert (descent.x - before).abs().max() > 0


def test_avoided_phrases_push_away(make: Make) -> None:
    towards, away = make(), make()
    away.objective.direction = -away.objective.direction
    scores = []
    for descent in (towards, away):
        walk(descent, 15)
        scores.append(float((towards.objective.clip.encode_image(descent.draw()) * towards.objective.direction).sum()))
    assert scores[0] > scores[1]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_numbers_that_run_away_are_told_with_their_iteration(make: Make, optimizer: str) -> None:
    descent = make(optimizer=optimizer, learning_rate=1e38)
    with pytest.raises(
        Diverged, match=r"learning_rate: 1e\+38 gives NaN or infinite latents in iteration \d"
    ) as caught:
        walk(descent, 5)
    assert caught.value.iteration == descent.iteration


def test_sizes_are_normal_within_bounds_and_places_gather_at_the_centre() -> None:
    def draw(**settings: float) -> tuple[torch.Tensor, torch.Tensor]:
        views = draw_views(
            Cutouts(4000, 0.5, 0.95, **settings), [torch.Generator().manual_seed(0)], torch.device("cpu")
        )
        size = views.affine[:, 1, 1]
        return size, views.affine[:, :, 2] / (1 - size)[:, None]

    size, place = draw(mean_size=0.8, std_size=0.1)
    assert (size.min(), size.max()) == (0.5, 0.95)
    inside = size[(size > 0.5) & (size < 0.95)]
    assert float(size.median()) == pytest.approx(0.8, abs=0.01)
    assert float((inside < 0.7).float().mean()) == pytest.approx(0.17, abs=0.03)
    uniform_size, _ = draw()
    assert float(uniform_size.mean()) == pytest.approx(0.725, abs=0.01)
    _, centred = draw(center_bias=2.0)
    assert float(centred.std()) == pytest.approx(0.5, abs=0.05)
    assert float(place.std()) == pytest.approx(3**-0.5, abs=0.02)


def test_cutouts_are_augmented_each_for_itself() -> None:
    cutouts = Cutouts(4, 1.0, jitter=0.0, augmentations=parse_augmentations(["noise:0.2"]))
    views = draw_views(cutouts, [torch.Generator().manual_seed(0)], torch.device("cpu"))
    seen = cut(torch.zeros(1, 3, 8, 8), views, cutouts.augmentations)
    assert len(seen.flatten(1).unique(dim=0)) == 4
    assert torch.equal(cut(torch.zeros(1, 3, 8, 8), views.split(3)[1], cutouts.augmentations), seen[3:])


@pytest.mark.parametrize(
    "settings",
    [
        {"min_size": 0.0},
        {"max_size": 1.1},
        {"min_size": 0.9, "max_size": 0.5},
        {"std_size": -1.0},
        {"center_bias": -1.0},
    ],
)
def test_wrong_cutouts_are_refused(settings: dict) -> None:
    with pytest.raises(UsageError, match=r"cutouts\."):
        Cutouts(**settings)


def test_learning_rate_falls_to_nothing_as_a_cosine(make: Make) -> None:
    descent = make(learning_rate=0.2, decay_over=4)
    rates = []
    for _ in range(5):
        walk(descent, 1)
        rates.append(descent.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.2, 0.1 * (1 + 0.5**0.5), 0.1, 0.1 * (1 - 0.5**0.5), 0.0], abs=1e-9)
