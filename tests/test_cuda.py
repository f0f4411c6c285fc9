"""The verbs on a CUDA device: what they make there is what they make on the CPU, but for rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from text2latent import infer, sample, train
from text2latent.apps.optimize import command as optimize
from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.requests import DrawRequest
from text2latent.data.shards import load_pairs
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.acceleration import Acceleration
from text2latent.models.generators import load_generator
from text2latent.models.priors.registry import create_prior
from text2latent.models.priors.schedulers import build_scheduler
from text2latent.tests.models.generators.formats.test_formats import FILES, original
from text2latent.tests.models.generators.originals import deviation
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


@pytest.mark.parametrize("further", [(), ("--cuda-graph",)])
def test_pairs_are_those_of_the_cpu(further, tiny_world, tiny_pairs, sample_arguments, tmp_path):
    flags = ("--device", "cuda", "--batch-size", "7", *further)
    assert sample.main(sample_arguments(tiny_world, tmp_path / "pairs", *flags)) == 0
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
@pytest.mark.parametrize("faster", [[], ["--cuda-graph"]])
def test_pictures_are_those_of_the_cpu(flags, faster, tmp_path):
    assert_alike(flags, faster, tmp_path)


def assert_alike(flags, faster, tmp_path):
    """Pictures of `faster` on the device are those of the CPU."""
    drawn = {}
    for device, further in (("cpu", []), ("cuda", faster)):
        folder = tmp_path / device
        common = ["--seed", "3", "--device", device, "--output", str(folder) + "/"]
        assert infer.main([*flags, *common, *further]) == 0
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


def test_the_server_keeps_a_graph_for_each_batch_size(tiny_model):
    """One each of the text, and for one picture and for three of the prior, the generator and CLIP."""
    with Engine([str(tiny_model)], "cuda", acceleration=Acceleration(cuda_graph=True)) as engine:
        drawn = [engine.submit_draw(DrawRequest(TEXT, n=n, seed=seed)).result() for n, seed in [(1, 0), (3, 0), (1, 9)]]
        graphs = len(engine.library.get().run)
    plain = Text2LatentPipeline.from_pretrained(str(tiny_model))
    for result, seeds in zip(drawn, ([0], [0, 1, 2], [9]), strict=True):
        expected = plain(TEXT, num_images_per_prompt=len(seeds), seeds=seeds).images
        for image, picture in zip(result.images, expected, strict=True):
            assert differ(image.picture.tobytes(), picture.tobytes()) <= 3
    assert graphs == 7


def test_graphs_of_a_stochastic_sampler_draw_other_noise_for_other_seeds(tiny_model):
    pipeline = Text2LatentPipeline.from_pretrained(str(tiny_model))
    pipeline.prior = create_prior("transformer", (1, 16), 16, 64, 1, objective="sample").eval()
    pipeline.scheduler = build_scheduler("ddpm", "sample")
    expected = pipeline(TEXT, seeds=[0, 1, 2], num_images_per_prompt=3, output_type="pt").images
    pipeline.to("cuda").accelerate(Acceleration(cuda_graph=True))
    for seed, image in enumerate(expected):
        drawn = pipeline(TEXT, seeds=[seed], output_type="pt").images
        assert deviation(drawn.cpu(), image[None]) < 1e-3


def test_compiled_networks_draw_the_same_pictures(tiny_model, tmp_path):
    """Last, since it takes longest."""
    flags = ["--text", TEXT, "--model", str(tiny_model)]
    assert_alike(flags, ["--compile", "--cuda-graph"], tmp_path)
