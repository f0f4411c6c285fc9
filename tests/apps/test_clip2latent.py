"""`text2latent convert` of clip2latent's files: what is drawn with them, trained on them, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from types import FrameType

import numpy as np
import open_clip
import pytest
import torch

from text2latent import infer, train
from text2latent.apps import convert
from text2latent.common.errors import InputError
from text2latent.inference.conditions import embed_prompts
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.query import Query
from text2latent.inference.settings import Settings
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.generators import load_generator
from text2latent.models.priors import schedulers
from text2latent.models.priors.clip2latent import is_checkpoint
from text2latent.models.priors.folder import load_prior
from text2latent.tests.conftest import save_tiny_clip, save_tiny_generator
from text2latent.tests.data.test_clip2latent_pairs import EMBEDDINGS, members, write_folders, write_tar

DATA = Path(__file__).parents[1] / "data/clip2latent"
CHECKPOINT, YAML = DATA / "small-w.ckpt", DATA / "small-w.yaml"
PARTS = ["config.json", "diffusion_pytorch_model.safetensors", "scheduler", "text2latent.json"]
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator of w of 64 channels for 10 layers, and a CLIP of 64 channels; read only."""
    folder = tmp_path_factory.mktemp("worlds") / "small"
    save_tiny_generator(folder / "generator", w_dim=64, img_resolution=64)
    save_tiny_clip(folder / "clip", embed_dim=64)
    return folder


@pytest.fixture(scope="module")
def prior(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted") / "prior"
    assert convert.main(checkpoint_arguments(folder, "--generator", str(world), "--clip", str(world))) == 0
    return folder


def checkpoint_arguments(folder: Path, *flags: str) -> list[str]:
    return [str(CHECKPOINT), "--config", str(YAML), str(folder), *flags]


@pytest.mark.parametrize(("scale", "truncation"), [(1, 1), (2, 1), (2, 0.7)])
def test_a_converted_checkpoint_draws_what_clip2latent_draws(
    prior: Path, monkeypatch: pytest.MonkeyPatch, scale: int, truncation: float
) -> None:
    """From its embeddings and its noise, in CLIP's own length, through the whole pipeline."""
    pipeline = Text2LatentPipeline.from_pretrained(str(prior))
    with np.load(DATA / "small-w.io.npz") as file:
        embedding, noises = (torch.from_numpy(file[name]) for name in ("embedding", "noises_skip250"))
        expected = torch.from_numpy(file[f"w_skip250_scale{scale}_truncation{truncation}"])
    monkeypatch.setattr(schedulers, "following_noise", lambda *_: noises[1:, :, None])
    drawn = pipeline.draw_latents(embedding, noises[0][:, None], Settings(4, scale, truncation))
    torch.testing.assert_close(drawn.expand(-1, 10, -1), expected, atol=1e-5, rtol=1e-5)


def test_texts_and_images_come_in_their_own_length(prior: Path, world: Path) -> None:
    """As open_clip's own model gives them; what CLIP compares images with is of unit length."""
    pipeline = Text2LatentPipeline.from_pretrained(str(prior))
    tokens, picture = open_clip.get_tokenizer("ViT-B-32", context_length=24)(["a hat", "a dog"]), torch.zeros(3, 32, 32)
    with torch.no_grad():
        texts = pipeline.clip.model.encode_text(tokens)
        image = pipeline.clip.model.encode_image(pipeline.clip.preprocess(picture[None]))
    queries = [Query("a hat", negative="a dog"), Query(image=picture), Query("a hat", image=picture, image_weight=0.25)]
    found = pipeline.encode(queries)
    assert (texts.norm(dim=1) - 1).abs().min() > 0.01
    torch.testing.assert_close(found.condition, torch.stack([texts[0], image[0], 0.75 * texts[0] + 0.25 * image[0]]))
    torch.testing.assert_close(found.negative[0], texts[1])
    torch.testing.assert_close(found.target.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(found.text[0], embed_prompts(pipeline.clip, ["a hat"])[0])


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("a.png", ["--text", "a hat", "--truncation", "0.7"]),
        ("b.gif", ["--interpolate", "a hat", "a dog", "--frames", "3"]),
        ("c.png", ["--edit", "a hat", "a dog", "--truncation", "0.7"]),
    ],
)
def test_the_command_draws(prior: Path, tmp_path: Path, name: str, flags: list[str]) -> None:
    assert infer.main(["--model", str(prior), "--steps", "4", "--output", str(tmp_path / name), *flags]) == 0
    assert os.listdir(tmp_path) == [name]


def test_frames_end_at_the_conditions(prior: Path) -> None:
    pipeline = Text2LatentPipeline.from_pretrained(str(prior))
    frames = pipeline.interpolate("a hat", "a dog", num_frames=2, seeds=[3], num_inference_steps=4, output_type="pt")
    alone = pipeline(["a hat", "a dog"], seeds=[3], num_inference_steps=4, output_type="pt")
    torch.testing.assert_close(frames.latents, alone.latents, atol=1e-4, rtol=1e-4)


def test_the_folder_says_whose_it_is(prior: Path, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = load_prior(prior)
    generator, clip = load_generator(str(world)).identity, ClipEncoder.from_pretrained(str(world)).identity
    assert generator is not None
    assert clip is not None
    assert (loaded.generator.sha256, loaded.clip.sha256) == (generator.sha256, clip.sha256)
    assert sorted(os.listdir(prior)) == PARTS


def test_steps_that_divide_no_thousand_are_refused(
    prior: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a.png"
    assert infer.main(["--model", str(prior), "--text", "a hat", "--steps", "7", "--output", str(output)]) == 2
    assert "expected a divisor of 1000 such as 5 for this sampler, got 7" in capsys.readouterr().err
    assert not output.exists()


def test_without_flags_the_yaml_files_names_are_kept(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever draws names the networks then, and is warned that nothing was compared."""
    assert convert.main(checkpoint_arguments(tmp_path / "out", "--json")) == 0
    shown = capsys.readouterr()
    assert shown.err.count("it is not known which weights these are") == 2
    report = json.loads(shown.out)
    assert (report["generator"], report["clip"]) == ("x (no checksum known)", "ViT-B-32/openai (no checksum known)")
    arguments = ["--model", str(tmp_path / "out"), "--text", "a hat", "--output", str(tmp_path / "a.png")]
    assert infer.main(arguments) == 1
    assert "pass --generator" in capsys.readouterr().err
    assert infer.main([*arguments, "--generator", str(world), "--clip", str(world)]) == 0
    assert "generator: it is not known whether generator (" in capsys.readouterr().err


def test_other_networks_are_refused(prior: Path, other_world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", str(prior), "--text", "a hat", "--generator", str(other_world)]
    assert infer.main(arguments) == 1
    assert "the weights are not the same" in capsys.readouterr().err


def test_it_cannot_be_exported(prior: Path, tmp_path: Path) -> None:
    from text2latent.apps.exports.exporting import Export, export_model

    with pytest.raises(InputError, match="this is clip2latent's own"):
        export_model(Text2LatentPipeline.from_pretrained(str(prior)), tmp_path / "out", Export())
    assert not (tmp_path / "out").exists()


def test_a_prior_is_replaced_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = checkpoint_arguments(tmp_path / "out")
    assert convert.main(arguments) == 0
    assert convert.main(arguments) == 1
    assert "exists already; expected a new name, or --overwrite" in capsys.readouterr().err
    assert convert.main([*arguments, "--overwrite"]) == 0
    (tmp_path / "out/thesis.tex").write_text("years of work", encoding="utf-8")
    assert convert.main([*arguments, "--overwrite"]) == 1
    assert "expected a new folder or a prior's, it holds thesis.tex" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path / "out")) == [*PARTS, "thesis.tex"]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for index in range(2):
        embeddings, latents = (RNG.standard_normal((6, 16)).astype(np.float32) for _ in range(2))
        write_tar(tmp_path / f"in/{index:05d}.tar", members(embeddings, latents, 10_000 * index))
    return tmp_path / "in"


def test_a_prior_trains_on_converted_pairs(pairs: Path, tiny_world: Path, tmp_path: Path) -> None:
    flags = ["--generator", str(tiny_world), "--clip", str(tiny_world)]
    assert convert.main([str(pairs), str(tmp_path / "pairs"), *flags]) == 0
    run = ["--data.path", str(tmp_path / "pairs"), "--output", str(tmp_path / "run"), "--device", "cpu"]
    small = ["--prior.width", "64", "--prior.depth", "1", "--max_steps", "2", "--data.batch-size", "4"]
    assert train.main([*run, *small]) == 0
    image = tmp_path / "a.png"
    assert infer.main(["--model", str(tmp_path / "run"), "--text", "a hat", "--output", str(image)]) == 0
    assert image.exists()


def test_pairs_without_flags_train_without_a_clip(pairs: Path, tmp_path: Path) -> None:
    assert convert.main([str(pairs), str(tmp_path / "pairs")]) == 0
    run = ["--data.path", str(tmp_path / "pairs"), "--output", str(tmp_path / "run"), "--device", "cpu"]
    small = ["--prior.width", "64", "--prior.num-heads", "1", "--prior.depth", "1", "--max_steps", "2"]
    recipe = ["--config", "clip2latent", "--data.batch-size", "4", "--validation.every-steps", "2"]
    assert train.main([*recipe, *run, *small]) == 0
    assert load_prior(tmp_path / "run").generator.sha256 == ""


def test_lost_coarse_rows_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    latents = RNG.standard_normal((5, 1, 16)).astype(np.float32).repeat(3, axis=1)
    write_folders(tmp_path / "in", members(EMBEDDINGS, latents))
    assert convert.main([str(tmp_path / "in"), str(tmp_path / "out"), "--json"]) == 0
    shown = capsys.readouterr()
    assert "in place of the coarse ones', which is lost" in shown.err
    assert json.loads(shown.out)["latents"] == "w_k [3, 16]"


def test_an_input_is_looked_into_for_its_kind_once(tmp_path: Path) -> None:
    """A checkpoint may have gigabytes, which are read through for that."""
    asked: list[Path] = []

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is is_checkpoint.__code__:
            asked.append(frame.f_locals["path"])

    lay_out(tmp_path)
    sys.setprofile(watch)
    try:
        assert convert.main([str(tmp_path / "ckpt"), str(tmp_path / "out")]) == 2
    finally:
        sys.setprofile(None)
    assert asked == [tmp_path / "ckpt"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["ckpt", "out"], 2, "--config: expected the YAML file of clip2latent's checkpoint ckpt, got none"),
        (["ckpt", "out", "--config", "missing.yaml"], 1, "missing.yaml: expected a local path"),
        (["missing.ckpt", "out", "--config", "yaml"], 1, "missing.ckpt: expected a local path"),
        (["cut.ckpt", "out", "--config", "yaml"], 1, "cut.ckpt: "),
        (["ckpt", "out", "--config", "ckpt"], 1, "expected a YAML file of at most 64 KiB"),
        (["ckpt", "out", "--config", "yaml", "--half"], 2, "--half: expected a generator with it"),
        (["ckpt", "out", "--config", "yaml", "--generator", "TINY"], 1, "--generator: expected latents of 64 channels"),
        (
            ["ckpt", "out", "--config", "yaml", "--clip", "TINY"],
            1,
            "--clip: expected embeddings of 64 channels",
        ),
        (["ckpt", "out", "--config", "yaml", "--generator", "missing"], 2, "generator 'missing': expected a name"),
        (["ckpt", "yaml", "--config", "yaml"], 1, "yaml: expected a new folder, there is a file"),
        (["ckpt", "yaml/out", "--config", "yaml"], 1, "yaml is a file"),
        (["pairs", "out", "--overwrite"], 2, "--overwrite: expected none for pairs, which need a new folder"),
        (["pairs", "full"], 1, "full: expected a new or empty folder, found thesis.tex"),
        (["pairs", "out", "--generator", "TINY"], 1, "--generator: expected latents of 512 channels, got 16"),
        (["cut.tar", "out"], 1, "cut.tar: "),
        (["late", "out"], 1, "b.latent.npy"),
        (["faces", "out", "--clip", "faces"], 2, "--clip: expected clip2latent's checkpoint or pairs with it"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    tmp_path: Path,
    tiny_world: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    lay_out(tmp_path)
    before = sorted(map(str, tmp_path.rglob("*")))
    assert convert.main([str(tiny_world) if word == "TINY" else word for word in arguments]) == code
    error = capsys.readouterr().err
    assert message in error
    assert len([line for line in error.splitlines() if "error:" in line]) == 1
    assert "Traceback" not in error
    assert sorted(map(str, tmp_path.rglob("*"))) == before


def lay_out(folder: Path) -> None:
    shutil.copy(CHECKPOINT, folder / "ckpt")
    shutil.copy(YAML, folder / "yaml")
    (folder / "cut.ckpt").write_bytes(CHECKPOINT.read_bytes()[:900_000])
    (folder / "full").mkdir()
    (folder / "full/thesis.tex").write_text("years of work", encoding="utf-8")
    (folder / "pairs").mkdir()
    embeddings, latents = (RNG.standard_normal((2, 512)).astype(np.float32) for _ in range(2))
    whole = write_tar(folder / "pairs/00000.tar", members(embeddings, latents))
    (folder / "cut.tar").write_bytes(whole.read_bytes()[:6000])
    late = members(embeddings, latents)
    late |= {"b.img_feat.npy": late[next(iter(late))], "b.latent.npy": b"damaged"}
    (folder / "late").mkdir()
    write_tar(folder / "late/00000.tar", late)
