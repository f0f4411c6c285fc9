"""Pivotal tuning on a small generator: it draws the pictures, keeps what is nearby, and its folder names its parent."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from text2latent import Text2LatentPipeline
from text2latent.common.errors import InputError, UsageError
from text2latent.inference.projection.loss import LossWeights, PictureObjective
from text2latent.inference.projection.tuning import Tuning, TuningSettings
from text2latent.models.generators import load_generator
from text2latent.models.generators.base import Generator
from text2latent.models.generators.formats.folder import save_tuned

PIXELS = LossWeights(structure=0.0, features=0.0)


@pytest.fixture
def generator(tiny_world: Path) -> Generator:
    return load_generator(str(tiny_world))


@pytest.fixture
def pictures() -> Tensor:
    ramp = torch.linspace(-1, 1, 32)
    return torch.stack([ramp.expand(3, 32, 32), ramp[:, None].expand(3, 32, 32)])


def tuned(generator: Generator, pictures: Tensor, **settings: float) -> tuple[Tuning, list[Tensor]]:
    pivots = generator.sample_w(len(pictures), 0)
    how = TuningSettings(**{"steps": 40, "learning_rate": 5e-3, **settings})
    tuning = Tuning(generator, PictureObjective(pictures, PIXELS), pivots, how, seed=1)
    return tuning, list(tuning.run())


def drift(tuning: Tuning) -> float:
    """How much images of random latents have changed."""
    latents = tuning.generator.sample_w(32, 900)
    return float((tuning.tuned.synthesize(latents) - tuning.generator.synthesize(latents)).square().mean())


def test_pictures_are_drawn_and_the_generator_itself_stays(generator: Generator, pictures: Tensor) -> None:
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    tuning, losses = tuned(generator, pictures)
    assert (losses[-1] < 0.5 * losses[0]).all()
    assert all(torch.equal(before[name], value) for name, value in generator.state_dict().items())
    assert not any(parameter.requires_grad for parameter in tuning.tuned.parameters())
    changed = [name for name, value in tuning.tuned.state_dict().items() if not torch.equal(before[name], value)]
    assert changed
    assert all(name.startswith("synthesis.") and "noise_const" not in name for name in changed)


def test_locality_keeps_what_is_nearby(generator: Generator, pictures: Tensor) -> None:
    free, _ = tuned(generator, pictures, locality_weight=0.0)
    kept, _ = tuned(generator, pictures, locality_weight=3.0, locality_distance=3.0)
    assert drift(kept) < 0.7 * drift(free)


def test_noise_maps_move_when_asked_for(generator: Generator, pictures: Tensor) -> None:
    tuning, _ = tuned(generator, pictures, steps=2, noise=True)
    maps = [name for name, _ in generator.named_buffers() if name.endswith("noise_const")]
    now, before = tuning.tuned.state_dict(), generator.state_dict()
    assert maps
    assert not any(torch.equal(now[name], before[name]) for name in maps)
    assert not any(buffer.requires_grad for buffer in tuning.tuned.buffers())


def test_nearby_latents_lie_at_the_distance_asked_for(generator: Generator, pictures: Tensor) -> None:
    tuning, _ = tuned(generator, pictures, steps=1, locality_distance=0.5)
    one, other = (tuning._nearby(step) - tuning.pivots for step in (0, 0))
    assert torch.equal(one, other)
    lengths = one.square().mean(dim=(1, 2)).sqrt()
    torch.testing.assert_close(lengths[0], lengths[1])
    assert not torch.equal(tuning._nearby(1) - tuning.pivots, one)


def test_a_tuned_folder_is_a_generator_that_names_its_parent(
    generator: Generator, pictures: Tensor, tiny_model: Path, tmp_path: Path
) -> None:
    tuning, _ = tuned(generator, pictures, steps=2)
    written = save_tuned(tuning.tuned, tmp_path / "tuned")
    loaded = load_generator(str(tmp_path / "tuned"))
    assert generator.identity is not None
    assert loaded.identity is not None
    assert loaded.identity.parents == written.parents == ((generator.identity.name, generator.identity.sha256),)
    assert loaded.identity.sha256 == written.sha256 != generator.identity.sha256
    latents = generator.sample_w(1, 5)
    torch.testing.assert_close(loaded.synthesize(latents), tuning.tuned.synthesize(latents))
    with pytest.warns(UserWarning, match=r"was tuned from .*, which this prior was trained with"):
        pipeline = Text2LatentPipeline.from_pretrained(str(tiny_model), generator=str(tmp_path / "tuned"))
    assert pipeline("a man", seeds=[0]).images
    # Tuned once more, it still is a child of the first.
    again = Tuning(loaded, PictureObjective(pictures, PIXELS), loaded.sample_w(2, 0), TuningSettings(1), 0)
    list(again.run())
    grandchild = save_tuned(again.tuned, tmp_path / "again")
    assert [digest for _, digest in grandchild.parents] == [loaded.identity.sha256, generator.identity.sha256]


def test_a_rate_that_is_too_high_is_told(generator: Generator, pictures: Tensor) -> None:
    with pytest.raises(InputError, match=r"tune.learning_rate: 1e\+30 gives NaN in step"):
        tuned(generator, pictures, learning_rate=1e30, steps=5)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"learning_rate": 0.0}, {"locality_weight": -1.0}, {"locality_distance": math.nan}],
)
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"tune.{next(iter(wrong))}"):
        TuningSettings(**wrong)
