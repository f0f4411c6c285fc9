"""The command `text2latent train`, on a tiny world and the pairs drawn from it."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from text2latent import train
from text2latent.models.identity import Identity
from text2latent.models.prior_folder import load_prior

PROMPTS = "[blonde woman with glasses, 猫]"


def arguments(pairs: Path, output: Path, *extra: str) -> list[str]:
    settings = {
        "--data.path": str(pairs),
        "--data.batch-size": "8",
        "--data.val-pairs": "10",
        "--prior.width": "16",
        "--prior.depth": "1",
        "--optimizer.warmup-steps": "2",
        "--max-steps": "12",
        "--validation.every-steps": "5",
        "--log-every-steps": "3",
        "--device": "cpu",
        "--output": str(output),
    }
    defaults = [word for flag, value in settings.items() if flag not in extra for word in (flag, value)]
    return [*defaults, *extra]


@pytest.fixture(scope="module")
def finished(tiny_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 12 steps with grids; read only."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    extra = ("--validation.prompts", PROMPTS, "--validation.num_images", "3")
    assert train.main(arguments(tiny_pairs, run, *extra)) == 0
    return run


@pytest.fixture
def run_copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to do with as a test likes."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def rows(run: Path) -> list[dict[str, str]]:
    found = []
    for path in sorted(run.glob("logs/csv/*/metrics.csv")):
        with path.open() as file:
            found += list(csv.DictReader(file))
    return found


def test_a_run_leaves_all_that_is_promised(finished: Path) -> None:
    assert sorted(path.name for path in finished.iterdir()) == sorted(
        ["checkpoints", "config.yaml", "grids", "logs", "prior", "run.json"]
    )
    kept = {f"step-{step:08d}.ckpt" for step in (5, 10, 12)}
    assert {path.name for path in (finished / "checkpoints").iterdir()} == {
        "last.ckpt",
        "best.ckpt",
        "metrics.json",
        *kept,
    }
    grids = sorted((finished / "grids").iterdir())
    assert [path.name for path in grids] == [f"step-{step:08d}.png" for step in (5, 10, 12)]
    assert Image.open(grids[0]).size == (3 * 34 - 2, 2 * 34 - 2)
    assert list((finished / "logs/tensorboard").glob("events.out.tfevents.*"))
    config = yaml.safe_load((finished / "config.yaml").read_text(encoding="utf-8"))
    assert config["prior"]["width"] == 16
    assert config["validation"]["prompts"][1] == "猫"


def test_logs_have_losses_rates_and_gradient_norms(finished: Path) -> None:
    logged = rows(finished)
    assert [int(row["step"]) for row in logged if row["train_loss"]] == [3, 6, 9, 12]
    assert [int(row["step"]) for row in logged if row["val_loss"]] == [5, 10, 12]
    for row in (row for row in logged if row["train_loss"]):
        keys = ("train_loss", "lr", "grad_norm", "ema_decay", "pairs_per_second", "steps_per_second", "minutes")
        assert all(float(row[key]) > 0 for key in keys)
    assert [float(row["ema_decay"]) for row in logged if row["train_loss"]] == [4 / 13, 7 / 16, 10 / 19, 13 / 22]
    assert [int(row["step"]) for row in logged if row["clip_score"]] == [5, 10, 12]


def test_metrics_lie_beside_the_checkpoints(finished: Path) -> None:
    metrics = json.loads((finished / "checkpoints/metrics.json").read_text())
    validations = {int(row["step"]): float(row["val_loss"]) for row in rows(finished) if row["val_loss"]}
    assert (metrics["steps"], metrics["processes"], metrics["skipped_steps"]) == (12, 1, 0)
    assert metrics["pairs_seen"] == 12 * 8
    assert metrics["val_loss"] == pytest.approx(validations[12])
    assert metrics["best_val_loss"] == pytest.approx(min(validations.values()))
    assert validations[metrics["best_step"]] == min(validations.values())
    assert -1 <= metrics["clip_score"] <= 1
    assert metrics["parameters"] == sum(value.numel() for value in load_prior(finished).prior.parameters())


def test_the_last_checkpoints_are_kept(tiny_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extra = ("--checkpoint-every-steps", "2", "--keep-checkpoints", "2")
    assert train.main(arguments(tiny_pairs, tmp_path / "run", *extra)) == 0
    names = {path.name for path in (tmp_path / "run/checkpoints").glob("*.ckpt")}
    assert names == {"last.ckpt", "best.ckpt", "step-00000010.ckpt", "step-00000012.ckpt"}
    out = capsys.readouterr().out
    assert re.search(r"^pairs seen +96$", out, re.MULTILINE)
    assert re.search(r"^EMA decay +0\.59", out, re.MULTILINE)


def test_the_prior_says_what_it_was_made_with(finished: Path, tiny_pairs: Path) -> None:
    trained = load_prior(finished)
    manifest = json.loads((tiny_pairs / "manifest.json").read_text())
    assert trained.generator == Identity.from_dict(manifest["generator"])
    assert trained.clip == Identity.from_dict(manifest["clip"])
    assert trained.record["dataset"]["num_pairs"] == 50
    assert trained.record["versions"]["torch"] == torch.__version__.split("+")[0]
    assert trained.record["metrics"]["step"] == 12
    last = [float(row["val_loss"]) for row in rows(finished) if row["val_loss"]][-1]
    assert trained.record["metrics"]["val_loss"] == pytest.approx(last)


def test_folder_and_checkpoint_are_the_same_prior(finished: Path) -> None:
    folder, checkpoint = load_prior(finished), load_prior(finished / "checkpoints/last.ckpt")
    for name, value in folder.prior.state_dict().items():
        assert torch.equal(value, checkpoint.prior.state_dict()[name]), name
    configs = [dict(trained.scheduler.config) for trained in (folder, checkpoint)]
    public = [{key: value for key, value in config.items() if key[0] != "_"} for config in configs]
    assert public[0] == public[1]
    assert folder.generator == checkpoint.generator


def test_grids_are_what_the_pipeline_draws(finished: Path) -> None:
    from text2latent.models.images import make_grid
    from text2latent.models.pipeline import Text2LatentPipeline

    pipeline = Text2LatentPipeline.from_pretrained(str(finished))
    drawn = pipeline(["blonde woman with glasses", "猫"], num_images_per_prompt=3, seeds=[0, 1, 2])
    assert make_grid(drawn.images, columns=3).tobytes() == Image.open(finished / "grids/step-00000012.png").tobytes()


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


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_state_to_go_on_from(signum: int, tiny_pairs: Path, tmp_path: Path) -> None:
    words = arguments(tiny_pairs, tmp_path / "run", "--max-steps", "1000000", "--validation.every-steps", "20")
    command = [sys.executable, "-m", "text2latent", "train", *words]
    metrics = tmp_path / "run/logs/csv/version_0/metrics.csv"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not metrics.exists() and process.poll() is None:
                time.sleep(0.05)
            process.send_signal(signum)
            _, stderr = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 128 + signum, stderr
    assert "Traceback" not in stderr
    assert "run the same command again to go on" in stderr
    state = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert state["global_step"] > 0
    more = ("--max-steps", str(state["global_step"] + 2), "--validation.every-steps", "20")
    assert train.main(arguments(tiny_pairs, tmp_path / "run", *more)) == 0
    assert load_prior(tmp_path / "run").record["metrics"]["step"] == state["global_step"] + 2


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


def test_a_truncated_checkpoint_costs_only_the_steps_since_the_one_before(
    finished: Path, run_copy: Path, tiny_pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("last.ckpt", "step-00000012.ckpt"):
        path = run_copy / "checkpoints" / name
        path.write_bytes(path.read_bytes()[:3000])
    extra = ("--validation.prompts", PROMPTS, "--validation.num_images", "3")
    assert train.main(arguments(tiny_pairs, run_copy, *extra)) == 0
    error = capsys.readouterr().err
    assert "warning: " in error
    assert "going on at step 10, from" in error
    assert_same_prior(run_copy, finished)


def assert_same_prior(ours: Path, theirs: Path) -> None:
    expected = load_prior(theirs).prior.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in load_prior(ours).prior.state_dict().items())


def loss_curve(run: Path) -> dict[int, str]:
    """Training losses by step, as logged by the latest session that made the step."""
    return {int(row["step"]): row["train_loss"] for row in rows(run) if row["train_loss"]}


@pytest.mark.parametrize(
    ("in_memory", "kills"), [("false", (12,)), pytest.param("true", (1, 12, 30), marks=pytest.mark.slow)]
)
def test_a_killed_run_joins_the_curve_of_the_uninterrupted_one(
    tiny_pairs: Path, tmp_path: Path, in_memory: str, kills: tuple[int, ...]
) -> None:
    """SIGKILL at whatever step it hits; every loss and the weights at the end are equal to the bit."""
    words = ("--max-steps", "60", "--log-every-steps", "1", "--checkpoint-every-steps", "3", "--prior.dropout", "0.1")
    words += ("--validation.every-steps", "25", "--tensorboard", "false", "--data.in-memory", in_memory)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert train.main(arguments(tiny_pairs, whole, *words)) == 0
    for session, least in enumerate(kills):
        kill_after(arguments(tiny_pairs, killed, *words), killed / f"logs/csv/version_{session}/metrics.csv", least)
    assert train.main(arguments(tiny_pairs, killed, *words)) == 0
    assert loss_curve(killed) == loss_curve(whole)
    assert list(loss_curve(whole)) == list(range(1, 61))
    assert_same_prior(killed, whole)


def kill_after(words: list[str], log: Path, step: int) -> None:
    """Start a training, and kill it once its log tells of `step`."""
    command = [sys.executable, "-m", "text2latent", "train", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        limit = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < limit:
            lines = log.read_text().splitlines() if log.exists() else []
            steps = [int(row["step"]) for row in csv.DictReader(lines) if (row["step"] or "").isdigit()]
            if steps and max(steps) >= step:
                break
            time.sleep(0.002)
        process.kill()
        process.communicate()


@pytest.mark.parametrize("signum", [None, pytest.param(signal.SIGUSR1, marks=pytest.mark.slow)])
def test_two_processes_train_together(tiny_pairs: Path, tmp_path: Path, signum: int | None) -> None:
    """40 pairs in batches of 4 by two processes; with a signal to one of them, and a second session after it."""
    run = tmp_path / "run"
    words = arguments(tiny_pairs, run, "--devices", "2", "--data.batch-size", "4", "--log-every-steps", "1")
    command = [sys.executable, "-m", "text2latent", "train", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if signum is not None:
        slow = [*command, "--max-steps", "100000", "--validation.every-steps", "50000"]
        process = subprocess.Popen(slow, stderr=subprocess.PIPE, text=True, env=environment)
        try:
            while not (run / "logs/csv/version_0/metrics.csv").exists() and process.poll() is None:
                time.sleep(0.05)
            process.send_signal(signum)
            _, stderr = process.communicate(timeout=300)
        finally:
            process.kill()
        assert process.returncode == 128 + signum, stderr
        assert "Traceback" not in stderr
        step = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"]
        command += ["--max-steps", str(step + 12)]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert ran.returncode == 0, ran.stderr
    metrics = json.loads((run / "checkpoints/metrics.json").read_text())
    assert metrics["processes"] == 2
    assert metrics["pairs_seen"] == 8 * metrics["steps"]
    assert ran.stdout.count("the prior is in") == 1


def test_foreign_folder(tiny_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert train.main(arguments(tiny_pairs, tmp_path)) == 1
    assert "expected a new folder or one of a training run" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


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


def test_a_full_disk_is_told_in_a_line_and_costs_nothing(finished: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    """A limit on file sizes stands for the disk: writes fail half-way as they would there."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    limit = (run / "prior/diffusion_pytorch_model.safetensors").stat().st_size + 1000
    code = f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
    code += "from text2latent.train import main; sys.exit(main(sys.argv[1:]))"
    words = arguments(tiny_pairs, run, "--max-steps", "15", "--tensorboard", "false")
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().endswith(f"error: cannot write {run}/checkpoints/step-00000015.ckpt: File too large")
    assert (run / "checkpoints/last.ckpt").read_bytes() == (finished / "checkpoints/last.ckpt").read_bytes()
    load_prior(run)
    assert not list(run.rglob("*.partial"))


def test_names_of_packaged_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["--config", "faces"], ["--config=faces"]):
        path = Path(train.with_packaged_configs([*words, "--output", "x"])[1])
        assert path == Path(train.__file__).parent / "configs/faces.yaml"
        assert path.is_file()
    (tmp_path / "faces").write_text("max_steps: 3\n")
    assert train.with_packaged_configs(["--config", "faces"]) == ["--config", "faces"]
