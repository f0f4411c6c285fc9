"""`text2latent train` with each kind of network, objective, layout and text gap, to images; and distillation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from text2latent import infer, sample, train
from text2latent.configs.schema import DiffusionConfig
from text2latent.data.stats import load_statistics
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.priors.folder import load_prior
from text2latent.models.sources.identity import sha256_of
from text2latent.training.run_folder import flatten

FEW = {
    "--data.batch-size": "8",
    "--data.val-pairs": "10",
    "--prior.width": "64",
    "--prior.depth": "1",
    "--max-steps": "3",
    "--validation.every-steps": "3",
    "--tensorboard": "false",
    "--device": "cpu",
}


def run(pairs: Path, output: Path, *extra: str) -> int:
    defaults = [word for flag, value in FEW.items() if flag not in extra for word in (flag, value)]
    return train.main(["--data.path", str(pairs), "--output", str(output), *defaults, *extra])


def distil(pairs: Path, output: Path, *extra: str) -> int:
    flags = {flag: value for flag, value in FEW.items() if not flag.startswith("--prior.")}
    defaults = [word for pair in flags.items() for word in pair]
    return train.main(["--data.path", str(pairs), "--output", str(output), *defaults, *extra])


def draw(run: Path, world: Path, output: Path) -> int:
    networks = ["--generator", str(world), "--clip", str(world)]
    return infer.main(["--text", "a hat", "--model", str(run), *networks, "--steps", "3", "--output", str(output)])


@pytest.mark.parametrize(
    ("extra", "network", "scheduler", "shape"),
    [
        (
            ("--prior.network", "transformer", "--diffusion.objective", "sample", "--diffusion.sampler", "ddpm"),
            "TransformerPrior",
            "DDPMScheduler",
            (1, 16),
        ),
        (
            ("--prior.network", "dit", "--prior.latent-layout", "w_plus", "--diffusion.sampler", "heun"),
            "DiTPrior",
            "FlowMatchHeunDiscreteScheduler",
            (8, 16),
        ),
        (
            ("--prior.latent-layout", "w_k", "--diffusion.objective", "v", "--diffusion.sampler", "dpm++"),
            "ResidualMLPPrior",
            "DPMSolverMultistepScheduler",
            (3, 16),
        ),
        (
            ("--diffusion.random-noise", "false", "--diffusion.time-sampling", "log_normal"),
            "ResidualMLPPrior",
            "FlowMatchEulerDiscreteScheduler",
            (1, 16),
        ),
    ],
)
def test_every_kind_of_prior_trains_and_draws(
    tiny_world: Path,
    tiny_pairs: Path,
    tmp_path: Path,
    extra: tuple[str, ...],
    network: str,
    scheduler: str,
    shape: tuple[int, int],
) -> None:
    assert run(tiny_pairs, tmp_path / "run", *extra) == 0
    trained = load_prior(tmp_path / "run")
    assert type(trained.prior).__name__ == network
    assert trained.scheduler.name == scheduler
    assert trained.prior.latent_shape == shape
    checkpoint = load_prior(tmp_path / "run/checkpoints/last.ckpt")
    assert type(checkpoint.prior) is type(trained.prior)
    assert checkpoint.scheduler == trained.scheduler
    assert draw(tmp_path / "run", tiny_world, tmp_path / "hat.png") == 0


def test_recipe_of_clip2latent_is_trained_as_it_is_written(tiny_world: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    """All but the size, which the test makes small; the run's record says what was trained."""
    small = {"data.batch_size": 8, "data.val_pairs": 10, "prior.width": 64, "prior.depth": 1, "prior.num_heads": 1}
    small |= {"max_steps": 20, "validation.every_steps": 20}
    words = [word for key, value in small.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    where = ["--data.path", str(tiny_pairs), "--output", str(tmp_path / "run"), "--device", "cpu"]
    assert train.main(["--config", "clip2latent", *where, *words]) == 0
    recipe = yaml.safe_load((Path(train.__file__).parent / "configs/clip2latent.yaml").read_text(encoding="utf-8"))
    kept = dict(flatten(yaml.safe_load((tmp_path / "run/config.yaml").read_text(encoding="utf-8"))))
    expected = {**dict(flatten(recipe)), **small}
    assert {key: kept[key] for key in expected} == expected
    rest = {key for key in kept if key not in expected and key.split(".")[0] in recipe}
    places = {"path", "num_workers", "in_memory"}
    assert {key for key in rest if not key.startswith("validation.")} == {f"data.{name}" for name in places}
    trained = load_prior(tmp_path / "run")
    assert (trained.prior.config["num_heads"], trained.prior.text_centre.abs().max()) == (1, 0)
    assert draw(tmp_path / "run", tiny_world, tmp_path / "hat.png") == 0


def test_pairs_of_z_train_a_prior_of_z(
    tiny_world: Path, tmp_path: Path, sample_arguments: Callable[..., list[str]]
) -> None:
    assert sample.main(sample_arguments(tiny_world, tmp_path / "pairs", "--latent-layout", "z")) == 0
    assert run(tmp_path / "pairs", tmp_path / "run") == 0
    prior = load_prior(tmp_path / "run").prior
    assert (prior.latent_layout, prior.latent_shape) == ("z", (1, 24))
    assert draw(tmp_path / "run", tiny_world, tmp_path / "hat.png") == 0


def test_layout_that_the_pairs_do_not_have_is_refused(
    tiny_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tiny_pairs, tmp_path / "run", "--prior.latent-layout", "z") == 1
    assert "--prior.latent-layout z: the pairs in" in capsys.readouterr().err


def test_prompts_say_where_texts_lie(tiny_world: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a hat\na beard\n帽子\n", encoding="utf-8")
    assert run(tiny_pairs, tmp_path / "run", "--text.prompts", str(prompts)) == 0
    prior, clip = load_prior(tmp_path / "run").prior, ClipEncoder.from_pretrained(str(tiny_world))
    texts, statistics = clip.encode_text(["a hat", "a beard", "帽子"]), load_statistics(tiny_pairs)
    torch.testing.assert_close(prior.text_centre, texts.mean(dim=0))
    torch.testing.assert_close(prior.image_centre, torch.from_numpy(statistics.embedding_mean).float())
    assert draw(tmp_path / "run", tiny_world, tmp_path / "hat.png") == 0


def test_distillation_starts_with_the_teacher(tiny_pairs: Path, tmp_path: Path) -> None:
    assert run(tiny_pairs, tmp_path / "teacher") == 0
    extra = ("--distill", str(tmp_path / "teacher"), "--optimizer.lr", "1e-12")
    assert distil(tiny_pairs, tmp_path / "student", *extra) == 0
    teacher, student = (load_prior(tmp_path / name).prior for name in ("teacher", "student"))
    for name, value in teacher.state_dict().items():
        torch.testing.assert_close(student.state_dict()[name], value, atol=1e-6, rtol=1e-5)
    extra = ("--distill", str(tmp_path / "teacher"), "--optimizer.lr", "0.01")
    assert distil(tiny_pairs, tmp_path / "moved", *extra) == 0
    moved = load_prior(tmp_path / "moved").prior
    assert not torch.equal(moved.output.weight, teacher.output.weight)
    record = json.loads((tmp_path / "moved/run.json").read_text())
    assert record["training"]["distill"] == str(tmp_path / "teacher")
    weights = tmp_path / "teacher/prior/diffusion_pytorch_model.safetensors"
    assert record["teacher"]["sha256"] == sha256_of(weights)
    assert record["prior"]["width"] == 64


def test_distillation_records_only_what_it_does(tiny_pairs: Path, tmp_path: Path) -> None:
    assert run(tiny_pairs, tmp_path / "teacher") == 0
    extra = ("--distill", str(tmp_path / "teacher"))
    assert distil(tiny_pairs, tmp_path / "student", *extra) == 0
    written = yaml.safe_load((tmp_path / "student/config.yaml").read_text())
    record = json.loads((tmp_path / "student/run.json").read_text())["training"]
    for kept in (written, record):
        assert not {"prior", "text"} & kept.keys()
        assert not {"objective", "sampler", "time_sampling", "loss_weighting"} & kept["diffusion"].keys()
        assert kept["diffusion"]["noise_scale"] == DiffusionConfig().noise_scale
    assert train.main(["--config", str(tmp_path / "student/config.yaml")]) == 0  # trained already


@pytest.mark.parametrize(
    "ignored",
    [
        ("--prior.width", "32"),
        ("--prior.network", "residual_mlp"),
        ("--prior.latent-layout", "w_plus"),
        ("--text.prompts", "faces"),
        ("--diffusion.sampler", "heun"),
        ("--diffusion.time-sampling", "uniform"),
    ],
    ids=lambda flag: flag[0],
)
def test_what_a_distillation_would_ignore_is_refused(
    tiny_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ignored: tuple[str, str]
) -> None:
    assert distil(tiny_pairs, tmp_path / "student", "--distill", str(tmp_path), *ignored) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"text2latent train: error: {ignored[0]}: expected no value with --distill")
    assert not (tmp_path / "student").exists()


def test_values_of_a_file_that_a_distillation_would_ignore_are_all_named(
    tiny_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("prior:\n  width: 32\n  depth: 2\noptimizer:\n  lr: 0.1\n")
    assert distil(tiny_pairs, tmp_path / "student", "--distill", str(tmp_path), "--config", str(config)) == 2
    error = capsys.readouterr().err
    assert f"{config}: prior.width: expected no value" in error
    assert f"{config}: prior.depth: expected no value" in error
    assert "2 mistakes" in error


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        (("--diffusion.sampler", "ddim"), 2, "for objective flow, got 'ddim'"),
        (("--prior.network", "dit", "--prior.width", "20"), 2, "width: expected a multiple of 64"),
        (("--text.prompts", "nowhere"), 1, "prompts nowhere: expected a text file"),
        (("--distill", "nowhere"), 2, "nowhere"),
    ],
)
def test_mistakes_are_told_in_a_line_and_leave_no_run(
    tiny_pairs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    extra: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    trained = distil if "--distill" in extra else run
    assert trained(tiny_pairs, tmp_path / "run", *extra) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.strip().count("\n") == 0
    assert not (tmp_path / "run").exists()
