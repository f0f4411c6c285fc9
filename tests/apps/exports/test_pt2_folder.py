"""Exported programs: drawn from with plain torch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from text2latent.apps.exports import command as export
from text2latent.apps.exports import pt2_folder
from text2latent.apps.exports.inspection import inspect_source
from text2latent.apps.exports.networks import GraphSettings
from text2latent.common.errors import InputError
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.priors.diffusion import initial_noise
from text2latent.tests.apps.exports.alone import JAPANESE, PROVENANCE, SEED, TEXT, mean_difference, pixels, run_alone
from text2latent.tests.apps.exports.conftest import Drawn


def test_torch_alone_draws_the_picture_of_infer(
    faces_export: Path, torch_python: Path, expected: Drawn, tmp_path: Path
) -> None:
    script = faces_export / "infer_pt2.py"
    run_alone(torch_python, tmp_path, script, TEXT, "--seed", str(SEED), "--output", "pt2.png")
    assert mean_difference(pixels(tmp_path / "pt2.png"), expected.picture) <= 1


def test_program_takes_any_batch(faces_export: Path, faces: Text2LatentPipeline) -> None:
    program = torch.export.load(faces_export / "pt2" / "text2latent.pt2").module()
    texts, seeds = [TEXT, JAPANESE, "old man"], [3, 4, 5]
    noise = initial_noise(seeds, faces.prior.latent_shape)
    with torch.no_grad():
        together = program(tokens=faces.clip.tokenize(texts), noise=noise)
        alone = program(tokens=faces.clip.tokenize(texts[:1]), noise=noise[:1])
    expected = faces(texts, seeds=seeds, output_type="pt").images
    assert (together - expected).abs().mean() <= 2 / 255
    assert (together[:1] - alone).abs().max() <= 1e-3


def test_program_carries_the_record(faces_export: Path) -> None:
    record = json.loads((faces_export / "text2latent.json").read_text())
    report = inspect_source(str(faces_export / "pt2" / "text2latent.pt2"))
    assert report["kind"] == "torch.export program"
    assert {name: report[name] for name in PROVENANCE} == {name: record[name] for name in PROVENANCE}


def test_wanted_compilation_without_a_compiler_is_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pt2_folder, "compiler", lambda: None)
    pipeline = Text2LatentPipeline.from_pretrained(str(tiny_model))
    with pytest.raises(InputError, match=r"--compile yes: expected a C\+\+ compiler"):
        pt2_folder.write_pt2(pipeline, tmp_path, {}, GraphSettings(compile="yes"))


@pytest.mark.slow
@pytest.mark.skipif(pt2_folder.compiler() is None, reason="no C++ compiler here")
def test_compiled_package_draws_the_same(tiny_model: Path, torch_python: Path, tmp_path: Path) -> None:
    folder = tmp_path / "compiled"
    assert export.main([str(tiny_model), str(folder), "--format", "pt2", "--compile", "yes"]) == 0
    for flags, name in (((), "plain.png"), (("--compiled",), "compiled.png")):
        run_alone(torch_python, tmp_path, folder / "infer_pt2.py", TEXT, "--output", name, *flags)
    assert mean_difference(pixels(tmp_path / "plain.png"), pixels(tmp_path / "compiled.png")) <= 1
    record = json.loads((folder / "text2latent.json").read_text())
    report = inspect_source(str(folder / "pt2" / "text2latent.aoti.pt2"))
    assert (report["kind"], report["generator"], report["clip"]) == (
        "AOTInductor package",
        record["generator"],
        record["clip"],
    )
    metrics = record["export"]["metrics"]
    assert metrics["pt2_compiled_difference"] <= 1 / 255
    assert min(metrics["pt2_compiled_speed_up"], metrics["pt2_compiled_mebibytes"]) > 0
    assert "| pt2_compiled_speed_up |" in (folder / "README.md").read_text()
