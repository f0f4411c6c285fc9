"""Generators of other images than square RGB go the whole route: sample, train, infer, optimize, export and page."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from text2latent import infer, sample, train
from text2latent.apps.exports import command as export
from text2latent.apps.optimize import command as optimize
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.colours import MODES
from text2latent.models.generators import load_generator
from text2latent.models.generators.stylegan2 import StyleGAN2Generator
from text2latent.tests.train_runs import arguments

SIZES = {"z_dim": 8, "w_dim": 16, "img_resolution": 32, "num_mapping_layers": 1, "channel_base": 64, "channel_max": 8}
KINDS: dict[str, dict[str, Any]] = {
    "high": {"first_size": [4, 2]},
    "L": {"img_channels": 1},
    "LA": {"img_channels": 2},
    "RGBA": {"img_channels": 4},
}
QUICK = ("LA", "high")


@pytest.fixture(
    scope="module",
    params=[*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind not in QUICK)],
)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_world: Path) -> Path:
    """A folder named by its kind, with such a generator, `tiny_world`'s CLIP, pairs and a trained prior."""
    folder = tmp_path_factory.mktemp("kinds") / request.param
    torch.manual_seed(0)
    generator = StyleGAN2Generator(**SIZES, **KINDS[request.param])
    generator.update_w_avg(num_samples=8)
    generator.save_pretrained(folder / "generator")
    shutil.copytree(tiny_world / "clip", folder / "clip")
    flags = ["--num-pairs", "40", "--shard-size", "40", "--save-images", "true", "--device", "cpu"]
    assert sample.main(["--model", str(folder), "--output", str(folder / "pairs"), *flags]) == 0
    assert train.main(arguments(folder / "pairs", folder / "run", "--validation.prompts", "[a cat]")) == 0
    return folder


def draws_of(generator: StyleGAN2Generator) -> tuple[str, tuple[int, int]]:
    return MODES[generator.image_channels], generator.image_shape[::-1]


def test_pairs_are_of_what_clip_sees(world: Path) -> None:
    generator, clip = load_generator(world), ClipEncoder.from_pretrained(str(world))
    (shard,) = sorted((world / "pairs").glob("*.tar"))
    with tarfile.open(shard) as archive:
        first = {name.partition(".")[2]: archive.extractfile(name).read() for name in archive.getnames()[:3]}
    latent, embedding = (np.load(io.BytesIO(first[f"{name}.npy"])) for name in ("latent", "embedding"))
    images = generator.synthesize(torch.from_numpy(latent)[None].float())
    x = (images.double() + 1) / 2
    channels = generator.image_channels
    colours = x[:, :1].expand(-1, 3, -1, -1) if channels < 3 else x[:, :3]
    shown = colours if channels % 2 else colours * x[:, -1:] + (1 - x[:, -1:])
    expected = clip.encode_image((2 * shown - 1).float())
    np.testing.assert_allclose(embedding, expected[0].numpy(), atol=2e-3)
    jpeg = np.asarray(Image.open(io.BytesIO(first["jpg"])), dtype=float)
    assert np.abs(jpeg - 255 * shown[0].permute(1, 2, 0).numpy()).mean() < 8


def test_infer_writes_pictures_of_the_kind(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mode, size = draws_of(load_generator(world))
    common = ["--model", str(world / "run"), "--device", "cpu", "--text", "a cat", "--steps", "2"]
    assert infer.main([*common, "--output", "one.png", "--rerank", "2"]) == 0
    assert infer.main([*common, "--output", "grid.png", "--num-images", "4", "--grid"]) == 0
    with Image.open("one.png") as one, Image.open("grid.png") as grid:
        assert (one.mode, one.size) == (mode, size)
        assert (grid.mode, grid.size) == (mode, (4 * size[0] + 6, size[1]))
    again = ["--model", str(world / "run"), "--device", "cpu", "--image", "one.png", "--steps", "2"]
    assert infer.main([*again, "--output", "again.png", "--refine", "2"]) == 0


def test_transitions_become_animations(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--model", str(world / "run"), "--device", "cpu", "--interpolate", "a cat", "a dog"]
    assert infer.main([*flags, "--frames", "3", "--steps", "2", "--output", "film.gif"]) == 0
    with Image.open("film.gif") as film:
        assert (film.format, film.size) == ("GIF", draws_of(load_generator(world))[1])


def test_optimize_draws_the_kind(world: Path, tmp_path: Path) -> None:
    flags = ["--generator", str(world / "generator"), "--clip", str(world), "--device", "cpu", "--iterations", "2"]
    assert optimize.main(["a cat", *flags, "--output", str(tmp_path / "out")]) == 0
    mode, size = draws_of(load_generator(world))
    pictures = [Image.open(path) for path in sorted((tmp_path / "out").rglob("*.png"))]
    assert (mode, size) in [(picture.mode, picture.size) for picture in pictures]


@pytest.mark.slow
def test_exports_draw_the_kind(world: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert export.main([str(world / "run"), str(tmp_path / "out"), "--format", "onnx", "--steps", "2"]) == 0
    assert json.loads((tmp_path / "out" / "text2latent.json").read_text(encoding="utf-8"))
