"""BigGAN amortised: pairs of (z, class embedding) and CLIP embeddings are drawn, a prior is fitted, texts are drawn."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from text2latent import infer, sample, train
from text2latent.apps.optimize import command as optimize
from text2latent.models.generators import load_generator

BIGGAN = Path(__file__).resolve().parent / "data" / "biggan"


@pytest.fixture(scope="module")
def prior(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior folder for the small BigGAN, after a few steps on 40 pairs."""
    root = tmp_path_factory.mktemp("biggan")
    networks = ["--generator", str(BIGGAN), "--clip", str(tiny_world)]
    sizes = ["--num-pairs", "40", "--shard-size", "20", "--batch-size", "8", "--device", "cpu"]
    assert sample.main([*networks, *sizes, "--output", str(root / "pairs")]) == 0
    network = ["--prior.width", "16", "--prior.depth", "1", "--data.batch-size", "8", "--data.val-pairs", "8"]
    steps = ["--max-steps", "4", "--validation.every-steps", "4", "--optimizer.warmup-steps", "1", "--device", "cpu"]
    assert train.main(["--data.path", str(root / "pairs"), "--output", str(root / "run"), *network, *steps]) == 0
    return root / "run"


def test_latents_are_z_and_class_embedding(prior: Path) -> None:
    from text2latent.models.priors.folder import load_prior

    generator = load_generator(BIGGAN)
    assert load_prior(str(prior)).prior.latent_shape == (1, generator.w_dim)
    z = generator.sample_latents(3, 0)
    mapped = generator.map(z)
    assert torch.equal(mapped[:, 0, : generator.z_dim], z[:, : generator.z_dim])


def test_texts_are_drawn_and_refined(prior: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, extra in (("a.png", []), ("b.png", ["--refine", "2"])):
        arguments = ["--model", str(prior), "--text", "a man", "--output", str(tmp_path / name), "--device", "cpu"]
        assert infer.main([*arguments, *extra]) == 0, capsys.readouterr().err
    first, refined = (np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "b.png"))
    assert first.shape == (16, 16, 3)
    assert (first != refined).any()


def test_optimisation_starts_from_the_prior(prior: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "a man",
        "--model",
        str(prior),
        "--init",
        "prior",
        "--iterations",
        "2",
        "--cutouts.count",
        "2",
        "--json",
    ]
    assert optimize.main([*arguments, "--device", "cpu", "--output", str(tmp_path / "out")]) == 0
    assert json.loads(capsys.readouterr().out)["iteration"] == 2
