"""DALL-E's decoder against outputs of the PyPI package `DALL-E` (see tests/data/dalle), and its pickle read safely."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from text2latent.common.errors import InputError
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


class Malicious:
    """Pickled, it names a function to call."""

    def __reduce__(self) -> tuple:
        return print, ("dall_e.decoder: this must not run",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_the_pickle_is_refused_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], zipped: bool
) -> None:
    file = tmp_path / "decoder.pkl"
    torch.save({"x": Malicious(), "n": "dall_e.decoder"}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"global .*print.* is not allowed"):
        load_generator(file)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("file", FILES)
def test_truncated_files_are_refused(tmp_path: Path, file: str) -> None:
    short = tmp_path / file
    short.write_bytes((DATA / file).read_bytes()[:-20_000])
    with pytest.raises(InputError, match=file):
        load_generator(short)


def test_other_pickles_that_name_the_decoder_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.pkl"
    torch.save({"dall_e.decoder": torch.zeros(2)}, file)
    with pytest.raises(InputError, match="expected DALL-E's decoder"):
        load_generator(file)
    file.write_bytes(pickle.dumps("dall_e.decoder"))
    with pytest.raises(InputError, match=r"other\.pkl"):
        load_generator(file)
