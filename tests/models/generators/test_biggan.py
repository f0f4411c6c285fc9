"""BigGAN-deep against outputs of `pytorch-pretrained-biggan` (see tests/data/biggan), and how its files are loaded."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from text2latent.apps import convert
from text2latent.common.errors import InputError
from text2latent.models.generators import load_generator
from text2latent.models.generators.biggan import DEFAULT_STAGES, BigGANGenerator
from text2latent.models.generators.formats.published import BIGGAN_NAMES, is_published

DATA = Path(__file__).resolve().parents[2] / "data" / "biggan"


@pytest.fixture(scope="module")
def generator() -> BigGANGenerator:
    loaded = load_generator(DATA)
    assert isinstance(loaded, BigGANGenerator)
    return loaded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA, tmp_path / "biggan"))


@pytest.mark.parametrize("truncation", [1.0, 0.5])
def test_images_are_the_reference_implementations(generator: BigGANGenerator, truncation: float) -> None:
    expected = load_file(DATA / "io.safetensors")
    images = generator.synthesis(generator.map(expected["z"], expected["label"]), truncation=truncation)
    torch.testing.assert_close(images, expected[f"image_{truncation}"], atol=1e-5, rtol=1e-4)
    assert images.std() > 0.1


def test_statistics_between_two_truncations_are_interpolated(generator: BigGANGenerator) -> None:
    """The reference swaps the two weights there, so that it jumps at each truncation that was measured."""
    w = generator.map(generator.sample_latents(1, 0))
    half, above, whole, below = (generator.synthesis(w, truncation=t) for t in (0.5, 0.5001, 1.0, 0.9999))
    assert (half - above).abs().max() < 0.01 < (half - whole).abs().max()
    assert (whole - below).abs().max() < 0.01


def test_state_dictionaries_of_torch_save_are_read_too(generator: BigGANGenerator, folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    w = generator.map(generator.sample_latents(2, 0))
    images = load_generator(folder / "pytorch_model.bin").synthesize(w)
    torch.testing.assert_close(images, generator.synthesize(w), atol=1e-5, rtol=1e-4)


def test_a_sample_is_a_z_and_a_class_of_its_own_seed(generator: BigGANGenerator) -> None:
    many = generator.sample_latents(64, 10)
    assert torch.equal(many[3:5], generator.sample_latents(2, 13))
    classes = many[:, generator.z_dim :]
    assert torch.equal(classes.sum(dim=1), torch.ones(64))
    assert len(classes.argmax(dim=1).unique()) == generator.c_dim
    z, label = many.split([generator.z_dim, generator.c_dim], dim=1)
    assert torch.equal(generator.map(many), generator.map(z, label))
    assert torch.equal(generator.map(many)[:, 2, generator.z_dim :], label @ generator.class_embedding().T)


def test_truncation_scales_z_and_keeps_the_class(generator: BigGANGenerator) -> None:
    w = generator.map(generator.sample_latents(2, 0))
    half = generator.truncate(w, 0.5, cutoff=2)
    assert torch.equal(half[:, :2, :4], 0.5 * w[:, :2, :4])
    assert torch.equal(half[:, 2:], w[:, 2:])
    assert torch.equal(half[..., 4:], w[..., 4:])
    assert generator.truncate(w, 1.0) is w


def test_each_block_takes_a_latent_of_its_own(generator: BigGANGenerator) -> None:
    w = generator.map(generator.sample_latents(1, 0)).repeat(generator.num_ws + 1, 1, 1)
    for layer in range(generator.num_ws):
        w[layer, layer] += 1
    images = generator.synthesis(w)
    assert all((images[layer] - images[-1]).abs().max() > 1e-4 for layer in range(generator.num_ws))


def test_saved_and_loaded_it_draws_the_same(generator: BigGANGenerator, tmp_path: Path) -> None:
    generator.save_pretrained(tmp_path / "own")
    w = generator.map(generator.sample_latents(2, 0))
    images = load_generator(tmp_path / "own").synthesize(w)
    torch.testing.assert_close(images, generator.synthesize(w), atol=1e-5, rtol=1e-4)


def test_published_sizes() -> None:
    with torch.device("meta"):
        generator = BigGANGenerator()
    assert (generator.image_size, generator.num_ws, generator.w_dim) == (128, 1 + len(DEFAULT_STAGES), 256)
    assert all(map(is_published, BIGGAN_NAMES))


@pytest.mark.parametrize("key", ["layers", "n_stats", "z_dim"])
def test_a_foreign_config_is_refused(folder: Path, key: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: "many"}))
    with pytest.raises(InputError, match=r"config\.json"):
        load_generator(folder)


def test_missing_and_damaged_weights_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"model\.safetensors: expected safetensors weights"):
        load_generator(folder)
    weights.unlink()
    with pytest.raises(InputError, match=r"expected BigGAN's weights beside config\.json"):
        load_generator(folder)


def test_weights_without_their_config_are_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json"):
        load_generator(folder / "model.safetensors")


def test_a_spectral_norm_without_its_vectors_is_refused(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    del state["generator.gen_z.weight_u"]
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"generator\.gen_z: expected weight_orig, weight_u and weight_v"):
        load_generator(folder)


def test_wrong_latents_are_refused(generator: BigGANGenerator) -> None:
    with pytest.raises(ValueError, match="z: expected"):
        generator.map(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="ws: expected"):
        generator.synthesis(torch.zeros(1, 2, 8))
    with pytest.raises(ValueError, match="truncation: expected"):
        generator.synthesis(torch.zeros(1, generator.num_ws, 8), truncation=0.0)
    with pytest.raises(ValueError, match="stages: expected blocks that follow on one another"):
        BigGANGenerator(stages=[(False, 2, 2), (True, 1, 1)])


def test_converted_it_is_told_and_draws_the_same(
    generator: BigGANGenerator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert.main([str(DATA), str(tmp_path / "own"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["network"], report["architecture"], report["w_plus"]) == ("BigGANGenerator", "deep", [6, 8])
    w = generator.map(generator.sample_latents(1, 0))
    images = load_generator(tmp_path / "own").synthesize(w)
    torch.testing.assert_close(images, generator.synthesize(w), atol=1e-5, rtol=1e-4)
