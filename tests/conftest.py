"""Fixtures for all tests: small networks with random weights on disk, pairs drawn from them, and what runs on them."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from text2latent import infer
from text2latent.models.generators.stylegan2 import StyleGAN2Generator
from text2latent.tests.pictures import Infer

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""Tests that were started in the background ignore Ctrl-C, or with nohup SIGHUP, and what they start would as well."""
TINY_CLIP: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is kept in the cache of whoever runs the tests, or read from it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXT2LATENT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def save_tiny_generator(folder: Path, seed: int = 0, w_dim: int = 16, img_resolution: int = 32) -> Path:
    """Save a StyleGAN2 of 32x32 pixels, z 24 and w 16 dimensions, with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = StyleGAN2Generator(
            z_dim=24, w_dim=w_dim, img_resolution=img_resolution, num_mapping_layers=2, channel_base=256, channel_max=16
        )
    generator.update_w_avg(num_samples=256)
    generator.save_pretrained(folder)
    return folder


def save_tiny_clip(folder: Path, seed: int = 0, embed_dim: int = 16) -> Path:
    """Save an open_clip model of 32x32 pixels and 16 dimensions, with random weights, in the hub layout."""
    import open_clip

    model_cfg = {**TINY_CLIP, "embed_dim": embed_dim}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.CLIP(**model_cfg)
    preprocess = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic"}
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    config = json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess})
    (folder / "open_clip_config.json").write_text(config, encoding="utf-8")
    (folder / "prompts.txt").write_text("a hat\n帽子\na red house by the sea\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `generator/` and `clip/`, good as `--model FOLDER`; read only."""
    world = tmp_path_factory.mktemp("worlds") / "tiny"
    save_tiny_generator(world / "generator")
    save_tiny_clip(world / "clip")
    return world


@pytest.fixture(scope="session")
def other_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `tiny_world`, of the same shapes and with other weights; read only."""
    world = tmp_path_factory.mktemp("worlds") / "other"
    save_tiny_generator(world / "generator", seed=1)
    save_tiny_clip(world / "clip", seed=1)
    return world


def _sample_arguments(world: Path, output: Path | str, *extra: str) -> list[str]:
    settings = {"--num-pairs": "50", "--shard-size": "16", "--batch-size": "8", "--device": "cpu"}
    defaults = [word for flag, value in settings.items() if flag not in extra for word in (flag, value)]
    return ["--model", str(world), "--output", str(output), *defaults, *extra]


@pytest.fixture(scope="session")
def sample_arguments() -> Callable[..., list[str]]:
    """Function (world, output, *extra) -> arguments of sample.py: 50 pairs in shards of 16, or as `extra` says."""
    return _sample_arguments


@pytest.fixture(scope="session")
def tiny_pairs(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dataset of 50 pairs of `tiny_world` in shards of 16; read only."""
    from text2latent import sample

    folder = tmp_path_factory.mktemp("pairs") / "tiny"
    assert sample.main(_sample_arguments(tiny_world, folder)) == 0
    return folder


@pytest.fixture(scope="session")
def tiny_run(tiny_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training run of 12 steps on `tiny_pairs`, with grids; read only."""
    from text2latent import train
    from text2latent.tests.train_runs import PROMPTS, arguments

    run = tmp_path_factory.mktemp("runs") / "tiny"
    extra = ("--validation.prompts", PROMPTS, "--validation.num_images", "3")
    assert train.main(arguments(tiny_pairs, run, *extra)) == 0
    return run


@pytest.fixture
def run_copy(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of `tiny_run`, to do with as a test likes."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


@pytest.fixture(scope="session")
def tiny_model(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior folder with random weights for `tiny_world`, good as infer's `--model FOLDER`; read only."""
    from text2latent.models.clip.encoder import ClipEncoder
    from text2latent.models.generators import load_generator
    from text2latent.models.priors.folder import TrainedPrior, save_prior
    from text2latent.models.priors.residual_mlp import ResidualMLPPrior
    from text2latent.models.priors.schedulers import build_scheduler

    parts = {"generator": load_generator(str(tiny_world)), "clip": ClipEncoder.from_pretrained(str(tiny_world))}
    prior = ResidualMLPPrior((1, 16), 16, width=32, depth=2)
    rng = torch.Generator().manual_seed(0)
    for parameter in prior.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=rng)
    folder = tmp_path_factory.mktemp("priors") / "tiny"
    record = {part: network.identity.to_dict() for part, network in parts.items()}
    save_prior(folder, TrainedPrior(prior, build_scheduler("euler", "flow"), record))
    return folder


@pytest.fixture
def run_infer(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Infer:
    """Runs infer with the tiny model in an empty current folder; gives the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, model: str = str(tiny_model)) -> tuple[int, str, str]:
        code = infer.main(["--model", model, "--device", "cpu", *arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def without_package(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Function (name) after which that package counts as not installed."""
    find = importlib.util.find_spec

    def hide(name: str) -> None:
        def without(asked: str, *rest: Any) -> Any:
            return None if asked == name else find(asked, *rest)

        monkeypatch.setattr(importlib.util, "find_spec", without)

    return hide


@pytest.fixture(scope="session")
def faces_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The faces world exported in all formats, with weights in eight bits too, not compiled; read only."""
    from text2latent.apps.exports import command as export

    folder = tmp_path_factory.mktemp("exports") / "faces"
    formats = [word for name in export.FORMATS for word in ("--format", name)]
    text = ["--text", "blonde woman with glasses"]
    assert export.main(["faces", str(folder), *formats, "--int8", "--compile", "no", *text]) == 0
    return folder


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    moto = pytest.importorskip("moto.server")
    import boto3
    from s3fs import S3FileSystem

    running = moto.ThreadedMotoServer(port=0)
    running.start()
    address = "http://{}:{}".format(*running.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3", endpoint_url=address).create_bucket(Bucket="bucket")
        yield address
    S3FileSystem.clear_instance_cache()  # fsspec would go on asking this server
    running.stop()
