"""Groups of cutouts against PyTorch's own record of allocations: a budget is kept, and made use of."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from text2latent.apps.optimize.memory import GIB, cutouts_within, weight_bytes
from text2latent.apps.optimize.task import Goal, Networks, Start
from text2latent.common.errors import UsageError
from text2latent.inference.optimization.augmentations import parse_augmentations
from text2latent.inference.optimization.cutouts import Cutouts
from text2latent.inference.optimization.descent import Descent, DescentSettings
from text2latent.inference.optimization.objectives import ClipObjective
from text2latent.inference.optimization.spaces import TokenSpace
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.generators import load_generator

DECODER = Path(__file__).resolve().parents[2] / "data" / "dalle" / "decoder.pkl"
COUNT = 48


@pytest.fixture(scope="module", params=["stylegan2", "dalle"])
def networks(request: pytest.FixtureRequest, tiny_world: Path) -> Networks:
    generator = load_generator(str(tiny_world) if request.param == "stylegan2" else DECODER)
    return Networks(generator, ClipEncoder.from_pretrained(str(tiny_world)))


@pytest.fixture
def make(networks: Networks) -> Callable[..., Descent]:
    """Function (cutouts at once) -> descent of 48 cutouts."""
    space, x = Start().make(networks, Goal("a man"), 0)
    direction = Goal("a man").embed(networks.clip)[1]
    cutouts = Cutouts(COUNT, augmentations=parse_augmentations(["noise"]))

    def descent(at_once: int | None) -> Descent:
        objective = ClipObjective(networks.clip, direction, cutouts, at_once)
        assert isinstance(space, TokenSpace) == (networks.generator.z_dim > 100)
        return Descent(networks.generator, objective, space, x, DescentSettings(ema_decay=0.5), [0])

    return descent


def within(descent: Descent, networks: list[nn.Module], gib: float) -> int:
    assert isinstance(descent.objective, ClipObjective)
    return cutouts_within(descent, descent.objective, networks, gib)


def peak_bytes(make: Callable[..., Descent], at_once: int) -> int:
    """Most that is allocated at once during two steps, the networks' weights not counted."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        descent = make(at_once)
        descent.step()
        descent.step()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    allocated = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        allocated += event.nbytes()
        peak = max(peak, allocated)
    return peak


def test_a_budget_is_kept_and_used(make: Callable[..., Descent], networks: Networks) -> None:
    parts = [networks.generator, networks.clip]
    weights = weight_bytes(*parts)
    budget = weights + peak_bytes(make, 10)
    fitting = within(make(None), parts, budget / GIB)
    assert weights + peak_bytes(make, fitting) <= budget
    assert fitting >= 3


def test_all_cutouts_at_once_where_there_is_room(make: Callable[..., Descent], networks: Networks) -> None:
    assert within(make(None), [networks.generator, networks.clip], 8.0) == COUNT


def test_too_little_is_refused_with_what_would_do(make: Callable[..., Descent], networks: Networks) -> None:
    parts = [networks.generator, networks.clip]
    with pytest.raises(UsageError, match=r"memory: expected at least .* GiB for one cutout, got 1e-06") as caught:
        within(make(None), parts, 1e-6)
    enough = float(str(caught.value).split("at least ")[1].split(" GiB")[0])
    assert within(make(None), parts, enough) >= 1
