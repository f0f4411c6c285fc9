"""What `text2latent train` logs of a run: CSV, TensorBoard, Weights & Biases, metrics.json and a table at the end."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from text2latent import sample, train
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.priors.folder import load_prior
from text2latent.tests.train_runs import PROMPTS, arguments, rows
from text2latent.training.logs import ROWS
from text2latent.zoo.evaluation import attribute_accuracy

LOGGED = ("train_loss", "lr", "grad_norm", "ema_decay", "pairs_per_second", "steps_per_second", "minutes")
STEPS, VALIDATIONS = [3, 6, 9, 12], [5, 10, 12]


def test_logs_have_losses_rates_and_gradient_norms(tiny_run: Path) -> None:
    logged = rows(tiny_run)
    assert [int(row["step"]) for row in logged if row["train_loss"]] == STEPS
    assert [int(row["step"]) for row in logged if row["val_loss"]] == VALIDATIONS
    for row in (row for row in logged if row["train_loss"]):
        assert all(float(row[key]) > 0 for key in LOGGED)
    assert [float(row["ema_decay"]) for row in logged if row["train_loss"]] == [4 / 13, 7 / 16, 10 / 19, 13 / 22]
    assert [int(row["step"]) for row in logged if row["clip_score"]] == VALIDATIONS


def test_metrics_lie_beside_the_checkpoints(tiny_run: Path) -> None:
    metrics = json.loads((tiny_run / "checkpoints/metrics.json").read_text())
    validations = {int(row["step"]): float(row["val_loss"]) for row in rows(tiny_run) if row["val_loss"]}
    assert (metrics["steps"], metrics["processes"], metrics["skipped_steps"]) == (12, 1, 0)
    assert metrics["pairs_seen"] == 12 * 8
    assert metrics["val_loss"] == pytest.approx(validations[12])
    assert metrics["best_val_loss"] == pytest.approx(min(validations.values()))
    assert validations[metrics["best_step"]] == min(validations.values())
    assert -1 <= metrics["clip_score"] <= 1
    assert metrics["parameters"] == sum(value.numel() for value in load_prior(tiny_run).prior.parameters())


def test_tensorboard_has_the_same_figures_and_the_grids(tiny_run: Path) -> None:
    events = EventAccumulator(str(tiny_run / "logs/tensorboard"))
    events.Reload()
    for key in LOGGED:
        logged = {event.step: event.value for event in events.Scalars(key)}
        assert logged == pytest.approx({int(row["step"]): float(row[key]) for row in rows(tiny_run) if row[key]})
    for key in ("val_loss", "clip_score"):
        assert [event.step for event in events.Scalars(key)] == VALIDATIONS
    pictures = events.Images("prompts")
    assert [picture.step for picture in pictures] == VALIDATIONS
    assert (pictures[0].width, pictures[0].height) == Image.open(tiny_run / "grids/step-00000005.png").size


def test_a_table_sums_the_run_up(run_copy: Path, tiny_pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extra = ("--validation.prompts", PROMPTS, "--validation.num_images", "3", "--max-steps", "15")
    assert train.main(arguments(tiny_pairs, run_copy, *extra)) == 0
    table = dict(re.findall(r"^(\S.*?\S)  +(\S+)$", capsys.readouterr().out, re.MULTILINE))
    metrics = json.loads((run_copy / "checkpoints/metrics.json").read_text())
    assert metrics.keys() == ROWS.keys() - {"attribute_accuracy"}
    assert table.keys() == {ROWS[key] for key in metrics}
    assert (table["steps"], table["pairs seen"]) == ("15", "120")
    for key, value in metrics.items():
        if key not in ("minutes", "pairs_per_second"):
            assert float(table[ROWS[key]].replace(",", "")) == pytest.approx(value, rel=1e-3)


def test_a_world_of_the_zoo_measures_attributes(tmp_path: Path) -> None:
    pairs, run = tmp_path / "pairs", tmp_path / "run"
    assert sample.main(["--num-pairs", "24", "--shard-size", "24", "--output", str(pairs), "--device", "cpu"]) == 0
    drawn = ("--validation.prompts", "[a man with a hat]", "--validation.num-images", "1")
    measured = ("--validation.num-captions", "4", "--max-steps", "2", "--log-every-steps", "1")
    assert train.main(arguments(pairs, run, *drawn, *measured)) == 0
    metrics = json.loads((run / "checkpoints/metrics.json").read_text())
    pipeline = Text2LatentPipeline.from_pretrained(str(run))
    expected = attribute_accuracy(pipeline, 4, num_inference_steps=8, guidance_scale=1.0)
    assert 0 < metrics["attribute_accuracy"] < 1
    assert metrics["attribute_accuracy"] == pytest.approx(expected)
    assert [float(row["attribute_accuracy"]) for row in rows(run) if row["attribute_accuracy"]] == [
        pytest.approx(expected)
    ]


def test_weights_and_biases_by_flag(tiny_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, which writes the same run to the disk; sessions of a run share its id there, other runs don't."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for place in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{place}_DIR", str(tmp_path / "wandb"))
    ids = []
    for run, steps in ((tmp_path / "a/run", 12), (tmp_path / "a/run", 13), (tmp_path / "b/run", 1)):
        extra = ("--wandb", "tiny", "--validation.prompts", PROMPTS, "--csv", "false", "--tensorboard", "false")
        extra += ("--log-every-steps", "1", "--max-steps", str(steps))
        assert train.main(arguments(tiny_pairs, run, *extra)) == 0
        summary = dict(wandb.run.summary)
        ids.append(wandb.run.id)
        wandb.finish()
        metrics = json.loads((run / "checkpoints/metrics.json").read_text())
        for key in metrics.keys() & {"train_loss", "lr", "grad_norm", "ema_decay", "val_loss", "clip_score"}:
            assert summary[key] == pytest.approx(metrics[key], rel=1e-5), key
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].startswith("run-")
    pictures = (tmp_path / "a/run/logs/wandb").glob("offline-run-*/files/media/images/prompts_*.png")
    assert len(list(pictures)) == len(VALIDATIONS) + 1


def test_weights_and_biases_that_is_not_installed_is_told(
    tiny_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert train.main(arguments(tiny_pairs, tmp_path / "run", "--wandb", "tiny")) == 1
    assert "--wandb needs wandb, not installed here; pip install" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_no_logs_are_written_on_demand(tiny_pairs: Path, tmp_path: Path) -> None:
    extra = ("--csv", "false", "--tensorboard", "false", "--max-steps", "2")
    assert train.main(arguments(tiny_pairs, tmp_path / "run", *extra)) == 0
    assert not (tmp_path / "run/logs").exists()
