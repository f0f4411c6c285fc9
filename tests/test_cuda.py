"""The verbs on a CUDA device: what they make there is what they make on the CPU, but for rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from text2latent import infer, sample, train
from text2latent.apps.optimize import command as optimize
from text2latent.data.shards import load_pairs
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.generators import load_generator
from text2latent.tests.models.generators.formats.test_formats import FILES, deviation, original
from text2latent.tests.pictures import JAPANESE, TEXT, differ, pixels
from text2latent.tests.train_runs import arguments, loss_curve
from text2latent.training.checkpoints import numbered_checkpoints

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("name", FILES)
def test_generators_agree_with_the_original(name):
    generator, io = original(name)
    generator.to("cuda")
    label = io["c"].to("cuda") if "c" in io else None
    assert deviation(generator.map(io["z"].to("cuda"), label).cpu(), io["ws"]) < 1e-4
    assert deviation(generator.synthesis(io["ws"].to("cuda"), force_fp32=True).cpu(), io["image_const"]) < 1e-4
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("name", FILES)
def test_generators_stay_close_in_bf16(name):
    generator, io = original(name)
    generator.to("cuda")
    with torch.autocast("cuda", torch.bfloat16):
        images = generator.synthesis(io["ws"].to("cuda")).float().cpu()
    assert deviation(images, io["image_const"]) < 2e-2


def test_pairs_are_those_of_the_cpu(tiny_world, tiny_pairs, sample_arguments, tmp_path):
    assert sample.main(sample_arguments(tiny_world, tmp_path / "pairs", "--device", "cuda", "--batch-size", "7")) == 0
    for ours, theirs in zip(load_pairs(tmp_path / "pairs"), load_pairs(tiny_pairs), strict=True):
        np.testing.assert_allclose(ours.astype(np.float32), theirs.astype(np.float32), atol=2e-3, rtol=2e-3)


def trained(pairs: Path, run: Path, *extra: str) -> Path:
    assert train.main(arguments(pairs, run, "--device", "cuda", *extra)) == 0
    return run


def test_a_run_trains_like_one_on_the_cpu(tiny_pairs, tiny_run, tmp_path):
    """Noise is drawn on the device, so that losses are other draws of the same thing."""
    curve = loss_curve(trained(tiny_pairs, tmp_path / "run"))
    expected = loss_curve(tiny_run)
    assert curve.keys() == expected.keys()
    for step, loss in curve.items():
        assert float(loss) == pytest.approx(float(expected[step]), rel=0.5)


def test_a_run_goes_on_and_serves_other_devices(tiny_pairs, tmp_path, capsys):
    half, whole = tmp_path / "half", tmp_path / "whole"
    trained(tiny_pairs, half, "--max-steps", "6", "--optimizer.schedule", "constant", "--checkpoint-every-steps", "3")
    trained(tiny_pairs, half, "--optimizer.schedule", "constant", "--checkpoint-every-steps", "3")
    trained(tiny_pairs, whole, "--optimizer.schedule", "constant", "--checkpoint-every-steps", "3")
    assert numbered_checkpoints(half / "checkpoints")
    assert float(loss_curve(half)[12]) == pytest.approx(float(loss_curve(whole)[12]), rel=1e-3)
    picture = tmp_path / "cpu.png"
    assert infer.main(["--text", TEXT, "--model", str(half), "--device", "cpu", "--output", str(picture)]) == 0
    assert picture.is_file()


def test_a_run_in_bf16_falls(tiny_pairs, tmp_path):
    run = trained(tiny_pairs, tmp_path / "run", "--precision", "bf16-mixed", "--max-steps", "400")
    losses = [float(loss) for loss in loss_curve(run).values()]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-20:]) < np.mean(losses[:20])


@pytest.mark.parametrize(
    "flags",
    [
        ["--text", TEXT, "--text", JAPANESE, "--num-images", "2"],
        ["--text", f"{TEXT}:1.0 | smiling:0.5", "--negative-text", "man"],
        ["--text", TEXT, "--truncation", "0.7", "--steps", "2", "--guidance-scale", "3"],
        ["--text", TEXT, "--rerank", "4"],
    ],
)
def test_pictures_are_those_of_the_cpu(flags, tmp_path):
    drawn = {}
    for device in ("cpu", "cuda"):
        folder = tmp_path / device
        assert infer.main([*flags, "--seed", "3", "--device", device, "--output", str(folder) + "/"]) == 0
        drawn[device] = {path.name: pixels(path) for path in sorted(folder.glob("*.png"))}
    assert drawn["cpu"].keys() == drawn["cuda"].keys()
    for name, there in drawn["cpu"].items():
        assert differ(there, drawn["cuda"][name]) <= 3


def test_gradients_reach_the_text(tmp_path):
    """Refining raises the score on the device too."""
    pipeline = Text2LatentPipeline.from_pretrained("faces", device="cuda")
    plain = pipeline(TEXT, seeds=[0])
    refined = pipeline(TEXT, seeds=[0], refine=10)
    assert float(refined.clip_scores[0]) > float(plain.clip_scores[0])


def test_edits_and_interpolations_run(tmp_path):
    common = ["--device", "cuda", "--seed", "0"]
    strip, edited = tmp_path / "strip.gif", tmp_path / "edited.png"
    assert infer.main(["--interpolate", TEXT, "old man", "--frames", "4", "--output", str(strip), *common]) == 0
    assert infer.main(["--edit", "a woman", "a woman with glasses", "--output", str(edited), *common]) == 0
    assert strip.is_file()
    assert edited.is_file()


def test_optimisation_runs(tmp_path):
    folder = tmp_path / "optimised"
    assert optimize.main(["--text", TEXT, "--iterations", "5", "--device", "cuda", "--output", str(folder)]) == 0
    assert list(folder.rglob("*.png"))


def test_float16_blocks_stay_finite():
    """As of networks of 1024 pixels, whose last blocks compute in half precision on a GPU."""
    generator = load_generator("faces").to("cuda")
    z = generator.sample_latents(4, seed=0).to("cuda")
    with torch.autocast("cuda", torch.float16):
        images = generator.synthesize(generator.map(z))
    assert torch.isfinite(images).all()
