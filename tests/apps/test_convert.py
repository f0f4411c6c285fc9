"""`text2latent convert`: every format into our folder, what it prints, and what it refuses to lose."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from text2latent.apps import convert
from text2latent.models.generators import load_generator
from text2latent.models.sources.identity import sha256_of

DATA = Path(__file__).parents[1] / "data" / "generators"
WEIGHTS = "diffusion_pytorch_model.safetensors"
FILES = ("sg2ada-cond-32.pkl", "sg3r-64.pkl", "tf-sg2-64.pkl", "rosinality-64.pt")


def listing(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", FILES)
def test_a_converted_generator_is_the_same(name, tmp_path, capsys):
    assert convert.main([str(DATA / name), str(tmp_path / "out"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    generator, loaded = load_generator(DATA / name), load_generator(tmp_path / "out")
    z = generator.sample_latents(2, seed=0)
    label = torch.eye(generator.c_dim)[[0, 1]] if generator.c_dim else None
    ws = generator.map(z, label, truncation_psi=0.7)
    assert torch.equal(loaded.map(z, label, truncation_psi=0.7), ws)
    assert torch.equal(loaded.synthesize(ws), generator.synthesize(ws))
    assert sorted(os.listdir(tmp_path / "out")) == ["config.json", WEIGHTS]
    assert report["input_sha256"] == generator.identity.sha256 == loaded.identity.sha256 == sha256_of(DATA / name)
    assert report["sha256"] == sha256_of(tmp_path / "out" / WEIGHTS)
    assert report["w_plus"] == list(generator.latent_shape)
    assert report["parameters"] == sum(parameter.numel() for parameter in generator.parameters())


def test_the_folder_remembers_what_it_was_converted_from(tmp_path):
    source = DATA / FILES[0]
    assert convert.main([str(source), str(tmp_path / "out")]) == 0
    origin = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))["_converted_from"]
    assert origin.pop("weights_sha256") == sha256_of(tmp_path / "out" / WEIGHTS)
    assert origin == load_generator(source).identity.to_dict()


def convert_to(folder: Path, source: Path = DATA / FILES[0], *flags: str) -> str:
    assert convert.main([str(source), str(folder), *flags]) == 0
    return load_generator(folder).identity.sha256


def test_a_conversion_keeps_the_identity_as_long_as_the_weights_are_those_it_wrote(tmp_path):
    known = sha256_of(DATA / FILES[0])
    assert convert_to(tmp_path / "once") == known
    assert convert_to(tmp_path / "twice", tmp_path / "once") == known
    shutil.copytree(tmp_path / "once", tmp_path / "moved")
    assert load_generator(tmp_path / "moved").identity.sha256 == known


def test_rounded_and_changed_weights_are_others(tmp_path):
    known = sha256_of(DATA / FILES[0])
    assert convert_to(tmp_path / "half", DATA / FILES[0], "--half") == sha256_of(tmp_path / "half" / WEIGHTS) != known
    assert convert_to(tmp_path / "out") == known
    tuned = load_generator(tmp_path / "out")
    tuned.synthesis.b4.const += 1
    save_file({name: value.contiguous() for name, value in tuned.state_dict().items()}, tmp_path / "out" / WEIGHTS)
    assert load_generator(tmp_path / "out").identity.sha256 == sha256_of(tmp_path / "out" / WEIGHTS) != known


@pytest.mark.parametrize("claim", [None, 3, "faces", "0" * 63, ["0" * 64], "X" * 64])
def test_a_claim_that_is_no_checksum_is_not_believed(tmp_path, claim):
    convert_to(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    for origin in ({**config["_converted_from"], "sha256": claim}, claim):
        (tmp_path / "out" / "config.json").write_text(json.dumps({**config, "_converted_from": origin}))
        assert load_generator(tmp_path / "out").identity.sha256 == sha256_of(tmp_path / "out" / WEIGHTS)


def test_what_was_found_is_printed(tmp_path, capsys):
    assert convert.main([str(DATA / "sg2ada-cond-32.pkl"), str(tmp_path / "out")]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (lines["network"], lines["architecture"], lines["resolution"]) == ("StyleGAN2Generator", "skip", "32")
    assert (lines["z"], lines["labels"], lines["w"], lines["w_plus"]) == ("[32]", "5", "[48]", "[8, 48]")
    assert lines["input_sha256"] == sha256_of(DATA / "sg2ada-cond-32.pkl")


@pytest.mark.parametrize("name", ["sg2ada-64.pkl", "sg3t-64.pkl"])
def test_half_precision_halves_parameters_and_keeps_buffers(name, tmp_path):
    assert convert.main([str(DATA / name), str(tmp_path / "out"), "--half"]) == 0
    generator, loaded = load_generator(DATA / name), load_generator(tmp_path / "out")
    stored = load_file(tmp_path / "out" / WEIGHTS)
    parameters = dict(generator.named_parameters())
    assert all((value.dtype == torch.float16) == (key in parameters) for key, value in stored.items())
    for key, buffer in generator.named_buffers():
        assert torch.equal(stored[key], buffer)
    ws = generator.map(generator.sample_latents(2, seed=0))
    expected = generator.synthesize(ws)
    assert (loaded.synthesize(ws) - expected).square().mean().sqrt() < 0.02 * expected.std()


def test_parameters_too_large_for_half_precision_are_refused(tmp_path, capsys):
    convert.main([str(DATA / "sg2ada-cond-32.pkl"), str(tmp_path / "first")])
    generator = load_generator(tmp_path / "first")
    generator.synthesis.b4.const.fill_(1e5)
    generator.save_pretrained(tmp_path / "large")
    assert convert.main([str(tmp_path / "large"), str(tmp_path / "out"), "--half"]) == 1
    assert "--half: synthesis.b4.const: too large for float16" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_is_replaced_only_when_asked(tmp_path, capsys):
    arguments = [str(DATA / "sg2ada-cond-32.pkl"), str(tmp_path / "out")]
    assert convert.main(arguments) == 0
    before = listing(tmp_path)
    assert convert.main([*arguments, "--half"]) == 1
    assert "exists already; expected a new name, or --overwrite" in capsys.readouterr().err
    assert listing(tmp_path) == before
    assert convert.main([*arguments, "--half", "--overwrite"]) == 0
    assert listing(tmp_path).keys() == before.keys()
    assert listing(tmp_path) != before


def test_a_folder_may_be_converted_onto_itself(tmp_path):
    arguments = [str(DATA / "sg2ada-cond-32.pkl"), str(tmp_path / "out")]
    assert convert.main(arguments) == 0
    assert convert.main([str(tmp_path / "out"), str(tmp_path / "out"), "--half", "--overwrite"]) == 0
    assert load_generator(tmp_path / "out").image_size == 32


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_other_files_are_never_replaced(tmp_path, capsys, flags):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("years of work", encoding="utf-8")
    (tmp_path / "file").write_text("of someone", encoding="utf-8")
    before = listing(tmp_path)
    for name, message in (("folder", "it holds thesis.tex"), ("file", "there is a file")):
        assert convert.main([str(DATA / "sg2ada-cond-32.pkl"), str(tmp_path / name), *flags]) == 1
        assert message in capsys.readouterr().err
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "required"),
        (["missing.pkl", "out"], 2, "expected a name of the zoo"),
        (["broken.pkl", "out"], 1, "broken.pkl: truncated"),
        (["my_package.MyGenerator", "out"], 2, "no module my_package"),
        (["sg2ada-cond-32.pkl", "broken.pkl/out"], 1, "broken.pkl is a file"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(tmp_path, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    shutil.copy(DATA / "sg2ada-cond-32.pkl", tmp_path)
    (tmp_path / "broken.pkl").write_bytes((DATA / "sg2ada-cond-32.pkl").read_bytes()[:5000])
    before = sorted(os.listdir(tmp_path))
    assert convert.main(arguments) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == before


def test_a_disk_that_fails_leaves_the_old_folder(tmp_path, monkeypatch, capsys):
    arguments = [str(DATA / "sg2ada-cond-32.pkl"), str(tmp_path / "out")]
    assert convert.main(arguments) == 0
    before = listing(tmp_path)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("text2latent.common.files.replace_folder", fail)
    assert convert.main([*arguments, "--overwrite"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert listing(tmp_path) == before
