"""The verb on a tiny world: what it writes, going on, edits and ways, tuning, and every refusal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from text2latent.apps.projection import command as project
from text2latent.apps.projection.command import spell_words
from text2latent.configs.projections import ProjectConfig
from text2latent.inference.latents_file import load_latents
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.generators import load_generator
from text2latent.tests.pictures import Infer

Project = Callable[..., tuple[int, str, str]]
DATA = Path(__file__).resolve().parents[2] / "data"
FEW = ("--candidates", "2", "--steps", "6", "--device", "cpu")


@pytest.fixture
def run_project(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Project:
    """Runs project in a folder with two pictures, a.png and b.jpg; gives the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    pictures = Text2LatentPipeline.from_pretrained(str(tiny_model))("a man", seeds=[1, 2], num_images_per_prompt=2)
    pictures.images[0].save("a.png")
    pictures.images[1].resize((90, 70)).save("b.jpg")

    def run(*arguments: str, model: str = str(tiny_model)) -> tuple[int, str, str]:
        given = [*arguments, *("--model", model), *(FEW if "--steps" not in arguments else FEW[:2] + FEW[4:])]
        if "mean" in arguments:
            given = [word for i, word in enumerate(given) if "--candidates" not in given[max(0, i - 1) : i + 1]]
        code = project.main(given)
        return code, *capsys.readouterr()

    return run


def test_what_is_written(run_project: Project, tiny_world: Path) -> None:
    code, out, err = run_project("a.png", "b.jpg", "--output", "out", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "a.npz", "a.png", "b.npz", "b.png", "run.json", "state.pt",
    ]  # fmt: skip
    assert [one["file"] for one in report["pictures"]] == ["out/a.png", "out/b.png"]
    assert all(one["steps"] == 6 and one["psnr"] > 5 for one in report["pictures"])
    generator = load_generator(str(tiny_world))
    drawn = generator.synthesize(load_latents("out/a.npz", generator.latent_shape))
    levels = ((drawn[0] + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 0).numpy()
    assert np.abs(levels - np.asarray(Image.open("out/a.png"), dtype=np.float32)).max() <= 1


def test_a_picture_of_the_generators_own_is_found(run_project: Project) -> None:
    code, out, err = run_project("a.png", "--output", "out", "--steps", "120", "--json")
    assert code == 0, err
    (found,) = json.loads(out)["pictures"]
    assert found["psnr"] > 25


def test_latents_are_taken_by_infer(run_project: Project, run_infer: Infer) -> None:
    assert run_project("a.png", "--output", "out")[0] == 0
    code, _, err = run_infer("--latents", "out/a.npz", "--edit", "a man", "a woman", "--output", "edited.png")
    assert code == 0, err


def test_edit_way_and_video_follow_at_once(run_project: Project) -> None:
    more = ("--edit", "a man", "a woman", "--strength", "0.5", "--interpolate", "--frames", "5", "--video", "way.gif")
    code, out, err = run_project("a.png", "b.jpg", "--output", "out", "--save-every", "3", *more)
    assert code == 0, err
    assert out.splitlines()[2:] == ["out/a-edited.png", "out/b-edited.png", "out/way.gif", "way.gif"]
    assert Image.open("out/way.gif").n_frames == 5
    video = Image.open("way.gif")
    # At steps 0 and 3, and at the end; pictures above images.
    assert video.n_frames == 3
    side = Image.open("out/a.png").size[0]
    assert video.size == (2 * side + 2, 2 * side + 2)
    assert not np.array_equal(Image.open("out/a.png"), Image.open("out/a-edited.png"))


def test_from_a_picture_to_a_text(run_project: Project) -> None:
    code, _, err = run_project("a.png", "--output", "out", "--interpolate", "--text", "a woman", "--frames", "3")
    assert code == 0, err
    assert Image.open("out/way.gif").n_frames == 3


def test_tuning_writes_a_generator_that_its_prior_draws_with(run_project: Project, run_infer: Infer) -> None:
    plain = json.loads(run_project("a.png", "--output", "plain", "--json")[1])
    code, out, err = run_project(
        "a.png", "--output", "out", "--tune.steps", "30", "--tune.learning-rate", "3e-3", "--json"
    )
    assert code == 0, err
    report = json.loads(out)
    assert report["more"] == ["out/generator"]
    assert report["pictures"][0]["psnr"] > plain["pictures"][0]["psnr"]
    code, _, err = run_infer("--text", "a man", "--generator", "out/generator", "--output", "tuned.png")
    assert code == 0, err
    assert "was tuned from" in err


@pytest.mark.parametrize("source", ["", "biggan", "generators/sg2ada-64.pkl"], ids=["stylegan2", "biggan", "a pickle"])
def test_without_a_prior_a_generator_is_enough(run_project: Project, tiny_world: Path, source: str) -> None:
    generator = DATA / source if source else tiny_world / "generator"
    code, out, err = run_project("a.png", "--generator", str(generator), "--init", "mean", "--output", "out")
    assert code == 0, err
    assert "PSNR" in out


def test_one_run_goes_on_and_another_is_refused(run_project: Project) -> None:
    assert run_project("a.png", "--output", "out")[0] == 0
    before = Path("out/state.pt").stat().st_mtime_ns
    assert run_project("a.png", "--output", "out")[0] == 0
    assert Path("out/state.pt").stat().st_mtime_ns == before
    code, _, err = run_project("b.jpg", "--output", "out")
    assert code == 1
    assert "out holds another run (pictures" in err
    assert run_project("b.jpg", "--output", "out", "--overwrite")[0] == 0


def test_an_interrupted_search_ends_as_an_undisturbed_one(run_project: Project, tiny_model: Path) -> None:
    settings = ["--steps", "400", "--patience", "0", "--save-every", "20", *FEW[:2], *FEW[4:]]
    command = [sys.executable, "-m", "text2latent", "project", "a.png", "--model", str(tiny_model), *settings]
    alike: dict[str, Any] = {"env": {**os.environ, "OMP_NUM_THREADS": "1"}, "text": True}
    whole = subprocess.run([*command, "--output", "whole"], capture_output=True, check=False, **alike)
    assert whole.returncode == 0, whole.stderr
    command += ["--output", "cut"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, **alike)
    while not Path("cut/state.pt").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.rstrip().endswith("run the same command again to go on")
    assert not Path("cut/a.png").exists()
    again = subprocess.run(command, capture_output=True, check=False, **alike)
    assert again.returncode == 0, again.stderr
    assert np.array_equal(np.load("cut/a.npz")["w"], np.load("whole/a.npz")["w"])


def test_a_damaged_state_is_told(run_project: Project) -> None:
    assert run_project("a.png", "--output", "out")[0] == 0
    Path("out/state.pt").write_bytes(b"PK nothing")
    code, _, err = run_project("a.png", "--output", "out")
    assert code == 1
    assert "out/state.pt: expected the state of a projection" in err
    assert len(err.splitlines()) == 1


def test_a_picture_far_from_the_domain_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save("noise.png")
    assert project.main(["noise.png", "--output", "out", "--steps", "0", "--device", "cpu"]) == 0
    assert "warning: noise.png: unlike anything that this generator draws" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "PICTURE: expected at least one image file, got none"),
        (("none.png",), 1, "PICTURE: none.png: no such file"),
        (("run.txt",), 1, "PICTURE: run.txt: expected an image file"),
        (("a.png", "--edit", '["a"]'), 2, "--edit: expected two texts"),
        (("a.png", "--edit", "a", " "), 2, "--edit: expected a list of texts"),
        (("a.png", "--strength", "2"), 2, "--strength: expected --edit with it"),
        (("a.png", "--interpolate"), 2, "--interpolate: expected two pictures, or one with --text, got 1"),
        (
            ("a.png", "b.jpg", "--interpolate", "--text", "x"),
            2,
            "--interpolate: expected one picture with --text, got 2",
        ),
        (("a.png", "--text", "x"), 2, "--text: expected --interpolate with it"),
        (("a.png", "--crop", "9,9"), 2, "--crop: expected X,Y,WIDTH,HEIGHT"),
        (("a.png", "--crop", "0,0,999,9"), 1, "a.png: --crop 0,0,999,9 lies outside its 32 x 32 pixels"),
        (("a.png", "--aligner", "no.such"), 2, "--aligner: expected a function"),
        (("a.png", "--weights", "{pixels: 0, structure: 0, features: 0}"), 2, "weights: expected at least one above 0"),
        (("a.png", "--weights.pixels", "-1"), 2, "--weights.pixels"),
        (("a.png", "--lpips-weights", "none.pth"), 1, "--lpips-weights: none.pth: no such file"),
        (("a.png", "--tune.noise"), 2, "--tune.noise: expected --tune.steps with it"),
        (("a.png", "--video", "a.txt"), 2, "--video: expected a file name that ends in"),
        (("a.png", "--steps", "x"), 2, "--steps"),
        (("a.png", "--output", "a.png"), 1, "--output: expected a folder, a.png is a file"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    run_project: Project, arguments: tuple[str, ...], code: int, message: str
) -> None:
    Path("run.txt").write_text("no picture")
    before = sorted(Path().iterdir())
    returned, out, err = run_project(*arguments)
    assert (returned, out) == (code, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert sorted(Path().iterdir()) == before


def test_words_become_flags() -> None:
    assert spell_words(["a b.png", "c.png", "--edit", "x", "y", "--seed", "1"]) == [
        "--pictures", '["a b.png", "c.png"]', "--edit", '["x", "y"]', "--seed", "1",
    ]  # fmt: skip
    assert spell_words(["--pictures", '["a.png"]', "--edit", '["x", "y"]']) == [
        "--pictures", '["a.png"]', "--edit", '["x", "y"]',
    ]  # fmt: skip


def test_settings_come_from_a_file_too(run_project: Project) -> None:
    Path("how.yaml").write_text("weights: {structure: 0.0, features: 0.5}\npatience: 7\nedit: [a man, a woman]\n")
    config = project.build_parser().parse(spell_words(["a.png", "--config", "how.yaml"]))
    assert isinstance(config, ProjectConfig)
    assert (config.weights.features, config.weights.structure, config.patience) == (0.5, 0.0, 7)
    assert config.edit == ["a man", "a woman"]
    assert run_project("a.png", "--config", "how.yaml", "--output", "out")[0] == 0
    assert Path("out/a-edited.png").is_file()


@torch.no_grad()
def test_groups_of_pictures_change_nothing(run_project: Project) -> None:
    for size in ("1", "2"):
        assert run_project("a.png", "b.jpg", "--output", f"out{size}", "--batch-size", size)[0] == 0
    for name in ("a", "b"):
        one, other = (np.load(f"out{size}/{name}.npz")["w"] for size in ("1", "2"))
        np.testing.assert_allclose(one, other, atol=1e-3)
