import math

import pytest
import torch

from text2latent.common.errors import UsageError
from text2latent.inference.editing import DIRECTION_DRAWS, edit, edit_direction, interpolate, slerp
from text2latent.inference.pipeline import Settings, Text2LatentPipeline
from text2latent.inference.query import Query
from text2latent.inference.settings import DEFAULT_GUIDANCE_SCALE
from text2latent.models.priors.diffusion import initial_noise, sample

WOMAN, MAN = Query("blonde woman"), Query("old man")


def test_slerp_goes_round_the_circle_at_one_speed() -> None:
    start, end = torch.tensor([1.0, 0.0]), torch.tensor([math.cos(2.0), math.sin(2.0)])
    points = slerp(start, end, torch.linspace(0, 1, 5))
    angles = torch.linspace(0, 2, 5)
    torch.testing.assert_close(points, torch.stack([angles.cos(), angles.sin()], dim=1))


def test_slerp_between_equal_vectors_stays() -> None:
    vector = torch.nn.functional.normalize(torch.randn(8, generator=torch.Generator().manual_seed(0)), dim=0)
    torch.testing.assert_close(slerp(vector, vector, torch.tensor([0.0, 0.5, 1.0])), vector.expand(3, -1))


def test_frames_go_from_one_prompt_to_the_other_with_fixed_noise(pipe: Text2LatentPipeline) -> None:
    draws = list(interpolate(pipe, WOMAN, MAN, 5, [3, 4], Settings(batch_size=4)))
    latents = torch.cat([draw.latents for draw in draws]).view(5, 2, 1, 16)
    ends = [pipe([text, text], seeds=[3, 4]).latents for text in (WOMAN.text, MAN.text)]
    torch.testing.assert_close(latents[0], ends[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(latents[-1], ends[1], atol=1e-4, rtol=1e-4)
    start, end = pipe.encode_prompts([WOMAN.text or "", MAN.text or ""])
    middle = torch.nn.functional.normalize(start + end, dim=0).expand(2, -1)
    between = sample(pipe.prior, pipe.scheduler, middle, 8, DEFAULT_GUIDANCE_SCALE, initial_noise([3, 4], (1, 16)))
    torch.testing.assert_close(latents[2], between, atol=1e-4, rtol=1e-4)


def test_interpolation_refuses_what_would_jump(pipe: Text2LatentPipeline) -> None:
    with pytest.raises(UsageError, match="rerank"):
        next(interpolate(pipe, WOMAN, MAN, 5, [0], Settings(rerank=2)))
    with pytest.raises(UsageError, match="frames: expected a whole number >= 2"):
        next(interpolate(pipe, WOMAN, MAN, 1, [0], Settings()))


def test_direction_is_the_difference_of_means(pipe: Text2LatentPipeline) -> None:
    seeds = range(DIRECTION_DRAWS)
    means = [
        pipe(query.text, num_images_per_prompt=DIRECTION_DRAWS, seeds=seeds, return_scores=False).latents.mean(0)
        for query in (WOMAN, MAN)
    ]
    torch.testing.assert_close(edit_direction(pipe, WOMAN, MAN, Settings()), means[1] - means[0], atol=1e-4, rtol=1e-3)


def test_edit_is_linear_in_its_strength_and_turns_round(pipe: Text2LatentPipeline) -> None:
    latents = pipe(WOMAN.text, seeds=[0, 1], num_images_per_prompt=2).latents
    half, whole, none, back = (edit(pipe, latents, WOMAN, MAN, x, Settings()) for x in (0.5, 1.0, 0.0, -1.0))
    torch.testing.assert_close(none, latents)
    torch.testing.assert_close(half, (latents + whole) / 2)
    torch.testing.assert_close(back, edit(pipe, latents, MAN, WOMAN, 1.0, Settings()))
    assert (whole - latents).abs().max() > 0.1


def test_edit_moves_every_layer(pipe: Text2LatentPipeline) -> None:
    wide = pipe.generator.map(pipe.generator.sample_latents(2, 0))
    edited = edit(pipe, wide, WOMAN, MAN, 1.0, Settings())
    direction = edit_direction(pipe, WOMAN, MAN, Settings())
    torch.testing.assert_close(edited, wide + direction.expand(wide.shape[1], -1))


@pytest.mark.parametrize("strength", [11.0, float("nan")])
def test_absurd_strength_is_refused(pipe: Text2LatentPipeline, strength: float) -> None:
    with pytest.raises(UsageError, match="strength"):
        edit(pipe, torch.zeros(1, 1, 16), WOMAN, MAN, strength, Settings())
