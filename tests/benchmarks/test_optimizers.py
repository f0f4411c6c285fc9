"""The study on a tiny model: every method's figures are there and agree with the files that the study wrote."""

import json
from pathlib import Path

import pytest

from text2latent.benchmarks.optimizers import main
from text2latent.benchmarks.report import read_parts
from text2latent.models.optimization.optimizers import STUDY_RATES


def test_figures_are_those_of_the_study(untrained_faces: Path, tmp_path: Path) -> None:
    prompts, output, file = tmp_path / "p.jsonl", tmp_path / "study", tmp_path / "figures.json"
    prompts.write_text('{"text": "a man", "want": {"gender": ["man", "woman"]}}\n{"text": "a woman", "want": {}}\n')
    flags = ("--iterations", "2", "--num-seeds", "1", "--cutouts", "2", "--device", "cpu", "--output", str(output))
    assert main(["--model", str(untrained_faces), "--prompts", str(prompts), *flags, "--json", str(file)]) == 0
    figures = {figure.name: figure.value for figure in read_parts(file)["optimizers"]["figures"]}
    rows = json.loads((output / "results.json").read_text(encoding="utf-8"))["rows"]
    for row in rows:
        assert figures[f"{row['method']}: CLIP similarity x 100"] == pytest.approx(row["mean"])
        assert figures[f"{row['method']}: one image"] == pytest.approx(row["seconds"])
        # Whoever is drawn is a man or a woman.
        assert figures[f"{row['method']}: wanted attributes that are there"] == 1
    ranked = [row["method"] for row in rows if row["method"] in STUDY_RATES]
    assert figures["rank of adam among the optimizers"] == 1 + ranked.index("adam")
    assert any(name.startswith(f"{ranked[0]}: time") and value > 0 for name, value in figures.items())
