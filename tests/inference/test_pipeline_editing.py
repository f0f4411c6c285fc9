import pytest
import torch
from PIL import Image

from text2latent.common.errors import UsageError
from text2latent.inference.editing import edit, edit_direction, interpolate
from text2latent.inference.images import from_pil
from text2latent.inference.pipeline import Settings, Text2LatentPipeline
from text2latent.inference.query import Query

WOMAN, MAN = "blonde woman", "old man"


@pytest.fixture(scope="module")
def picture(pipe: Text2LatentPipeline) -> Image.Image:
    return pipe(MAN, seeds=[9]).images[0]


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_variations_are_drawn_from_the_images_embedding(pipe: Text2LatentPipeline, picture: Image.Image) -> None:
    varied = pipe.variations(picture, generator=torch.Generator().manual_seed(5), output_type="pt")
    assert varied.seeds == [5, 6, 7, 8]
    close(varied.images, pipe(image=picture, seeds=varied.seeds, num_images_per_prompt=4, output_type="pt").images)
    mixed = pipe.variations(picture, num_images_per_prompt=1, prompt=WOMAN, image_weight=0.3, seeds=[1])
    close(mixed.latents, pipe(WOMAN, image=picture, image_weight=0.3, seeds=[1]).latents)


def test_interpolation_is_that_of_its_function(pipe: Text2LatentPipeline, picture: Image.Image) -> None:
    drawn = pipe.interpolate(WOMAN, MAN, num_frames=3, num_images_per_prompt=2, seeds=[3, 4], output_type="pt")
    expected = list(interpolate(pipe, Query(WOMAN), Query(MAN), 3, [3, 4], Settings()))
    close(drawn.latents, torch.cat([draw.latents for draw in expected]))
    assert drawn.images.shape == (6, 3, 32, 32)
    assert drawn.seeds == [3, 4] * 3
    ends = pipe.interpolate(picture, from_pil(picture), num_frames=2, seeds=[0]).latents
    close(ends, pipe(image=[picture] * 2, seeds=[0, 0]).latents)
    negative = pipe.interpolate(WOMAN, MAN, num_frames=2, seeds=[0], negative_prompt="hat").latents
    close(negative, pipe([WOMAN, MAN], seeds=[0, 0], negative_prompt="hat").latents)


def test_edit_moves_given_latents(pipe: Text2LatentPipeline) -> None:
    latents = pipe.generator.sample_w(3, 0)
    edited = pipe.edit(WOMAN, MAN, 0.7, latents=latents, batch_size=2, output_type="pt")
    close(edited.latents, edit(pipe, latents, Query(WOMAN), Query(MAN), 0.7, Settings()))
    close(edited.images, pipe.generator.synthesize(edited.latents))
    close(edited.clip_scores, pipe.score(edited.images, pipe.encode_prompts([MAN]).expand(3, -1)))
    assert edited.seeds == [0, 1, 2]
    assert pipe.edit(WOMAN, MAN, latents=latents, return_scores=False).clip_scores is None


def test_edit_of_prompts_images_and_seeds(pipe: Text2LatentPipeline, picture: Image.Image) -> None:
    direction = edit_direction(pipe, Query(WOMAN), Query(MAN), Settings())
    drawn = pipe.edit(WOMAN, MAN, prompt=[WOMAN, "hat"], num_images_per_prompt=2, seeds=[1, 2])
    starts = pipe([WOMAN, "hat"], num_images_per_prompt=2, seeds=[1, 2]).latents
    close(drawn.latents, starts + direction)
    assert drawn.seeds == [1, 2, 1, 2]
    close(pipe.edit(WOMAN, MAN, image=picture, seeds=[1]).latents, pipe(image=picture, seeds=[1]).latents + direction)
    random = pipe.edit(WOMAN, MAN, num_images_per_prompt=2, generator=torch.Generator().manual_seed(7))
    close(random.latents, torch.cat([pipe.generator.sample_w(1, seed) for seed in (7, 8)]) + direction)
    close(pipe.edit(WOMAN, WOMAN, prompt=WOMAN, seeds=[1]).latents, pipe(WOMAN, seeds=[1]).latents)


def test_truncation_comes_once_after_the_edit(pipe: Text2LatentPipeline) -> None:
    plain = pipe.edit(WOMAN, MAN, prompt=WOMAN, seeds=[1]).latents
    half = pipe.edit(WOMAN, MAN, prompt=WOMAN, seeds=[1], truncation=0.5).latents
    close(half, pipe.generator.truncate(plain, 0.5))


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("edit", {"strength": 11}, "strength: expected a number between -10 and 10, got 11"),
        ("edit", {"latents": torch.zeros(1, 1, 16), "prompt": WOMAN}, "latents: expected no prompt, image, seeds"),
        ("edit", {"latents": torch.zeros(1, 1, 16), "seeds": [0]}, "latents: expected no prompt, image, seeds"),
        ("edit", {"num_images_per_prompt": 0}, "num_images_per_prompt: expected a whole number >= 1"),
        ("edit", {"output_type": "np"}, "output_type: expected one of pil, pt"),
        ("edit", {"prompt": ""}, "prompt ''"),
        ("interpolate", {"num_frames": 1}, "frames: expected a whole number >= 2, got 1"),
        ("interpolate", {"output_type": "np"}, "output_type: expected one of pil, pt"),
        ("interpolate", {"seeds": [0, 1]}, "seeds: expected 1"),
    ],
)
def test_wrong_arguments_are_refused(pipe: Text2LatentPipeline, method: str, arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        getattr(pipe, method)(WOMAN, MAN, **arguments)


@pytest.mark.parametrize("name", ["rerank", "refine", "negative_prompt", "step"])
def test_an_edit_takes_no_argument_that_it_would_ignore(pipe: Text2LatentPipeline, name: str) -> None:
    with pytest.raises(TypeError, match=name):
        pipe.edit(WOMAN, MAN, seeds=[0], **{name: 2})


@pytest.mark.parametrize("name", ["rerank", "image", "step"])
def test_an_interpolation_takes_no_argument_that_it_would_ignore(pipe: Text2LatentPipeline, name: str) -> None:
    with pytest.raises(TypeError, match=name):
        pipe.interpolate(WOMAN, MAN, num_frames=2, seeds=[0], **{name: 2})
