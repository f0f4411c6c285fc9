import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from text2latent.common.errors import InputError, UsageError
from text2latent.inference.conditions import NEUTRAL_TEXT
from text2latent.inference.images import from_pil
from text2latent.inference.optimization.refine import Optimization, optimize_latents
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.query import Query
from text2latent.models.priors.diffusion import NegativePrior, guided_prediction

WOMAN, GLASSES = "blonde woman", "glasses"


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.linear_gradient("L").resize((40, 48)).convert("RGB")


def test_weighted_parts_add_to_a_neutral_text(pipe: Text2LatentPipeline) -> None:
    woman, glasses, neutral = pipe.clip.encode_text([WOMAN, GLASSES, NEUTRAL_TEXT])
    rows = pipe.encode_prompts([f"{WOMAN}:1.5 | {GLASSES}:-0.5", WOMAN, f"{WOMAN}：２｜{GLASSES}"])
    expected = torch.stack([1.5 * woman - 0.5 * glasses, woman, 2 * woman + glasses - 2 * neutral])
    torch.testing.assert_close(rows, normalize(expected, dim=1))


def test_parts_without_weights_are_one_text(pipe: Text2LatentPipeline) -> None:
    rows = pipe.encode_prompts(["a man | a hat|sea", "a man, a hat, sea", "男性｜帽子", "男性、帽子"])
    assert torch.equal(rows[0], rows[1])
    assert torch.equal(rows[2], rows[3])


def test_parts_that_cancel_out_are_refused(pipe: Text2LatentPipeline) -> None:
    with pytest.raises(UsageError, match="cancel out"):
        pipe.encode_prompts([f"{WOMAN}:1 | {WOMAN}:-1 | {WOMAN}:0.00001"])


def test_texts_images_and_both_as_the_prior_sees_them(pipe: Text2LatentPipeline, picture: Image.Image) -> None:
    queries = [Query(WOMAN), Query(image=picture), Query(WOMAN, picture, 0.3), Query(GLASSES, from_pil(picture), 1.0)]
    conditions = pipe.encode(queries)
    (woman,) = pipe.clip.encode_text([WOMAN])
    (image,) = pipe.clip.encode_image(from_pil(picture)[None])
    expected = torch.stack([woman, image, normalize(0.7 * woman + 0.3 * image, dim=0), image])
    torch.testing.assert_close(conditions.condition, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(conditions.target, expected, atol=1e-5, rtol=0)
    assert not conditions.has_negative.any()


def test_gap_correction_is_for_the_conditions_of_texts_only(
    pipe: Text2LatentPipeline, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe.prior, "text_condition", lambda embeddings: embeddings.roll(1, dims=1))
    queries = [Query(WOMAN, negative=GLASSES), Query(image=picture), Query(WOMAN, picture, 0.5)]
    conditions = pipe.encode(queries)
    woman, glasses = pipe.clip.encode_text([WOMAN, GLASSES])
    (image,) = pipe.clip.encode_image(from_pil(picture)[None])
    mixed = normalize(woman.roll(1) + image, dim=0)
    torch.testing.assert_close(conditions.condition, torch.stack([woman.roll(1), image, mixed]), atol=1e-5, rtol=0)
    torch.testing.assert_close(conditions.target[:2], torch.stack([woman, image]), atol=1e-5, rtol=0)
    torch.testing.assert_close(conditions.negative[0], glasses.roll(1))
    assert conditions.has_negative.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected a text, an image or both"),
        ({"text": " "}, "prompt"),
        ({"text": "a | :1"}, "expected a text in each part"),
        ({"text": WOMAN, "negative": ""}, "prompt"),
        ({"text": WOMAN, "image_weight": 1.5}, "image_weight"),
        ({"text": WOMAN, "image_weight": float("nan")}, "image_weight"),
    ],
)
def test_unusable_queries_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Query(**arguments)


def test_negative_guidance_is_the_formula_row_by_row(pipe: Text2LatentPipeline) -> None:
    rng = torch.Generator().manual_seed(0)
    x, t = torch.randn(2, 1, 16, generator=rng), torch.tensor([0.3, 0.8])
    condition, negative = (normalize(torch.randn(2, 16, generator=rng), dim=1) for _ in range(2))
    guided = NegativePrior(pipe.prior, negative, torch.tensor([True, False]))
    with torch.no_grad():
        velocity = guided_prediction(guided, x, t, condition, 2.5)
        wanted, unwanted = pipe.prior(x, t, condition), pipe.prior(x, t, negative)
        null = pipe.prior(x, t, condition, torch.ones(2, dtype=torch.bool))
        base = torch.stack([unwanted[0], null[1]])
        torch.testing.assert_close(velocity, base + 2.5 * (wanted - base))
        torch.testing.assert_close(guided_prediction(guided, x, t, condition, 1.0), wanted)
    torch.testing.assert_close(guided.denormalize(x), pipe.prior.denormalize(x))


def test_negative_prompt_changes_the_image_and_needs_no_scale(pipe: Text2LatentPipeline) -> None:
    settings = {"seeds": [3], "output_type": "pt"}
    plain, negative, explicit, none = (
        pipe(WOMAN, **settings, **more).images
        for more in (
            {"guidance_scale": 2.0},
            {"negative_prompt": GLASSES},
            {"negative_prompt": GLASSES, "guidance_scale": 2.0},
            {"negative_prompt": GLASSES, "guidance_scale": 1.0},
        )
    )
    torch.testing.assert_close(negative, explicit)
    assert (plain - negative).abs().max() > 1e-3
    torch.testing.assert_close(none, pipe(WOMAN, guidance_scale=1.0, **settings).images)


def test_negative_prompts_may_differ_and_batches_do_not_matter(pipe: Text2LatentPipeline) -> None:
    many = pipe([WOMAN, "a man"], negative_prompt=[GLASSES, "a hat"], seeds=[1, 2], output_type="pt", batch_size=2)
    alone = pipe("a man", negative_prompt="a hat", seeds=[2], output_type="pt")
    torch.testing.assert_close(many.images[1:], alone.images, atol=1e-4, rtol=0)


def test_images_are_varied_and_mixed_in_diffusers_conventions(pipe: Text2LatentPipeline, picture: Image.Image) -> None:
    varied = pipe(image=picture, num_images_per_prompt=2, seeds=[0, 1], output_type="pt")
    assert (varied.images[0] - varied.images[1]).abs().max() > 1e-3
    (image,) = pipe.clip.encode_image(from_pil(picture)[None])
    scores = pipe.clip.encode_image(varied.images) @ image
    torch.testing.assert_close(varied.clip_scores, scores, atol=1e-5, rtol=0)
    mixed = pipe([WOMAN, GLASSES], image=picture, image_weight=0.0, seeds=[0], output_type="pt")
    torch.testing.assert_close(
        mixed.images, pipe([WOMAN, GLASSES], seeds=[0], output_type="pt").images, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected at least one text or image, got none"),
        ({"prompt": []}, "got none"),
        ({"prompt": [WOMAN] * 3, "negative_prompt": ["a", "b"]}, "negative_prompt: expected one, or 3"),
        ({"prompt": [WOMAN] * 3, "image": [torch.zeros(3, 8, 8)] * 2}, "image: expected one, or 3"),
        ({"prompt": WOMAN, "refine": -1}, "refine"),
        ({"prompt": WOMAN, "image_weight": 2}, "image_weight"),
    ],
)
def test_wrong_calls_are_refused(pipe: Text2LatentPipeline, arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pipe(**arguments)


def test_refinement_starts_from_what_the_prior_draws(pipe: Text2LatentPipeline) -> None:
    settings = {"seeds": [0, 1, 2], "num_images_per_prompt": 3, "output_type": "pt"}
    plain, refined = pipe(WOMAN, **settings), pipe(WOMAN, refine=12, **settings)
    target = pipe.encode_prompts([WOMAN]).expand(3, -1)
    parts = pipe.generator, pipe.clip, target, plain.latents, pipe.latent_distribution
    torch.testing.assert_close(
        refined.latents, optimize_latents(*parts, Optimization(12), [0, 1, 2]), atol=1e-3, rtol=1e-3
    )
    assert (refined.latents - plain.latents).abs().max() > 0.1
    alone = pipe(WOMAN, refine=12, seeds=[1], output_type="pt", batch_size=1)
    torch.testing.assert_close(refined.latents[1:2], alone.latents, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(pipe.render(refined.latents).images, refined.images, atol=1e-4, rtol=0)
    best = pipe(WOMAN, rerank=3, refine=4, seeds=[0], output_type="pt", return_scores=False)
    assert best.clip_scores is None
    assert best.images.shape == (1, 3, 32, 32)


def test_infinite_guidance_is_still_refused(pipe: Text2LatentPipeline) -> None:
    with pytest.raises(InputError, match="guidance_scale"):
        pipe(WOMAN, negative_prompt=GLASSES, guidance_scale=1e38)
