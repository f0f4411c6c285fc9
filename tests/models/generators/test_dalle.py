"""DALL-E's decoder against outputs of the PyPI package `DALL-E` (see tests/data/dalle)."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from text2latent.models.generators import load_generator
from text2latent.models.generators.dalle import DiscreteDecoder

DATA = Path(__file__).resolve().parents[2] / "data" / "dalle"
FILES = ("decoder.pkl", "decoder-legacy.pkl")


@pytest.mark.parametrize("file", FILES)
def test_outputs_are_the_packages(file: str) -> None:
    generator, expected = load_generator(DATA / file), load_file(DATA / "io.safetensors")
    assert isinstance(generator, DiscreteDecoder)
    statistics = generator.synthesis.decode(expected["codes"])
    torch.testing.assert_close(statistics, expected["statistics"], atol=1e-5, rtol=1e-4)


def test_images_are_the_packages_pixels_in_our_range() -> None:
    expected = load_file(DATA / "io.safetensors")
    small = DiscreteDecoder(vocab_size=16, grid_size=2, n_init=8, n_hid=8)
    small.load_state_dict(load_generator(DATA / FILES[0]).state_dict())
    images = small.synthesize(expected["codes"].log().flatten(2).transpose(1, 2))
    torch.testing.assert_close((images + 1) / 2, expected["pixels"], atol=1e-5, rtol=1e-4)
    assert images.shape == (2, 3, 16, 16)


def test_published_shape() -> None:
    with torch.device("meta"):
        generator = DiscreteDecoder()
    assert (generator.latent_shape, generator.image_size) == ((1024, 8192), 256)


def test_latents_are_logits_of_their_own_seed_and_truncation_evens_them() -> None:
    generator = DiscreteDecoder(vocab_size=3, grid_size=2, n_init=4, n_hid=4, blocks_per_group=1)
    w = generator.map(generator.sample_latents(2, 5))
    assert torch.equal(w[1:], generator.map(generator.sample_latents(1, 6)))
    assert torch.equal(generator.truncate(w, 0.0), torch.zeros_like(w))
    assert torch.equal(generator.truncate(w, 0.5, cutoff=1), torch.cat([0.5 * w[:, :1], w[:, 1:]], dim=1))
    with pytest.raises(ValueError, match="z: expected"):
        generator.map(torch.zeros(1, 5))
    with pytest.raises(ValueError, match="ws: expected"):
        generator.synthesis(torch.zeros(1, 3, 3))


def test_saved_and_loaded_it_draws_the_same(tmp_path: Path) -> None:
    generator = load_generator(DATA / FILES[0])
    generator.save_pretrained(tmp_path / "own")
    w = generator.map(generator.sample_latents(1, 0))
    assert torch.equal(load_generator(tmp_path / "own").synthesize(w), generator.synthesize(w))
