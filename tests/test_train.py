"""The command `text2latent train`, on a tiny world and the pairs drawn from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from text2latent import train
from text2latent.models.priors.folder import load_prior
from text2latent.models.sources.identity import Identity
from text2latent.tests.train_runs import PROMPTS, arguments, rows


def test_a_run_leaves_all_that_is_promised(tiny_run: Path) -> None:
    assert sorted(path.name for path in tiny_run.iterdir()) == sorted(
        [".lock", "checkpoints", "config.yaml", "grids", "logs", "prior", "run.json"]
    )
    kept = {f"step-{step:08d}.ckpt" for step in (5, 10, 12)}
    assert {path.name for path in (tiny_run / "checkpoints").iterdir()} == {
        "last.ckpt",
        "best.ckpt",
        "metrics.json",
        *kept,
    }
    grids = sorted((tiny_run / "grids").iterdir())
    assert [path.name for path in grids] == [f"step-{step:08d}.png" for step in (5, 10, 12)]
    assert Image.open(grids[0]).size == (3 * 34 - 2, 2 * 34 - 2)
    assert list((tiny_run / "logs/tensorboard").glob("events.out.tfevents.*"))
    config = yaml.safe_load((tiny_run / "config.yaml").read_text(encoding="utf-8"))
    assert config["prior"]["width"] == 16
    assert config["validation"]["prompts"][1] == "猫"


def test_the_last_checkpoints_are_kept(tiny_pairs: Path, tmp_path: Path) -> None:
    extra = ("--checkpoint-every-steps", "2", "--keep-checkpoints", "2")
    assert train.main(arguments(tiny_pairs, tmp_path / "run", *extra)) == 0
    names = {path.name for path in (tmp_path / "run/checkpoints").glob("*.ckpt")}
    assert names == {"last.ckpt", "best.ckpt", "step-00000010.ckpt", "step-00000012.ckpt"}


def test_the_prior_says_what_it_was_made_with(tiny_run: Path, tiny_pairs: Path) -> None:
    trained = load_prior(tiny_run)
    manifest = json.loads((tiny_pairs / "manifest.json").read_text())
    assert trained.generator == Identity.from_dict(manifest["generator"])
    assert trained.clip == Identity.from_dict(manifest["clip"])
    assert trained.record["dataset"]["num_pairs"] == 50
    assert trained.record["versions"]["torch"] == torch.__version__.split("+")[0]
    assert trained.record["metrics"]["step"] == 12
    last = [float(row["val_loss"]) for row in rows(tiny_run) if row["val_loss"]][-1]
    assert trained.record["metrics"]["val_loss"] == pytest.approx(last)


def test_folder_and_checkpoint_are_the_same_prior(tiny_run: Path) -> None:
    folder, checkpoint = load_prior(tiny_run), load_prior(tiny_run / "checkpoints/last.ckpt")
    for name, value in folder.prior.state_dict().items():
        assert torch.equal(value, checkpoint.prior.state_dict()[name]), name
    configs = [dict(trained.scheduler.config) for trained in (folder, checkpoint)]
    public = [{key: value for key, value in config.items() if key[0] != "_"} for config in configs]
    assert public[0] == public[1]
    assert folder.generator == checkpoint.generator


def test_grids_are_what_the_pipeline_draws(tiny_run: Path) -> None:
    from text2latent.inference.images import make_grid
    from text2latent.inference.pipeline import Text2LatentPipeline

    pipeline = Text2LatentPipeline.from_pretrained(str(tiny_run))
    drawn = pipeline(["blonde woman with glasses", "猫"], num_images_per_prompt=3, seeds=[0, 1, 2])
    assert make_grid(drawn.images, columns=3).tobytes() == Image.open(tiny_run / "grids/step-00000012.png").tobytes()


def test_a_finished_run_is_left_as_it_is(run_copy: Path, tiny_pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in run_copy.rglob("*.safetensors")}
    assert train.main(arguments(tiny_pairs, run_copy)) == 0
    assert "trained already: 12 steps" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in run_copy.rglob("*.safetensors")} == before


def test_more_steps_go_on_where_it_was(run_copy: Path, tiny_pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(arguments(tiny_pairs, run_copy, "--max-steps", "15")) == 0
    captured = capsys.readouterr()
    assert "going on at step 12" in captured.err
    assert "15 steps" in captured.out
    assert [int(row["step"]) for row in rows(run_copy) if row["train_loss"]] == [3, 6, 9, 12, 15]
    assert load_prior(run_copy).record["metrics"]["step"] == 15


def test_constant_schedule_bf16_and_minutes(tiny_pairs: Path, tmp_path: Path) -> None:
    extra = ("--precision", "bf16-mixed", "--optimizer.schedule", "constant", "--max-minutes", "0.02")
    extra += ("--max-steps", "1000000", "--csv", "false", "--tensorboard", "false", "--optimizer.ema-decay", "0")
    assert train.main(arguments(tiny_pairs, tmp_path / "run", *extra)) == 0
    metrics = load_prior(tmp_path / "run").record["metrics"]
    assert metrics["step"] < 1000000
    assert metrics["minutes"] >= 0.02
    assert not (tmp_path / "run/logs/csv").exists()


REFUSALS = {
    "another width": (("--prior.width", "24"), r"prior.width: 16 there, 24 asked"),
    "another seed": (("--seed", "7"), r"seed: 0 there, 7 asked"),
    "not to go on": (("--resume", "never"), r"--resume is never"),
}


@pytest.mark.parametrize(("extra", "expected"), REFUSALS.values(), ids=REFUSALS.keys())
def test_another_configuration_is_refused(
    extra: tuple[str, ...], expected: str, run_copy: Path, tiny_pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run_copy / "config.yaml").read_bytes()
    assert train.main(arguments(tiny_pairs, run_copy, *extra)) == 1
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert (run_copy / "config.yaml").read_bytes() == before


def test_another_dataset_is_refused(
    run_copy: Path, tiny_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(tiny_pairs, tmp_path / "other"))
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"seed": 12345}))
    assert train.main(arguments(other, run_copy)) == 1
    error = capsys.readouterr().err
    assert str(tiny_pairs) in error
    assert str(other) in error


def test_the_same_pairs_elsewhere_are_welcome(run_copy: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(tiny_pairs, tmp_path / "moved"))
    assert train.main(arguments(moved, run_copy)) == 0


def test_another_world_is_refused(
    other_world: Path, tiny_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = ("--model", str(other_world), "--validation.prompts", PROMPTS)
    assert train.main(arguments(tiny_pairs, tmp_path / "run", *extra)) == 1
    error = capsys.readouterr().err
    assert "--model" in error
    assert "tiny" in error
    assert "other" in error
    assert not (tmp_path / "run").exists()


def test_foreign_folder(tiny_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert train.main(arguments(tiny_pairs, tmp_path)) == 1
    assert "expected a new folder or one of a training run" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_few_pairs_need_no_flag_and_what_was_held_out_is_recorded(tiny_pairs: Path, tmp_path: Path) -> None:
    words = [word for word in arguments(tiny_pairs, tmp_path / "run") if word not in ("--data.val-pairs", "10")]
    assert train.main([*words, "--data.val-pairs", "5", "--max-steps", "2"]) == 0
    # The same run: what the dataset bears is what the flag said.
    assert train.main([*words, "--max-steps", "4"]) == 0
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text(encoding="utf-8"))["data"]["val_pairs"] == 5
    assert load_prior(tmp_path / "run").record["training"]["data"]["val_pairs"] == 5


MISTAKES = {
    "no pairs": (("--data.path", "nowhere"), 1, "nowhere"),
    "all pairs held out": (("--data.val-pairs", "50"), 1, "val_pairs"),
    "no such device": (("--device", "cuda:99"), 1, "--device"),
    "no steps": (("--max-steps", "0"), 2, "--max-steps"),
    "NaN": (("--optimizer.lr", "nan"), 2, "--optimizer.lr"),
    "unknown key": (("--optimizer.momentum", "1"), 2, "momentum"),
    "unknown config": (("--config", "nowhere.yaml"), 1, "nowhere.yaml"),
    "blank prompt": (("--validation.prompts", "['  ']"), 2, "prompts"),
    "control characters": (("--validation.prompts", '["a\\u0000b"]'), 2, "prompt"),
}


@pytest.mark.parametrize(("extra", "code", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_told_in_a_line(
    extra: tuple[str, ...],
    code: int,
    expected: str,
    tiny_pairs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train.main(arguments(tiny_pairs, tmp_path / "run", *extra)) == code
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_loss_that_explodes_stops_with_a_line(
    tiny_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = ("--optimizer.lr", "1e38", "--optimizer.gradient-clip", "0", "--optimizer.weight-decay", "0")
    assert train.main(arguments(tiny_pairs, tmp_path / "run", *extra)) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("text2latent train: error: ")
    assert "loss" in error
    assert "--optimizer.lr" in error


def test_names_of_packaged_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["--config", "faces"], ["--config=faces"]):
        path = Path(train.with_packaged_configs([*words, "--output", "x"])[1])
        assert path == Path(train.__file__).parent / "configs/faces.yaml"
        assert path.is_file()
    (tmp_path / "faces").write_text("max_steps: 3\n")
    assert train.with_packaged_configs(["--config", "faces"]) == ["--config", "faces"]
