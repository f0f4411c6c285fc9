import sys
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import torch
from PIL import Image

from text2latent.common.errors import InputError, UsageError
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.seeds import seeds_of
from text2latent.inference.settings import Settings
from text2latent.models.priors.diffusion import initial_noise, sample
from text2latent.models.priors.folder import load_prior
from text2latent.models.sources.location import locate
from text2latent.tests.models.priors.test_folder import save_checkpoint

WOMAN, MAN = "blonde woman with glasses", "old man"


def draw(pipe: Text2LatentPipeline, prompt: object, **settings: object) -> torch.Tensor:
    return pipe(prompt, output_type="pt", **settings).images


def assert_same_images(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


@pytest.mark.parametrize("source", ["folder", "checkpoint", "faces"])
def test_no_source_is_located_twice_in_one_load(tiny_model: Path, tmp_path: Path, source: str) -> None:
    asked: list[tuple[str, str]] = []

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is locate.__code__:
            asked.append((str(frame.f_locals["source"]), frame.f_locals["part"]))

    save_checkpoint(tiny_model, tmp_path / "last.ckpt")
    found = {"folder": str(tiny_model), "checkpoint": str(tmp_path / "last.ckpt")}.get(source, source)
    sys.setprofile(watch)
    try:
        Text2LatentPipeline.from_pretrained(found)
    finally:
        sys.setprofile(None)
    assert asked[0] == (found, "prior")
    assert [part for _, part in asked] == ["prior", "generator", "clip"]


def test_image_is_the_composition_of_the_parts(pipe: Text2LatentPipeline) -> None:
    output = pipe(WOMAN, seeds=[5], num_inference_steps=4, guidance_scale=1.5, output_type="pt")
    condition = pipe.clip.encode_text([WOMAN])
    latents = sample(pipe.prior, pipe.scheduler, condition, 4, 1.5, initial_noise([5], (1, 16)))
    images = pipe.generator.synthesize(latents)
    torch.testing.assert_close(output.latents, latents)
    assert_same_images(output.images, images)
    cosine = torch.cosine_similarity(pipe.clip.encode_image(images), condition)
    torch.testing.assert_close(output.clip_scores, cosine, atol=1e-5, rtol=0)
    assert output.seeds == [5]


def test_pictures_are_the_tensors_rounded(pipe: Text2LatentPipeline) -> None:
    pictures, tensors = pipe(WOMAN, seeds=[0]).images, draw(pipe, WOMAN, seeds=[0])
    assert isinstance(pictures[0], Image.Image)
    expected = (tensors[0].permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(np.asarray(pictures[0]) - expected).max() <= 0.5 + 1e-3


def test_image_depends_on_prompt_and_seed_only(pipe: Text2LatentPipeline) -> None:
    alone = torch.cat([draw(pipe, text, seeds=[seed]) for text in (WOMAN, MAN) for seed in (3, 4, 5)])
    for batch_size in (1, 4, 16):
        together = draw(pipe, [WOMAN, MAN], num_images_per_prompt=3, seeds=[3, 4, 5], batch_size=batch_size)
        assert_same_images(together, alone)
    pairs = torch.cdist(alone.flatten(1), alone.flatten(1)) + torch.eye(6)
    assert pairs.min() > 1e-2


def test_seeds_may_be_given_for_each_image(pipe: Text2LatentPipeline) -> None:
    images = draw(pipe, [WOMAN, MAN], seeds=[1, 2])
    assert_same_images(images, torch.cat([draw(pipe, WOMAN, seeds=[1]), draw(pipe, MAN, seeds=[2])]))


def test_generator_follows_diffusers_conventions(pipe: Text2LatentPipeline) -> None:
    generator = torch.Generator().manual_seed(7)
    first = pipe(WOMAN, num_images_per_prompt=2, generator=generator)
    second = pipe(WOMAN, num_images_per_prompt=2, generator=generator)
    assert first.seeds == [7, 8]
    assert not set(first.seeds) & set(second.seeds)
    again = [torch.Generator().manual_seed(seed) for seed in (7, 8)]
    assert pipe(WOMAN, num_images_per_prompt=2, generator=again).seeds == [7, 8]


def test_without_a_seed_torchs_global_one_decides(pipe: Text2LatentPipeline) -> None:
    with torch.random.fork_rng():
        runs = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            runs.append(pipe(WOMAN, num_images_per_prompt=2).seeds)
    assert runs[0] == runs[1] != runs[2]


def test_seeds_of_a_used_generator_are_reproducible() -> None:
    used = [torch.Generator().manual_seed(seed) for seed in (0, 0)]
    for generator in used:
        torch.randn(1, generator=generator)
    assert seeds_of(used[0], 3) == seeds_of(used[1], 3) != [0, 1, 2]


def test_rerank_keeps_the_best_candidate_by_clip(pipe: Text2LatentPipeline) -> None:
    best = pipe([WOMAN, MAN], num_images_per_prompt=2, seeds=[0, 1], rerank=5, output_type="pt", batch_size=3)
    condition = pipe.encode_prompts([WOMAN, WOMAN, MAN, MAN])
    noise = initial_noise([0, 1, 0, 1], (1, 16), 5)
    latents = pipe.draw_latents(condition.repeat_interleave(5, 0), noise, Settings())
    images = pipe.generator.synthesize(latents)
    scores = pipe.score(images, condition.repeat_interleave(5, 0)).view(4, 5)
    torch.testing.assert_close(best.clip_scores, scores.amax(1), atol=1e-4, rtol=0)
    assert_same_images(best.images, images[scores.argmax(1) + torch.arange(4) * 5])
    plain = pipe([WOMAN, MAN], num_images_per_prompt=2, seeds=[0, 1])
    assert (best.clip_scores >= plain.clip_scores - 1e-4).all()


def test_truncation_moves_latents_to_the_generators_mean(pipe: Text2LatentPipeline) -> None:
    plain, half, none = (pipe(WOMAN, seeds=[0], truncation=psi).latents for psi in (1.0, 0.5, 0.0))
    mean = pipe.generator.truncate(plain, 0.0)
    torch.testing.assert_close(none, mean)
    torch.testing.assert_close(half, (plain + mean) / 2)


def test_scores_can_be_left_out(pipe: Text2LatentPipeline) -> None:
    assert pipe(WOMAN, return_scores=False).clip_scores is None
    assert pipe(WOMAN, return_scores=False, rerank=2).clip_scores.shape == (1,)


def test_nothing_asks_for_gradients(pipe: Text2LatentPipeline) -> None:
    output = pipe(WOMAN, output_type="pt")
    assert not any(tensor.requires_grad for tensor in (output.images, output.latents, output.clip_scores))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_images_per_prompt": 0}, "num_images_per_prompt: expected a whole number >= 1, got 0"),
        ({"num_inference_steps": -1}, "num_inference_steps: expected a whole number >= 1, got -1"),
        ({"num_inference_steps": 2.5}, "num_inference_steps: expected a whole number"),
        ({"rerank": 0}, "rerank: expected"),
        ({"batch_size": 0}, "batch_size: expected"),
        ({"guidance_scale": float("nan")}, "guidance_scale: expected a finite number >= 0, got nan"),
        ({"guidance_scale": float("inf")}, "guidance_scale: expected"),
        ({"truncation": float("nan")}, "truncation: expected"),
        ({"truncation": -0.1}, "truncation: expected"),
        ({"output_type": "np"}, "output_type: expected one of pil, pt, got 'np'"),
        ({"seeds": [0, 1, 2]}, r"seeds: expected 1 \(images of a prompt\) or 1 \(in all\), got 3"),
        ({"seeds": [-1]}, "seeds: expected whole numbers"),
        ({"seeds": [0], "generator": torch.Generator()}, "expected either seeds or a generator"),
        ({"generator": [torch.Generator(), torch.Generator()]}, "generator: expected 1"),
    ],
)
def test_wrong_settings_are_refused(pipe: Text2LatentPipeline, settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pipe(WOMAN, **settings)


@pytest.mark.parametrize("prompt", ["", "  \n", "a\0b", "x" * 10_000, [], [WOMAN, ""]])
def test_unusable_prompts_are_refused(pipe: Text2LatentPipeline, prompt: object) -> None:
    with pytest.raises(UsageError, match="prompt"):
        pipe(prompt)


@pytest.mark.parametrize("prompt", ["😀🎉", "امرأة شقراء", "眼鏡をかけた女性", "line\nbreak"])
def test_any_script_is_welcome(pipe: Text2LatentPipeline, prompt: str) -> None:
    assert draw(pipe, prompt).isfinite().all()


def test_enormous_guidance_is_refused_where_it_overflows(pipe: Text2LatentPipeline) -> None:
    with pytest.raises(InputError, match="guidance_scale: 1e\\+38"):
        pipe(WOMAN, guidance_scale=1e38)


@pytest.mark.parametrize("part", ["generator", "clip"])
def test_parts_of_another_world_are_refused_naming_both(tiny_model: Path, other_world: Path, part: str) -> None:
    expected = getattr(load_prior(tiny_model), part)
    with pytest.raises(InputError, match=f"(?i){part}: expected .*{expected.sha256[:12]}.*, got ") as caught:
        Text2LatentPipeline.from_pretrained(str(tiny_model), **{part: str(other_world)})
    assert "not the same" in str(caught.value)


def test_parts_that_have_moved_can_be_named(tiny_model: Path, tiny_world: Path) -> None:
    moved = {"generator": str(tiny_world / "generator"), "clip": str(tiny_world / "clip")}
    assert Text2LatentPipeline.from_pretrained(str(tiny_model), **moved).prior.latent_shape == (1, 16)
