"""No verb takes a flag that it would ignore: it is refused in a line that says what it is for, before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from text2latent.__main__ import main

NEEDED = "expected {} with it, which it is for"
TEXT = ("infer", "--text", "a cat")
LATENTS = ("infer", "--latents", "w.npz")
TRAIN = ("train", "--data.path", "pairs", "--output", "out")
OPTIMIZE = ("optimize", "a cat", "--output", "out")
EVALUATE = ("evaluate", "--prompts", "p.txt", "--output", "out")


@pytest.mark.parametrize(
    ("command", "flag", "message"),
    [
        (TEXT, "--frames 5", NEEDED.format("--interpolate")),
        (TEXT, "--image-weight 0.2", NEEDED.format("--image and a text")),
        (TEXT, "--force", NEEDED.format("--generator or --clip")),
        (("infer", "--image", "a.png"), "--image-weight 0.2", NEEDED.format("--image and a text")),
        (LATENTS, "--seed 3", "expected no such flag with --latents"),
        (LATENTS, "--num-images 3", "expected no such flag with --latents"),
        (LATENTS, "--steps 3", "expected no such flag with --latents"),
        (LATENTS, "--guidance-scale 3", "expected no such flag with --latents"),
        (LATENTS, "--negative-text rain", "expected no such flag with --latents"),
        ((*LATENTS, "--edit", "a", "b"), "--rerank 3", "expected no such flag with --latents"),
        (("infer", "--edit", "a", "b"), "--refine 3", "expected no such flag with --edit of random images"),
        (("export", "faces", "out"), "--steps 3", NEEDED.format("--format onnx, pt2 or web")),
        (("export", "faces", "out"), "--guidance-scale 3", NEEDED.format("--format onnx, pt2 or web")),
        (("export", "faces", "out", "--format", "pt2"), "--int8", NEEDED.format("--format onnx or web")),
        (("export", "faces", "out"), "--onnxruntime-web .", NEEDED.format("--format web")),
        (("export", "faces", "out", "--format=onnx"), "--compile yes", NEEDED.format("--format pt2")),
        (("export", "faces", "out"), "--force", NEEDED.format("--generator or --clip")),
        (EVALUATE, "--force", NEEDED.format("--generator or --clip")),
        (("evaluate", "--images", "a.png", "--output", "out"), "--steps 3", "expected no such flag with --images"),
        (("evaluate", "--images", "a.png", "--output", "out"), "--num-own 30", "expected no such flag with --images"),
        (TRAIN, "--validation.steps 3", NEEDED.format("--validation.prompts")),
        (
            (*TRAIN, "--diffusion.noise-scale", "0"),
            "--diffusion.random-noise yes",
            NEEDED.format("a noise_scale other than 0"),
        ),
        (
            ("sample", "--output", "out", "--generator", "g", "--clip", "c"),
            "--model m",
            "expected none with both a generator and a clip",
        ),
        (("project", "a.png", "--output", "out"), "--force", NEEDED.format("--generator or --clip")),
        (("project", "a.png", "--output", "out"), "--tune.noise", NEEDED.format("--tune.steps")),
        (OPTIMIZE, "--image-weight 0.2", NEEDED.format("--image and a text")),
        (OPTIMIZE, "--fps 3", NEEDED.format("--video")),
        (OPTIMIZE, "--hold-seconds 3", NEEDED.format("--video")),
        (OPTIMIZE, "--class-temperature 3", NEEDED.format("--max-classes")),
        (
            (*OPTIMIZE, "--cutouts.distribution", "uniform"),
            "--cutouts.mean-size 0.7",
            NEEDED.format("--cutouts.distribution normal"),
        ),
        ((*OPTIMIZE, "--compare", "adam,sgd"), "--optimizer sgd", "expected none with --compare"),
    ],
    ids=lambda part: part if isinstance(part, str) and part.startswith("--") else "",
)
def test_flag_that_would_be_ignored_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    flag: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*command, *flag.split()]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"text2latent {command[0]}: error: {flag.split()[0]}: {message}")
    assert not list(tmp_path.iterdir())


def test_defaults_of_a_file_are_no_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run's own config.yaml has all values, those without effect too."""
    config = tmp_path / "config.yaml"
    config.write_text("diffusion:\n  noise_scale: 0\n  random_noise: true\nvalidation:\n  steps: 8\n  prompts: []\n")
    command = ["train", "--data.path", str(tmp_path / "none"), "--output", str(tmp_path / "out")]
    assert main([*command, "--config", str(config)]) == 1
    assert "none: expected a folder of pairs" in capsys.readouterr().err
