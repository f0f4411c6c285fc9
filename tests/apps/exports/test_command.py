"""The verb export: what it writes, what it refuses before any work, and that nothing half-written stays."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import normalize

from text2latent.apps.exports import command as export
from text2latent.apps.exports import exporting
from text2latent.inference.domain import fit_domain, save_domain
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.generators import load_generator

Export = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run_export(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Export:
    """Exports the tiny model into `OUT`; gives the exit code, stdout and stderr."""

    def run(*flags: str, model: str | Path = tiny_model, out: str = "out") -> tuple[int, str, str]:
        code = export.main([str(model), str(tmp_path / out), *flags])
        return code, *capsys.readouterr()

    return run


def test_report_is_the_folders_record(run_export: Export, tiny_model: Path, tmp_path: Path) -> None:
    code, out, _ = run_export("--json", "--license", "mit", "--text", "a cat", "--text", "猫")
    assert code == 0
    report, record = json.loads(out), json.loads((tmp_path / "out/text2latent.json").read_text())
    files = record["export"].pop("files")
    assert report == record
    assert {"prior/config.json", "generator/config.json", "clip/open_clip_config.json", "pipeline.py"} <= set(files)
    assert record["export"]["formats"] == ["diffusers"]
    assert "license: mit" in (tmp_path / "out/README.md").read_text()
    assert os.listdir(tmp_path) == ["out"]


def test_weights_keep_their_bytes_and_paths_stay_at_home(run_export: Export, tiny_world: Path, tmp_path: Path) -> None:
    assert run_export()[0] == 0
    for part, name in (("generator", "diffusion_pytorch_model.safetensors"), ("clip", "open_clip_model.safetensors")):
        assert (tmp_path / "out" / part / name).read_bytes() == (tiny_world / part / name).read_bytes()
    record = json.loads((tmp_path / "out/text2latent.json").read_text())
    assert not [part for part in ("generator", "clip") if "/" in record[part]["source"]]


def test_an_export_can_be_exported_again(run_export: Export, tmp_path: Path) -> None:
    assert run_export()[0] == 0
    assert run_export(model=tmp_path / "out", out="again")[0] == 0
    first, second = (
        load_file(tmp_path / name / "prior/diffusion_pytorch_model.safetensors") for name in ("out", "again")
    )
    assert all(bool((first[key] == second[key]).all()) for key in first)
    Text2LatentPipeline.from_pretrained(str(tmp_path / "again"))


def test_what_a_model_knows_of_its_domain_goes_along(run_export: Export, tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    embeddings = normalize(torch.randn(40, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    save_domain(model, fit_domain(embeddings, embeddings[:10]))
    assert run_export(model=model)[0] == 0
    ours, theirs = (Text2LatentPipeline.from_pretrained(str(folder)) for folder in (model, tmp_path / "out"))
    assert ours.domain is not None
    assert theirs.domain is not None
    prompts = ["a cat", "quarterly report"]
    assert theirs.domain_scores(prompts) == ours.domain_scores(prompts)


def test_measured_figures_go_into_record_and_card(run_export: Export, tmp_path: Path) -> None:
    (tmp_path / "figures.json").write_text('{"fid": 12.5}')
    assert run_export("--metrics", str(tmp_path / "figures.json"))[0] == 0
    assert json.loads((tmp_path / "out/text2latent.json").read_text())["export"]["metrics"]["fid"] == 12.5
    assert "| fid | 12.5 |" in (tmp_path / "out/README.md").read_text()


def test_folders_are_replaced_on_request_only(run_export: Export, tmp_path: Path) -> None:
    assert run_export()[0] == 0
    before = (tmp_path / "out/text2latent.json").read_text()
    code, _, error = run_export()
    assert (code, error.count("\n")) == (1, 1)
    assert "exists already; expected a new name, or --overwrite" in error
    assert (tmp_path / "out/text2latent.json").read_text() == before
    assert run_export("--overwrite", "--license", "mit")[0] == 0
    assert "license: mit" in (tmp_path / "out/README.md").read_text()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/thesis.txt").write_text("mine")
    assert run_export("--overwrite", out="precious")[0] == 1
    assert (tmp_path / "precious/thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--format", "tflite"], 2, "--format: expected one of diffusers, onnx, pt2, web, got 'tflite'"),
        (["--steps", "0"], 2, "--steps"),
        (["--guidance-scale", "nan"], 2, "--guidance-scale"),
        (["--compile", "maybe"], 2, "--compile"),
        (["--text", ""], 2, "prompt"),
        (["--metrics", "nowhere.json"], 1, "nowhere.json: expected this file"),
        (["--generator", "nowhere"], 2, "nowhere"),
    ],
)
def test_wrong_flags_are_refused_before_any_work(
    run_export: Export, tmp_path: Path, flags: list[str], code: int, message: str
) -> None:
    found, out, error = run_export(*flags)
    assert (found, out) == (code, "")
    assert message in error
    assert not list(tmp_path.iterdir())


def test_figures_that_are_no_numbers_are_refused(run_export: Export, tmp_path: Path) -> None:
    (tmp_path / "figures.json").write_text('{"fid": "low"}')
    code, _, error = run_export("--metrics", str(tmp_path / "figures.json"))
    assert code == 1
    assert "fid: expected a number, got 'low'" in error


def test_failure_leaves_nothing_and_keeps_what_was_there(
    run_export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_export()[0] == 0
    before = (tmp_path / "out/text2latent.json").read_text()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "write_diffusers", fail)
    code, _, error = run_export("--overwrite")
    assert code == 1
    assert "No space left on device" in error
    assert (tmp_path / "out/text2latent.json").read_text() == before
    assert os.listdir(tmp_path) == ["out"]


def test_networks_of_another_world_are_refused_unless_forced(
    run_export: Export, other_world: Path, tmp_path: Path
) -> None:
    code, _, error = run_export("--generator", str(other_world))
    other = load_generator(other_world).identity
    assert code == 1
    assert other is not None
    assert str(other) in error
    assert "expected" in error
    code, _, error = run_export("--generator", str(other_world), "--force")
    assert code == 0
    assert "images may not follow the text" in error
    record = json.loads((tmp_path / "out/text2latent.json").read_text())
    assert record["generator"]["sha256"] == other.sha256
    assert record["trained_with"]["generator"]["sha256"] != other.sha256
    assert "Exported with another generator" in (tmp_path / "out/README.md").read_text()
    shutil.rmtree(tmp_path / "out")
