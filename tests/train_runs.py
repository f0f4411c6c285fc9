"""Small runs of `text2latent train`, and what they leave."""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from text2latent.models.priors.folder import load_prior

PROMPTS = "[blonde woman with glasses, 猫]"


def arguments(pairs: Path | str, output: Path, *extra: str) -> list[str]:
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


def rows(run: Path) -> list[dict[str, str]]:
    """Lines of the CSV logs, those of earlier sessions first."""
    found, sessions = [], len(list(run.glob("logs/csv/*")))
    for path in (run / f"logs/csv/version_{session}/metrics.csv" for session in range(sessions)):
        if path.exists():  # a session that ended early may have written none
            with path.open() as file:
                found += list(csv.DictReader(file))
    return found


def loss_curve(run: Path) -> dict[int, str]:
    """Training losses by step, as logged by the latest session that made the step."""
    return {int(row["step"]): row["train_loss"] for row in rows(run) if row.get("train_loss")}


def assert_same_prior(ours: Path, theirs: Path) -> None:
    expected = load_prior(theirs).prior.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in load_prior(ours).prior.state_dict().items())
