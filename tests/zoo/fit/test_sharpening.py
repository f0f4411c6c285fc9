from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from text2latent.models.generators import load_generator
from text2latent.models.sources.zoo import ZOO
from text2latent.zoo import build
from text2latent.zoo.fit.batches import draw_renders, scale_pixels
from text2latent.zoo.fit.sharpening import Renders, build_parser, distances, load_batches, main, make_plan
from text2latent.zoo.world import load_world

FACES = load_world("faces")

WEIGHTS = ZOO / "faces" / "weights" / "generator" / "diffusion_pytorch_model.safetensors"
CPU = torch.device("cpu")


def arguments(folder: Path, *extra: str) -> list[str]:
    flags = ("--batch-size", "1", "--num-steps", "2", "--log-every", "1", "--num-workers", "0", "--device", "cpu")
    return ["faces", "--output", str(folder), *flags, *extra]


def test_batches_depend_on_seed_and_step_alone():
    renders = Renders(FACES, 7, 3)
    images, w, vague_w = renders[5]
    assert (images.shape, images.dtype) == ((3, 128, 128, 3), torch.uint8)
    for first, second in zip(renders[5], Renders(FACES, 7, 3)[5], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(images, renders[6][0])
    assert not torch.equal(images, Renders(FACES, 8, 3)[5][0])
    assert torch.equal(w[:, FACES.num_values :], vague_w[:, FACES.num_values :])
    assert not torch.equal(w, vague_w)


def test_worker_processes_draw_the_same_batches_in_order():
    renders = Renders(FACES, 7, 2)
    alone = list(load_batches(renders, range(3, 6), 0, CPU))
    together = list(load_batches(renders, range(3, 6), 2, CPU))
    assert len(alone) == len(together) == 3
    for one, other in zip(alone, together, strict=True):
        for first, second in zip(one, other, strict=True):
            assert torch.equal(first, second)
    torch.testing.assert_close(alone[0].images, scale_pixels(renders[3][0]))
    assert alone[0].images.min() >= -1
    assert alone[0].images.max() <= 1


def test_renders_show_what_w_stands_for(judge):
    images, w, _ = next(load_batches(Renders(FACES, 7, 32), range(1), 0, CPU))
    seen = judge.classify(images)
    start = 0
    for column, size in enumerate(FACES.sizes):
        meant = w[:, start : start + size].argmax(dim=1).numpy()
        assert (seen[:, column] == meant).mean() > 0.75
        start += size


def test_distances_are_zero_for_equal_images_only():
    images, _ = draw_renders(FACES, np.random.default_rng(0), 2)
    same = distances(images, images, FACES, torch.nn.L1Loss())
    other = distances(images, -images, FACES, torch.nn.L1Loss())
    assert same.keys() == other.keys() == {"image", "perceptual"}
    assert all(value.item() == 0 for value in same.values())
    assert all(value.item() > 0 for value in other.values())


def test_training_writes_a_generator_with_the_mapping_network_it_had(tmp_path):
    run = tmp_path / "run"
    assert main(arguments(run)) == 0
    stored, shipped = load_file(run / "generator" / WEIGHTS.name), load_file(WEIGHTS)
    assert stored.keys() == shipped.keys()
    assert {t.dtype for t in stored.values()} == {torch.float16}
    changed = {name for name in stored if not torch.equal(stored[name], shipped[name])}
    assert changed
    assert not [name for name in changed if name.startswith("mapping.")]
    assert load_generator(run / "generator").synthesize(torch.zeros(1, 1, 58)).shape == (1, 3, 128, 128)
    assert (run / "grid-000002.png").is_file()
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert {"discriminator", "real", "fake", "adversarial", "image", "perceptual"} <= lines[0].keys()


def test_a_run_goes_on_where_it_was_with_the_same_settings_only(tmp_path, capsys):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert main(arguments(straight)) == 0
    assert main(arguments(broken, "--num-steps", "1")) == 0
    assert main(arguments(broken)) == 0
    first, second = (load_file(run / "generator" / WEIGHTS.name) for run in (straight, broken))
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    before = (broken / "last.pt").read_bytes()
    capsys.readouterr()
    assert main(arguments(broken, "--adversarial-weight", "0.7")) == 1
    error = capsys.readouterr().err
    assert "--adversarial-weight" in error
    assert "0.7" in error
    assert error.count("\n") == 1
    assert (broken / "last.pt").read_bytes() == before


def test_the_plan_is_that_of_the_flags():
    flags = ("--minutes", "1.5", "--r1-gamma", "3", "--lr", "0.1", "--discriminator-lr", "0.2", "--ema-decay", "0.9")
    plan = make_plan(build_parser().parse(arguments(Path("run"), *flags)))
    assert (plan.fit.max_minutes, plan.fit.num_steps, plan.fit.lr, plan.fit.ema_decay) == (1.5, 2, 0.1, 0.9)
    assert (plan.r1_gamma, plan.r1_every, plan.discriminator_lr, plan.fit.betas) == (3, 16, 0.2, (0, 0.99))


def test_from_scratch_starts_with_random_weights(tmp_path):
    run = tmp_path / "run"
    flags = ("--from-scratch", "--regression-weight", "0", "--lr", "1e-9", "--num-steps", "1")
    assert main(arguments(run, *flags)) == 0
    stored, shipped = load_file(run / "generator" / WEIGHTS.name), load_file(WEIGHTS)
    name = "synthesis.b128.conv1.weight"
    assert (stored[name] - shipped[name]).abs().mean() > 0.1
    assert torch.equal(stored["mapping.fc0.weight"], shipped["mapping.fc0.weight"])


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--batch-size", "0"), 2, "--batch-size"),
        (("--r1-gamma", "-1"), 2, "--r1-gamma"),
        (("--minutes", "0"), 2, "--minutes"),
        (("--device", "tpu"), 2, "--device"),
        (("--generator", "no-such-thing"), 2, "no-such-thing"),
        (("--clip", "no-such-thing"), 2, "no-such-thing"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(tmp_path, capsys, flags, code, words):
    assert main(arguments(tmp_path / "run", *flags)) == code
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_generator_of_another_world_is_refused(tmp_path, tiny_world, capsys):
    assert main(arguments(tmp_path / "run", "--generator", str(tiny_world))) == 1
    assert "--generator: expected a StyleGAN of the faces world" in capsys.readouterr().err


@pytest.mark.parametrize("script", [main, build.main], ids=["sharpening", "build"])
def test_without_the_renderers_library_one_line_tells_what_to_install(script, tmp_path, without_package, capsys):
    without_package("skia")
    assert script(["faces", "--output", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert "needs skia, not installed here; pip install" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
