"""sample.py as it is run: what it writes, what it refuses, and what interruptions cost."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from text2latent import sample
from text2latent.data.records import read_manifest
from text2latent.data.shards import load_pairs
from text2latent.data.stats import load_statistics
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.generators import Generator, load_generator
from text2latent.tests.sample_runs import assert_close_in_float16, files

Arguments = Callable[..., list[str]]


@pytest.fixture(scope="module")
def networks(tiny_world: Path) -> tuple[Generator, ClipEncoder]:
    return load_generator(str(tiny_world)), ClipEncoder.from_pretrained(str(tiny_world / "clip"))


def one_by_one(generator: Generator, seeds: range, psi: float = 1.0) -> torch.Tensor:
    """Latents [N, 1, w_dim] in float32, each mapped alone from its own seed."""
    rows = [torch.randn(1, generator.z_dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    with torch.no_grad():
        ws = torch.cat([generator.map(z)[:, :1] for z in rows])
    mean = generator.mapping.w_avg
    return mean + psi * (ws - mean)


def test_pairs_are_those_of_their_seeds(tiny_pairs: Path, networks: tuple[Generator, ClipEncoder]) -> None:
    generator, clip = networks
    latents, embeddings = load_pairs(tiny_pairs)
    assert latents.shape == (50, 1, 16)
    assert embeddings.shape == (50, 16)
    np.testing.assert_allclose(latents, one_by_one(generator, range(50)).numpy(), rtol=2**-10, atol=1e-4)
    with torch.no_grad():
        stored = torch.from_numpy(latents).float()
        expected = torch.cat([clip.encode_image(generator.synthesize(w[None])) for w in stored])
    assert_close_in_float16(embeddings, expected.numpy())
    assert len(np.unique(embeddings, axis=0)) == 50


def test_the_manifest_names_the_networks(tiny_pairs: Path, networks: tuple[Generator, ClipEncoder]) -> None:
    manifest = read_manifest(tiny_pairs)
    assert manifest.generator.sha256 == networks[0].identity.sha256
    assert manifest.clip.sha256 == networks[1].identity.sha256
    assert [record.count for record in manifest.shards] == [16, 16, 16, 2]


def test_statistics_are_those_of_the_pairs(tiny_pairs: Path) -> None:
    latents, embeddings = (array.astype(np.float64) for array in load_pairs(tiny_pairs))
    statistics = load_statistics(tiny_pairs)
    np.testing.assert_allclose(statistics.latent_mean, latents.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(statistics.embedding_mean, embeddings.mean(axis=0), atol=1e-12)
    expected = np.cov(embeddings, rowvar=False, bias=True)
    np.testing.assert_allclose(statistics.embedding_cov, expected, atol=1e-12)


@pytest.mark.parametrize("batch_size", ["1", "7", "64"])
def test_the_batch_size_does_not_change_the_pairs(
    tiny_world: Path, tiny_pairs: Path, tmp_path: Path, sample_arguments: Arguments, batch_size: str
) -> None:
    assert sample.main(sample_arguments(tiny_world, tmp_path, "--batch-size", batch_size)) == 0
    np.testing.assert_array_equal(load_pairs(tmp_path)[0], load_pairs(tiny_pairs)[0])
    assert_close_in_float16(load_pairs(tmp_path)[1], load_pairs(tiny_pairs)[1])


def test_the_seed_shifts_the_samples(
    tiny_world: Path, tiny_pairs: Path, tmp_path: Path, sample_arguments: Arguments
) -> None:
    arguments = sample_arguments(tiny_world, tmp_path, "--seed", "10", "--num-pairs", "20")
    assert sample.main(arguments) == 0
    np.testing.assert_allclose(load_pairs(tmp_path)[0], load_pairs(tiny_pairs)[0][10:30], rtol=2**-10, atol=1e-5)


def test_truncation_moves_latents_to_their_mean(
    tiny_world: Path, tmp_path: Path, sample_arguments: Arguments, networks: tuple[Generator, ClipEncoder]
) -> None:
    arguments = sample_arguments(tiny_world, tmp_path, "--truncation", "0.5", "--num-pairs", "10")
    assert sample.main(arguments) == 0
    expected = one_by_one(networks[0], range(10), psi=0.5).numpy()
    np.testing.assert_allclose(load_pairs(tmp_path)[0], expected, rtol=2**-10, atol=1e-4)
    assert read_manifest(tmp_path).truncation == 0.5


def test_images_are_kept_on_demand(
    tiny_world: Path,
    tiny_pairs: Path,
    tmp_path: Path,
    sample_arguments: Arguments,
    networks: tuple[Generator, ClipEncoder],
) -> None:
    assert sample.main(sample_arguments(tiny_world, tmp_path, "--save-images")) == 0
    np.testing.assert_array_equal(load_pairs(tmp_path)[0], load_pairs(tiny_pairs)[0])
    with tarfile.open(tmp_path / "shard-000001.tar") as archive:
        picture = Image.open(io.BytesIO(archive.extractfile("000000017.jpg").read()))
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 127.5 - 1
    expected = networks[0].synthesize(torch.from_numpy(load_pairs(tmp_path)[0][17:18]).float())[0]
    assert (picture.format, picture.size) == ("JPEG", (32, 32))
    assert (pixels - expected).abs().mean() < 0.1 * expected.std()


def test_bf16_stays_near_and_is_noted(
    tiny_world: Path, tiny_pairs: Path, tmp_path: Path, sample_arguments: Arguments
) -> None:
    arguments = sample_arguments(tiny_world, tmp_path, "--precision", "bf16")
    assert sample.main(arguments) == 0
    assert read_manifest(tmp_path).precision == "bf16"
    np.testing.assert_array_equal(load_pairs(tmp_path)[0], load_pairs(tiny_pairs)[0])
    rough, exact = (load_pairs(folder)[1].astype(np.float32) for folder in (tmp_path, tiny_pairs))
    assert not np.array_equal(rough, exact)
    assert (rough * exact).sum(axis=1).min() > 0.99


def test_generator_and_clip_can_be_named_apart(
    tiny_world: Path, other_world: Path, tmp_path: Path, sample_arguments: Arguments
) -> None:
    extra = ("--generator", str(other_world / "generator"), "--num-pairs", "4")
    assert sample.main(sample_arguments(tiny_world, tmp_path, *extra)) == 0
    manifest = read_manifest(tmp_path)
    assert manifest.generator.sha256 == load_generator(str(other_world)).identity.sha256
    assert manifest.clip.sha256 == ClipEncoder.from_pretrained(str(tiny_world / "clip")).identity.sha256


def test_a_rerun_of_a_finished_folder_changes_nothing(
    tiny_world: Path, tmp_path: Path, sample_arguments: Arguments
) -> None:
    arguments = sample_arguments(tiny_world, tmp_path)
    assert sample.main(arguments) == 0
    before, times = files(tmp_path), {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.tar")}
    assert sample.main(arguments) == 0
    assert files(tmp_path) == before
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.tar")} == times


def test_a_rerun_makes_only_what_is_missing_or_damaged(
    tiny_world: Path, tiny_pairs: Path, tmp_path: Path, sample_arguments: Arguments
) -> None:
    arguments = sample_arguments(tiny_world, tmp_path)
    assert sample.main(arguments) == 0
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.tar")}
    (tmp_path / "shard-000001.tar").unlink()
    (tmp_path / "shard-000002.tar").write_bytes(b"damaged")
    assert sample.main(arguments) == 0
    kept = {name for name, mtime in times.items() if (tmp_path / name).stat().st_mtime_ns == mtime}
    assert kept == {"shard-000000.tar", "shard-000003.tar"}
    assert files(tmp_path) == files(tiny_pairs)


def test_more_pairs_extend_a_folder(tiny_world: Path, tmp_path: Path, sample_arguments: Arguments) -> None:
    whole, grown = tmp_path / "whole", tmp_path / "grown"
    assert sample.main(sample_arguments(tiny_world, whole, "--num-pairs", "40")) == 0
    assert sample.main(sample_arguments(tiny_world, grown, "--num-pairs", "20")) == 0
    assert sample.main(sample_arguments(tiny_world, grown, "--num-pairs", "40")) == 0
    assert files(grown).keys() == files(whole).keys()
    np.testing.assert_array_equal(load_pairs(grown)[0], load_pairs(whole)[0])
    assert_close_in_float16(load_pairs(grown)[1], load_pairs(whole)[1])


@pytest.mark.parametrize("part", ["generator", "clip"])
def test_a_folder_of_other_networks_is_refused(
    tiny_world: Path,
    other_world: Path,
    tiny_pairs: Path,
    sample_arguments: Arguments,
    capsys: pytest.CaptureFixture[str],
    part: str,
) -> None:
    before = files(tiny_pairs)
    arguments = sample_arguments(tiny_world, tiny_pairs, f"--{part}", str(other_world / part))
    assert sample.main(arguments) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    recorded = json.loads((tiny_pairs / "manifest.json").read_text())[part]
    assert f"--{part}: " in line
    assert recorded["sha256"][:12] in line
    assert "asked" in line
    assert files(tiny_pairs) == before


@pytest.mark.parametrize("extra", [("--seed", "1"), ("--truncation", "0.7"), ("--shard-size", "8"), ("--save-images",)])
def test_a_folder_of_other_settings_is_refused(
    tiny_world: Path,
    tiny_pairs: Path,
    sample_arguments: Arguments,
    capsys: pytest.CaptureFixture[str],
    extra: tuple[str, ...],
) -> None:
    before = files(tiny_pairs)
    assert sample.main(sample_arguments(tiny_world, tiny_pairs, *extra)) == 1
    assert extra[0] in capsys.readouterr().err
    assert files(tiny_pairs) == before


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--num-pairs", "0"),
        ("--num-pairs", "-5"),
        ("--num-pairs", "many"),
        ("--batch-size", "0"),
        ("--shard-size", "-1"),
        ("--seed", "-1"),
        ("--truncation", "nan"),
        ("--truncation", "1.5"),
        ("--latent-layout", "s"),
        ("--precision", "16"),
        ("--shards", "5..2"),
        ("--device", "tpu"),
        ("--output", " "),
        ("--no-such-flag", "1"),
    ],
)
def test_a_wrong_flag_is_named(
    tiny_world: Path,
    tmp_path: Path,
    sample_arguments: Arguments,
    capsys: pytest.CaptureFixture[str],
    flag: str,
    value: str,
) -> None:
    output = tmp_path / "pairs"
    assert sample.main(sample_arguments(tiny_world, output, flag, value)) == 2
    error = capsys.readouterr().err
    assert error.startswith("text2latent sample: error: ")
    assert flag.lstrip("-").replace("-", "_") in error.replace("-", "_")
    assert not output.exists()


def test_an_unknown_model_is_a_usage_error(
    tmp_path: Path, sample_arguments: Arguments, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample.main(sample_arguments(tmp_path / "no-such-world", tmp_path / "pairs")) == 2
    assert "no-such-world" in capsys.readouterr().err
    assert not (tmp_path / "pairs").exists()


def test_a_model_without_weights_leaves_no_folder(
    tmp_path: Path, sample_arguments: Arguments, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert sample.main(sample_arguments(tmp_path / "empty", tmp_path / "pairs")) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "pairs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_an_absent_device_is_named(
    tiny_world: Path, tmp_path: Path, sample_arguments: Arguments, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample.main(sample_arguments(tiny_world, tmp_path / "pairs", "--device", "cuda")) == 1
    assert "--device" in capsys.readouterr().err


def test_output_that_is_a_file_is_refused(
    tiny_world: Path, tmp_path: Path, sample_arguments: Arguments, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("mine")
    assert sample.main(sample_arguments(tiny_world, tmp_path / "taken")) == 1
    assert "--output" in capsys.readouterr().err
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_named(
    tiny_world: Path, tmp_path: Path, sample_arguments: Arguments, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o500)
    assert sample.main(sample_arguments(tiny_world, tmp_path / "pairs")) == 1
    assert "--output" in capsys.readouterr().err
