"""Goals as directions in CLIP's space, and where descents start, against the parts that they are made of."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from text2latent.apps.optimize.task import Goal, Networks, Start, load_networks
from text2latent.common.errors import UsageError
from text2latent.inference.conditions import NEUTRAL_TEXT
from text2latent.inference.images import from_pil
from text2latent.inference.optimization.spaces import ClassConditionalSpace, LatentDistribution, TokenSpace
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.generators import load_generator

DATA = Path(__file__).resolve().parents[2] / "data"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clip(tiny_world: Path) -> ClipEncoder:
    return ClipEncoder.from_pretrained(str(tiny_world))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "red.png"
    Image.new("RGB", (40, 30), "red").save(file)
    return file


def test_phrases_are_read_as_prompts_are(clip: ClipEncoder) -> None:
    both, ice, pyramid, neutral = clip.encode_text(["ice, pyramid", "ice", "pyramid", NEUTRAL_TEXT])
    target, direction = Goal("ice | pyramid").embed(clip)
    torch.testing.assert_close(target[0], both)
    assert direction is target
    weighted, _ = Goal("ice:3 | pyramid").embed(clip)
    torch.testing.assert_close(weighted[0], normalize(neutral + 3 * (ice - neutral) + (pyramid - neutral), dim=0))


def test_what_to_avoid_is_taken_from_the_direction_and_not_from_the_target(clip: ClipEncoder) -> None:
    man, blur, zoom = clip.encode_text(["a man", "blur", "zoom"])
    target, direction = Goal("a man", avoid="blur | zoom").embed(clip)
    torch.testing.assert_close(target[0], man)
    torch.testing.assert_close(direction[0], man - (blur + zoom) / 2)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_text_and_image_are_mixed_by_the_images_share(clip: ClipEncoder, picture: Path, weight: float) -> None:
    text = clip.encode_text(["a man"])[0]
    image = clip.encode_image(from_pil(Image.open(picture))[None])[0]
    target, _ = Goal("a man", image=picture, image_weight=weight).embed(clip)
    torch.testing.assert_close(target[0], normalize((1 - weight) * text + weight * image, dim=0))
    alone, _ = Goal(None, image=picture, image_weight=weight).embed(clip)
    torch.testing.assert_close(alone[0], image)


def test_unusable_goals_are_refused() -> None:
    with pytest.raises(UsageError, match="--text: expected a text, an --image or both"):
        Goal(None)
    with pytest.raises(UsageError, match="expected at most 2000 characters, got 10000"):
        Goal("a man", avoid="x" * 10_000)


@pytest.mark.parametrize(
    ("source", "space", "tokens"),
    [
        ("generators/sg2ada-64.pkl", LatentDistribution, 10),
        ("generators/sg2ada-cond-32.pkl", LatentDistribution, 8),
        ("generators/sg3t-64.pkl", LatentDistribution, 10),
        ("generators/sg3r-64.pkl", LatentDistribution, 10),
        ("generators/rosinality-64.pt", LatentDistribution, 10),
        ("generators/tf-sg2-64.pkl", LatentDistribution, 10),
        ("biggan", ClassConditionalSpace, 6),
        ("dalle/decoder.pkl", TokenSpace, 1024),
    ],
)
def test_every_generator_has_a_start_of_its_own_seed(clip: ClipEncoder, source: str, space: type, tokens: int) -> None:
    networks = Networks(load_generator(DATA / source), clip)
    found, x = Start().make(networks, Goal("a man"), 3)
    assert isinstance(found, space)
    assert x.shape[:2] == (1, tokens)
    latents = found.latents(x)
    assert latents.shape == (1, *networks.generator.latent_shape)
    again, other = (Start().make(networks, Goal("a man"), seed)[1] for seed in (3, 4))
    assert torch.equal(x, again)
    assert not torch.equal(x, other)
    if space is not ClassConditionalSpace:
        torch.testing.assert_close(latents, networks.generator.sample_w(1, 3), atol=1e-4, rtol=1e-4)
    images = networks.generator.synthesize(latents)
    assert images.shape[-1] == networks.generator.image_size


def test_the_mean_latent_is_that_of_many(tiny_world: Path, clip: ClipEncoder) -> None:
    networks = Networks(load_generator(str(tiny_world)), clip)
    space, x = Start("mean", "w").make(networks, Goal("a man"), 0)
    expected = networks.generator.sample_w(4000, 0)[:, 0].mean(dim=0)
    torch.testing.assert_close(space.latents(x)[0, 0], expected, atol=0.1, rtol=0)


def test_a_prior_is_not_for_codes_nor_for_another_generator(clip: ClipEncoder, tiny_world: Path) -> None:
    networks = Networks(load_generator(DATA / "dalle/decoder.pkl"), clip)
    with pytest.raises(UsageError, match="--init prior: expected a generator that priors are trained for"):
        Start("prior").make(networks, Goal("a man"), 0)
    with pytest.raises(UsageError, match="--init prior: expected a model with a prior"):
        Start("prior").make(Networks(load_generator(str(tiny_world)), clip), Goal("a man"), 0)


def test_a_world_without_prior_and_another_generator_are_loaded(tiny_world: Path) -> None:
    assert load_networks(str(tiny_world), None, None, CPU).pipeline is None
    networks = load_networks("faces", str(DATA / "biggan"), str(tiny_world), CPU)
    assert networks.pipeline is None
    assert networks.generator.image_size == 16
