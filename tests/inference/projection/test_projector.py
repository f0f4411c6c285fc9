"""The search on a small generator: it comes closer, rows stay apart, it goes on where it was, and it ends early."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from text2latent import Text2LatentPipeline
from text2latent.common.errors import InputError, UsageError
from text2latent.inference.images import to_pil
from text2latent.inference.optimization.spaces import LatentDistribution, LayerSpace
from text2latent.inference.projection.features import ClipFeatures
from text2latent.inference.projection.framing import Framing
from text2latent.inference.projection.loss import LossWeights, PictureObjective
from text2latent.inference.projection.projector import (
    ProjectionSettings,
    Projector,
    begin,
    prior_start,
    require_gradients,
)

PIXELS = LossWeights(structure=0.0, features=0.0)
FEW = ProjectionSettings(candidates=4, steps=6, weights=PIXELS)


@pytest.fixture(scope="module")
def pipeline(tiny_model: Path) -> Text2LatentPipeline:
    return Text2LatentPipeline.from_pretrained(str(tiny_model))


@pytest.fixture(scope="module")
def pictures(pipeline: Text2LatentPipeline) -> Tensor:
    """Of latents that differ in their layers, which the generator draws exactly."""
    torch.manual_seed(0)
    rows = pipeline.generator.sample_w(2, 700)
    return pipeline.generator.synthesize(rows + 0.2 * torch.randn_like(rows))


def walk(projector: Projector) -> Projector:
    while not projector.is_done:
        projector.step()
    projector.finish()
    return projector


def test_images_come_closer_to_the_pictures(pipeline: Text2LatentPipeline, pictures: Tensor) -> None:
    settings = ProjectionSettings(candidates=8, steps=60, learning_rate=0.1)
    objective = PictureObjective(pictures, settings.weights, ClipFeatures(pipeline.clip))
    projector = begin(pipeline.generator, objective, settings, pipeline)
    start = objective.losses(projector.descent.draw())
    walk(projector)
    end = objective.losses(pipeline.generator.synthesize(projector.latents))
    assert (end < 0.8 * start).all()
    # The lowest loss of all is kept, penalties included.
    penalty = settings.distribution_weight * projector.space.penalty(projector.best)
    torch.testing.assert_close(projector.losses, end + penalty, atol=1e-5, rtol=1e-4)


def test_the_start_is_the_best_of_the_priors_draws(pipeline: Text2LatentPipeline, pictures: Tensor) -> None:
    objective = PictureObjective(pictures, PIXELS)
    few, many = (prior_start(pipeline, objective, count, [3, 3]) for count in (1, 16))
    losses = [objective.losses(pipeline.generator.synthesize(latents)) for latents in (few, many)]
    assert (losses[1] <= losses[0]).all()
    assert not torch.equal(few, many)
    assert not torch.equal(prior_start(pipeline, objective, 1, [4, 4]), few)


def test_a_picture_does_not_depend_on_the_others(pipeline: Text2LatentPipeline, pictures: Tensor) -> None:
    both = walk(begin(pipeline.generator, PictureObjective(pictures, PIXELS), FEW, pipeline)).latents
    alone = walk(begin(pipeline.generator, PictureObjective(pictures[1:], PIXELS), FEW, pipeline)).latents
    torch.testing.assert_close(both[1:], alone, atol=1e-3, rtol=1e-3)


def test_layers_move_together_before_each_moves_for_itself(pipeline: Text2LatentPipeline, pictures: Tensor) -> None:
    settings = ProjectionSettings(candidates=1, steps=8, tied_share=0.5, weights=PIXELS, spread_weight=0.0)
    projector = begin(pipeline.generator, PictureObjective(pictures, PIXELS), settings, pipeline)
    spreads = []
    for _ in range(8):
        projector.step()
        spreads.append(float(projector.descent.x.std(dim=1).max()))
    assert max(spreads[:4]) < 1e-5
    assert spreads[4] > 1e-3


def test_going_on_is_the_same_as_not_stopping(pipeline: Text2LatentPipeline, pictures: Tensor, tmp_path: Path) -> None:
    def new() -> Projector:
        return begin(pipeline.generator, PictureObjective(pictures, PIXELS), FEW, pipeline)

    expected = walk(new())
    first = new()
    for _ in range(3):
        first.step()
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = new()
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(walk(second).latents, expected.latents)
    assert second.iteration == expected.iteration == 6


def test_it_ends_when_nothing_comes_closer(pipeline: Text2LatentPipeline, pictures: Tensor) -> None:
    settings = ProjectionSettings(candidates=1, steps=100, learning_rate=1e3, patience=3, weights=PIXELS)
    projector = walk(begin(pipeline.generator, PictureObjective(pictures, PIXELS), settings, pipeline))
    assert 3 <= projector.iteration < 20


def test_no_steps_keep_the_start(pipeline: Text2LatentPipeline, pictures: Tensor) -> None:
    objective = PictureObjective(pictures, PIXELS)
    projector = walk(begin(pipeline.generator, objective, ProjectionSettings("mean", steps=0), None))
    mean = LatentDistribution.of_generator(pipeline.generator).mean
    torch.testing.assert_close(projector.latents, mean.expand_as(projector.latents))


def test_the_pipeline_takes_pictures_of_any_size(pipeline: Text2LatentPipeline, pictures: Tensor) -> None:
    seen = []
    large = [picture.resize((100, 120)) for picture in to_pil(pictures)]
    found = pipeline.project(large, FEW, on_step=lambda step, losses: seen.append((step, len(losses))))
    assert seen == [(step, 2) for step in range(1, 7)]
    assert found.latents.shape == (2, pipeline.generator.num_ws, pipeline.generator.w_dim)
    torch.testing.assert_close(pipeline.generator.synthesize(found.latents), found.images)
    torch.testing.assert_close(found.pictures[0], Framing().frame(large[0], pipeline.generator))
    assert found.psnr.shape == found.ssim.shape == (len(found),)
    assert [picture.size for picture in found.pil_images] == [pipeline.generator.image_shape[::-1]] * 2
    edited = pipeline.edit("a man", "a woman", latents=found.latents)
    assert len(edited.images) == 2


def test_what_cannot_be_done_is_refused(pipeline: Text2LatentPipeline, pictures: Tensor) -> None:
    objective = PictureObjective(pictures, PIXELS)
    with pytest.raises(UsageError, match="--init prior: expected a model with a prior"):
        begin(pipeline.generator, objective, FEW, None)
    with pytest.raises(UsageError, match="expected at least one picture"):
        pipeline.project([])
    with pytest.raises(UsageError, match="expected numbers in"):
        pipeline.project(torch.full_like(pictures[0], math.nan))


class Detached(torch.nn.Module):
    def forward(self, ws: Tensor) -> Tensor:
        return ws.detach().mean(dim=(1, 2))[:, None, None, None].expand(-1, 3, 16, 16)


def test_a_generator_without_gradients_is_named(pipeline: Text2LatentPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.generator, "synthesis", Detached())
    start = LatentDistribution.of_generator(pipeline.generator).mean[None]
    with pytest.raises(InputError, match="passes no gradients"):
        require_gradients(pipeline.generator, start)


@pytest.mark.parametrize(
    "wrong",
    [
        {"candidates": 0}, {"steps": -1}, {"patience": -1}, {"tied_share": 1.5}, {"learning_rate": 0.0},
        {"learning_rate": math.nan}, {"distribution_weight": -1.0}, {"spread_weight": math.inf},
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        ProjectionSettings(**wrong)


def test_layers_apart_are_held_against_them() -> None:
    base = LatentDistribution(torch.zeros(1, 4), torch.ones(1, 4))
    space, x = LayerSpace(base, 2.0), torch.zeros(2, 3, 4)
    x[1] = torch.tensor([-0.5, 0.0, 0.5])[:, None]
    torch.testing.assert_close(space.penalty(x), torch.tensor([0.0, 2 * 0.5**2 * 2 / 3]))
    space.tied = True
    torch.testing.assert_close(space.latents(x), torch.zeros(2, 3, 4))
