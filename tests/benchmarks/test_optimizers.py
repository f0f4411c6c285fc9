"""The study and the ways to draw on a tiny model: the figures are there and agree with the files that were written."""

import json
from pathlib import Path

import pytest
import torch

from text2latent.apps.optimize import command as optimize
from text2latent.benchmarks.optimizers import SECONDS, SHOWN, SIMILARITY, main
from text2latent.benchmarks.report import read_parts
from text2latent.inference.optimization.optimizers import STUDY_RATES
from text2latent.inference.pipeline import Text2LatentPipeline

FEW = ("--iterations", "2", "--num-seeds", "1", "--cutouts", "2", "--device", "cpu", "--refine", "1")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "p.jsonl"
    file.write_text('{"text": "a man", "want": {"gender": ["man", "woman"]}}\n{"text": "a woman", "want": {}}\n')
    return file


def measure(model: Path, prompts: Path, output: Path, part: str, *extra: str) -> dict[str, float]:
    file = output.parent / "figures.json"
    flags = ("--prompts", str(prompts), "--output", str(output), "--only", part, "--json", str(file))
    assert main(["--model", str(model), *flags, *FEW, *extra]) == 0
    return {figure.name: figure.value for figure in read_parts(file)[part]["figures"]}


def test_figures_are_those_of_the_study(untrained_faces: Path, prompts: Path, tmp_path: Path) -> None:
    output = tmp_path / "study"
    figures = measure(untrained_faces, prompts, output, "optimizers")
    rows = json.loads((output / "results.json").read_text(encoding="utf-8"))["rows"]
    for row in rows:
        assert figures[f"{row['method']}: {SIMILARITY}"] == pytest.approx(row["mean"])
        assert figures[f"{row['method']}: {SECONDS}"] == pytest.approx(row["seconds"])
        # Whoever is drawn is a man or a woman.
        assert figures[f"{row['method']}: {SHOWN}"] == 1
    ranked = [row["method"] for row in rows if row["method"] in STUDY_RATES]
    assert figures["rank of adam among the optimizers"] == 1 + ranked.index("adam")
    assert any(name.startswith(f"{ranked[0]}: time") and value > 0 for name, value in figures.items())


@pytest.mark.parametrize("code", [130, 1])
def test_a_study_that_ends_early_is_told_by_its_exit_code(
    prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    monkeypatch.setattr(optimize, "main", lambda arguments: code)
    file = tmp_path / "figures.json"
    assert (
        main(["--prompts", str(prompts), "--output", str(tmp_path / "s"), "--only", "optimizers", "--json", str(file)])
        == code
    )
    assert ("ended with exit code 1" in capsys.readouterr().err) == (code == 1)
    assert not file.exists()


def test_figures_of_the_ways_are_those_of_the_pipeline_and_of_optimize(
    untrained_faces: Path, prompts: Path, tmp_path: Path
) -> None:
    output = tmp_path / "ways"
    figures = measure(untrained_faces, prompts, output, "ways", "--prior-iterations", "3", "--world", "none")
    assert not any(SHOWN in name for name in figures)
    pipeline = Text2LatentPipeline.from_pretrained(str(untrained_faces))
    for name, refine in (("infer", 0), ("infer --refine 1", 1)):
        scores = pipeline(["a man", "a woman"], seeds=[0], refine=refine).clip_scores
        assert figures[f"{name}: {SIMILARITY}"] == pytest.approx(100 * float(torch.as_tensor(scores).mean()), abs=0.1)
    for name, init in (("optimize --init prior --iterations 3", "prior"), ("optimize --iterations 2", "random")):
        rows = json.loads((output / f"from-{init}" / "results.json").read_text(encoding="utf-8"))["rows"]
        mean = next(row["mean"] for row in rows if row["method"] == "adam")
        assert figures[f"{name}: {SIMILARITY}"] == pytest.approx(mean)
    slow, fast = figures[f"optimize --iterations 2: {SECONDS}"], figures[f"infer: {SECONDS}"]
    assert figures["optimize over infer, time for an image"] == pytest.approx(slow / fast)
