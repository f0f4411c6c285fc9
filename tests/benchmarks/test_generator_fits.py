"""The comparison of generators: it distinguishes the shipped one from one with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from text2latent.benchmarks.generator_fits import main, sharpness
from text2latent.benchmarks.report import read_parts
from text2latent.zoo.fit.generator import make_generator, psnr
from text2latent.zoo.world import load_world

FACES = load_world("faces")


@pytest.fixture(scope="module")
def random_generator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generators") / "random"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        make_generator(FACES).half().save_pretrained(folder)
    return folder


def test_it_tells_a_good_generator_from_a_random_one(tmp_path, random_generator, capsys):
    file = tmp_path / "fits.json"
    flags = ["--num-images", "8", "--device", "cpu", "--json", str(file)]
    assert main(["faces", str(random_generator), *flags]) == 0
    parts = read_parts(file)
    assert list(parts) == ["renders", "faces", str(random_generator)]
    assert parts["faces"]["command"] == (
        f"python benchmarks/generator_fits.py faces {random_generator} --num-images 8 --device cpu"
    )
    figures = {name: {figure.name: figure.value for figure in part["figures"]} for name, part in parts.items()}
    renders, good, bad = figures.values()
    agreement = "agreement with the attributes meant"
    for name in (f"{agreement}, mean", "PSNR of w of known meaning against their renders"):
        assert good[name] > bad[name] + 0.2
    assert all(f"{agreement}, {name}" in good for name in FACES.names)
    distance = "Frechet distance to renders in CLIP space"
    assert good[distance] < bad[distance]
    assert renders[f"{agreement}, mean"] > 0.9
    assert renders["judge's confidence over that on renders"] == pytest.approx(1, abs=0.1)
    out = capsys.readouterr().out
    assert "PSNR" in out
    assert "short" in out


def test_sharpness_against_scipy():
    from scipy.ndimage import laplace

    images = np.random.default_rng(0).standard_normal((2, 3, 9, 8))
    expected = np.mean([np.abs(laplace(channel)[1:-1, 1:-1]) for image in images for channel in image])
    assert sharpness(torch.from_numpy(images)) == pytest.approx(expected, rel=1e-9)
    assert sharpness(torch.ones(1, 3, 8, 8)) == 0


def test_psnr_against_scikit_formula():
    images, targets = torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.2)
    assert psnr(images, targets).item() == pytest.approx(20.0, rel=1e-5)  # 10 log10(2^2 / 0.2^2)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "generators"),
        (["no-such-thing"], 2, "no-such-thing"),
        (["faces", "--num-images", "1"], 2, "--num-images"),
        (["faces", "--device", "tpu"], 2, "--device"),
    ],
)
def test_wrong_input_is_one_line(capsys, arguments, code, words):
    assert main(arguments) == code
    error = capsys.readouterr().err
    assert words.lower() in error.lower()
    assert error.count("\n") == 1
