"""Two CLIPs of one file are two: pairs aren't mixed, and a prior draws with its own only; older records stay good."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from text2latent import infer, sample
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.sources.identity import Identity

QUICK = ("--clip-args", "quick_gelu=true")


@pytest.fixture
def quick_pairs(tiny_world: Path, tmp_path: Path, sample_arguments) -> Path:
    """Pairs of `tiny_world`, whose CLIP is said to have QuickGELU."""
    assert sample.main(sample_arguments(tiny_world, tmp_path / "pairs", "--num-pairs", "20", *QUICK)) == 0
    return tmp_path / "pairs"


def test_pairs_of_two_clips_of_one_file_are_not_mixed(quick_pairs, tiny_world, sample_arguments, capsys):
    manifest = json.loads((quick_pairs / "manifest.json").read_text())
    assert manifest["clip"]["arguments"] == {"quick_gelu": True}
    assert manifest["clip"]["settings"]["activation"] == "QuickGELU"
    assert set(manifest["generator"]) == {"name", "source", "sha256"}
    before = {path.name: path.read_bytes() for path in quick_pairs.iterdir()}
    capsys.readouterr()
    assert sample.main(sample_arguments(tiny_world, quick_pairs, "--num-pairs", "40")) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "--clip: " in line
    assert "of the same weights: activation QuickGELU there, GELU here" in line
    assert {path.name: path.read_bytes() for path in quick_pairs.iterdir()} == before
    assert sample.main(sample_arguments(tiny_world, quick_pairs, "--num-pairs", "40", *QUICK)) == 0


def test_pairs_from_before_go_on(tiny_pairs, tiny_world, tmp_path, sample_arguments):
    """A record of weights alone, as it was written before settings were in it."""
    pairs = Path(shutil.copytree(tiny_pairs, tmp_path / "pairs"))
    manifest = json.loads((pairs / "manifest.json").read_text())
    manifest["clip"] = {key: manifest["clip"][key] for key in ("name", "source", "sha256")}
    (pairs / "manifest.json").write_text(json.dumps(manifest))
    assert sample.main(sample_arguments(tiny_world, pairs, "--num-pairs", "66")) == 0
    assert set(json.loads((pairs / "manifest.json").read_text())["clip"]) == {"name", "source", "sha256"}


def test_a_prior_draws_with_its_own_clip_only(tiny_model, tiny_world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    wanted = ["--model", str(model), "--text", "a", "--device", "cpu", "--output", "a.png"]
    assert infer.main([*wanted, *QUICK]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "CLIP: expected clip (" in line
    assert "got clip (" in line
    assert "the weights are the same, but activation GELU there, QuickGELU here" in line
    assert not (tmp_path / "a.png").exists()
    assert infer.main([*wanted, *QUICK, "--force"]) == 0
    record = json.loads((model / "text2latent.json").read_text())
    record["clip"] = {key: record["clip"][key] for key in ("name", "source", "sha256")}
    (model / "text2latent.json").write_text(json.dumps(record))
    assert infer.main([*wanted, "--overwrite"]) == 0


def test_what_was_said_is_remembered(tiny_model, tiny_world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    record = json.loads((model / "text2latent.json").read_text())
    said = ClipEncoder.from_pretrained(str(tiny_world), {"quick_gelu": True}).identity
    record["clip"] = said.to_dict()
    (model / "text2latent.json").write_text(json.dumps(record))
    wanted = ["--model", str(model), "--text", "a", "--device", "cpu", "--output", "a.png"]
    assert infer.main(wanted) == 0
    assert infer.main([*wanted, "--overwrite", "--clip", str(tiny_world)]) == 1
    assert "activation QuickGELU there, GELU here" in capsys.readouterr().err
    assert infer.main([*wanted, "--overwrite", "--clip", str(tiny_world), *QUICK]) == 0


def test_the_worlds_that_ship_keep_their_records():
    from text2latent.models.priors.folder import load_prior

    recorded, loaded = load_prior("faces").clip, ClipEncoder.from_pretrained("faces").identity
    assert recorded.settings == loaded.settings
    assert recorded.differences(loaded) == []
    assert Identity(recorded.name, recorded.source, recorded.sha256).differences(loaded) == []
    assert (loaded.settings["activation"], loaded.settings["text_normalization"]) == ("GELU", "japanese")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("quick_gelu=maybe", "quick_gelu: expected true or false, got 'maybe'"),
        ("mean=[1, 2]", "mean: expected three numbers"),
        ("std=[0, 1, 1]", "std: expected three positive numbers"),
        ("speed=3", "speed: expected any of model, pretrained, quick_gelu"),
        ("image_size=0", "image_size: expected a whole number of pixels"),
        ("quick_gelu=true, mean=[0.5", "expected KEY=VALUE,KEY=VALUE or a file"),
    ],
)
def test_arguments_that_are_none_are_usage_errors(arguments, told, tiny_world, tmp_path, sample_arguments, capsys):
    assert sample.main(sample_arguments(tiny_world, tmp_path / "out", "--clip-args", arguments)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"--clip-args: {told}" in line
    assert not (tmp_path / "out").exists()


def test_arguments_come_from_a_file(tiny_world, tmp_path, sample_arguments):
    (tmp_path / "args.yaml").write_text("quick_gelu: true\nmean: [0.5, 0.5, 0.5]\n")
    run = sample_arguments(tiny_world, tmp_path / "out", "--num-pairs", "8", "--clip-args", str(tmp_path / "args.yaml"))
    assert sample.main(run) == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["clip"]["settings"]["mean"] == "0.5 0.5 0.5"
