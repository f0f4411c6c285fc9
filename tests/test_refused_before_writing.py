"""What a verb refuses is refused before anything is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from text2latent import sample
from text2latent.apps import convert
from text2latent.apps.evaluation import command as evaluate
from text2latent.apps.exports import command as export
from text2latent.models.generators.stylegan2 import StyleGAN2Generator
from text2latent.tests.sample_runs import files

SIZES = {"z_dim": 8, "w_dim": 16, "img_resolution": 32, "num_mapping_layers": 1, "channel_base": 64, "channel_max": 8}


def save_generator(folder: Path, broken: bool = False) -> Path:
    generator = StyleGAN2Generator(**SIZES)
    if broken:
        generator.mapping.fc0.weight.data.fill_(1e30)  # finite, and too much for the latents' float16
    generator.update_w_avg(num_samples=8)
    generator.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = [line for line in capsys.readouterr().err.strip().splitlines() if "error:" in line]
    return line


def test_pairs_that_cannot_be_kept(tmp_path: Path, tiny_world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = save_generator(tmp_path / "broken", broken=True)
    flags = ["--generator", str(generator), "--clip", str(tiny_world), "--device", "cpu"]
    assert sample.main([*flags, "--output", str(tmp_path / "pairs"), "--num-pairs", "4"]) == 1
    assert "not finite in float16" in error_of(capsys)
    assert not (tmp_path / "pairs").exists()


def test_latents_in_the_place_of_the_image(run_infer, tmp_path: Path) -> None:
    for flags in ([], ["--overwrite"]):
        code, _, err = run_infer("--text", "a cat", "--output", "a.png", "--save-latents", "./a.png", *flags)
        assert code == 2
        assert "--save-latents: expected another file than the image ./a.png" in err
    assert not list(tmp_path.glob("*.png"))


def test_a_prompt_far_down_whose_parts_cancel_out(run_infer, tmp_path: Path) -> None:
    texts = [*(f"text {i}" for i in range(300)), "a man:1 | a man:-1 | a man:0.00001"]
    (tmp_path / "prompts.txt").write_text("\n".join(texts))
    code, _, err = run_infer("--prompts", "prompts.txt", "--output", "images/", "--steps", "1")
    assert code == 2
    assert "cancel out" in err
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize(
    ("last", "flags", "message"),
    [
        ("a man:1 | a man:-1 | a man:0.00001", [], "cancel out"),
        ("a cat", ["--negative-text", " "], "expected some words"),
        ("a cat", ["--negative-text", "x", "--guidance-scale", "1"], "--guidance-scale other than 1"),
    ],
)
def test_evaluations_of_unusable_texts(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str], last: str, flags: list[str], message: str
) -> None:
    (tmp_path / "prompts.txt").write_text("\n".join([*(f"text {i}" for i in range(9)), last]))
    command = ["--prompts", str(tmp_path / "prompts.txt"), "--output", str(tmp_path / "out"), "--num-own", "10"]
    assert evaluate.main([*command, "--model", str(tiny_model), "--device", "cpu", *flags]) == 2
    assert message in error_of(capsys)
    assert not (tmp_path / "out").exists()


def test_segmentation_of_before_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prompts.txt").write_text("a cat\n")
    (tmp_path / "segmentation.json").write_text("{}")
    command = ["--prompts", str(tmp_path / "prompts.txt"), "--output", str(tmp_path), "--segmentation", "fcn_resnet50"]
    assert evaluate.main(command) == 1
    assert "segmentation.json exists already" in error_of(capsys)


def test_conversion_and_export_that_fail(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = StyleGAN2Generator(**SIZES)
    generator.synthesis.b4.const.data.fill_(1e5)
    generator.save_pretrained(tmp_path / "large")
    assert convert.main([str(tmp_path / "large"), str(tmp_path / "a/b/out"), "--half"]) == 1
    assert "too large for float16" in error_of(capsys)
    record = json.loads((tiny_model / "text2latent.json").read_text())
    copy = tmp_path / "model"
    copy.mkdir()
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        (copy / name).write_bytes((tiny_model / name).read_bytes())
    (copy / "scheduler").mkdir()
    (copy / "scheduler/scheduler_config.json").write_text('{"_class_name": "DDPMScheduler"}')
    (copy / "text2latent.json").write_text(json.dumps(record))
    assert export.main([str(copy), str(tmp_path / "a/b/out"), "--format", "pt2"]) == 1
    assert "draws noise at each step" in error_of(capsys)
    assert not (tmp_path / "a").exists()


def test_a_refusal_changes_nothing_in_a_folder_of_pairs(
    tmp_path: Path, tiny_pairs: Path, tiny_world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, generator = files(tiny_pairs), save_generator(tmp_path / "broken", broken=True)
    flags = ["--generator", str(generator), "--clip", str(tiny_world), "--device", "cpu"]
    assert sample.main([*flags, "--output", str(tiny_pairs), "--num-pairs", "99"]) == 1
    assert "not finite" in error_of(capsys)
    assert files(tiny_pairs) == before
