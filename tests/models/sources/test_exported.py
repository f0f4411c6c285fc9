"""Exported folders that somebody has changed, by accident or on purpose, end in one line that names the file."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from text2latent import infer
from text2latent.apps.exports import command as export
from text2latent.apps.exports.provenance import list_files
from text2latent.common import files
from text2latent.common.errors import InputError
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.priors.folder import load_prior
from text2latent.models.sources.exported import RECORD
from text2latent.tests.conftest import TINY_CLIP

NETWORK = "diffusion_pytorch_model.safetensors"
CLIP = "clip/open_clip_model.safetensors"
Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def exported(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "tiny"
    assert export.main([str(tiny_model), str(folder)]) == 0
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "model"))


def flip(name: str, position: int) -> Change:
    """Turn one bit of a file over; negative positions count from its end."""

    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[position] ^= 1
        (folder / name).write_bytes(data)

    return change


def cut(name: str) -> Change:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def grow(name: str) -> Change:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes() + bytes(8))


def remove(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def update(name: str, **values: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def reshape(name: str) -> Change:
    """Give the first tensor of a safetensors file one more row."""

    def change(folder: Path) -> None:
        weights = load_file(folder / name)
        key = next(key for key, value in weights.items() if value.ndim)
        weights[key] = torch.cat([weights[key], weights[key][:1]])
        save_file(weights, folder / name)

    return change


def as_pickle(name: str) -> Change:
    return lambda folder: (folder / name).write_bytes(pickle.dumps({"weights": [1, 2, 3]}))


def headers_of_terabytes(name: str) -> Change:
    """A safetensors header that declares a tensor of 4 TB."""
    header = json.dumps({"x": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}).encode()
    return lambda folder: (folder / name).write_bytes(len(header).to_bytes(8, "little") + header)


def change_record(edit: Callable[[dict[str, Any]], object]) -> Change:
    def change(folder: Path) -> None:
        path = folder / RECORD
        record = json.loads(path.read_text())
        edit(record)
        path.write_text(json.dumps(record))

    return change


def relist(*changes: Change) -> Change:
    """Make changes, and the list of files true again, as somebody would who means harm."""

    def change(folder: Path) -> None:
        for one in changes:
            one(folder)
        change_record(lambda record: record["export"].update(files=list_files(folder)))(folder)

    return change


def retell(part: str, name: str) -> Change:
    """Let the record have the digest that a file has now."""
    return change_record(lambda record: record[part].update(sha256=record["export"]["files"][name]["sha256"]))


def list_file(name: str) -> Change:
    return change_record(lambda record: record["export"]["files"].update({name: {"bytes": 1, "sha256": "0" * 64}}))


TAMPERED: dict[str, tuple[Change, str]] = {
    "a bit of the prior": (flip(f"prior/{NETWORK}", -50), f"prior/{NETWORK}: expected the file as exported"),
    "a bit of the generator": (
        flip(f"generator/{NETWORK}", -50),
        "generator: expected .*, got .*: the weights are not",
    ),
    "a bit of CLIP": (flip(CLIP, -50), "CLIP: expected .*, got .*: the weights are not the same"),
    "a bit of a header": (flip(f"prior/{NETWORK}", 12), f"prior/{NETWORK}: expected the file as exported"),
    "a bit of the scheduler": (flip("scheduler/scheduler_config.json", 40), "scheduler_config.json: expected the file"),
    "a bit of the generator's config": (flip("generator/config.json", 40), "generator/config.json: expected the file"),
    "a prior cut short": (cut(f"prior/{NETWORK}"), rf"prior/{NETWORK}: expected \d+ bytes, as exported; got"),
    "a generator cut short": (cut(f"generator/{NETWORK}"), rf"generator/{NETWORK}: expected \d+ bytes"),
    "a CLIP grown": (grow(CLIP), "open_clip_model.safetensors: expected .* bytes, as exported"),
    "a prior gone": (remove(f"prior/{NETWORK}"), f"prior/{NETWORK}: expected this file of an exported folder"),
    "a record of no JSON": (cut(RECORD), f"{RECORD}: expected a JSON file"),
    "a record of a list": (lambda folder: (folder / RECORD).write_text("[]"), "expected a JSON object, got list"),
    "a record without files": (update(RECORD, export={}), "files: expected keys and values, got NoneType"),
    "a record without a generator": (update(RECORD, generator="faces"), "generator: expected keys and values, got str"),
    "a listed path upwards": (list_file("../../secret"), r"expected names of files inside the folder, got '../../sec"),
    "a listed path of the root": (list_file("/etc/passwd"), "inside the folder, got '/etc/passwd'"),
    "a listed path of Windows": (list_file("C:\\secret"), "inside the folder, got "),
    "a listed file of odd entries": (
        update(RECORD, export={"files": {"prior/config.json": 3}}),
        "prior/config.json: expected bytes and sha256, got 3",
    ),
    "a model index upwards": (
        relist(update("model_index.json", prior=["../../evil", "Evil"])),
        "model_index.json: prior: expected the names of a module and a class, got",
    ),
    "a model index of another part": (
        relist(update("model_index.json", evil=["os", "system"])),
        "model_index.json: 'evil': expected one of the parts",
    ),
    "a model index of no JSON": (relist(cut("model_index.json")), "model_index.json: expected a JSON file"),
    "wrong shapes": (relist(reshape(f"prior/{NETWORK}")), "don't fit the prior's config"),
    "wrong shapes of the generator": (
        relist(
            reshape(f"generator/{NETWORK}"),
        ),
        "generator: expected .*, got |don't fit",
    ),
    "an absurd size of the prior": (relist(update("prior/config.json", width=10**12)), "don't fit the prior's config"),
    "an absurd size of the generator": (
        relist(update("generator/config.json", w_dim=10**12)),
        "generator/config.json|w_dim",
    ),
    "an absurd size of CLIP": (
        relist(update("clip/open_clip_config.json", model_cfg={**TINY_CLIP, "embed_dim": 10**12})),
        "open_clip_model.safetensors: expected weights that fit",
    ),
    "a prior of an absurd shape": (relist(headers_of_terabytes(f"prior/{NETWORK}")), "expected safetensors weights"),
    "a prior that is a pickle": (relist(as_pickle(f"prior/{NETWORK}")), "expected safetensors weights"),
    "a generator that is a pickle": (relist(as_pickle(f"generator/{NETWORK}")), "expected safetensors weights"),
    "a CLIP that is a pickle": (relist(as_pickle(CLIP)), "expected a complete safetensors file"),
    "another kind of prior": (
        relist(update("prior/config.json", _class_name="os.system")),
        "don't fit|expected one of",
    ),
    "another kind of generator": (relist(update("generator/config.json", _class_name="Evil")), "'Evil'"),
    "another kind of scheduler": (
        relist(update("scheduler/scheduler_config.json", _class_name="Evil")),
        "not the config of a scheduler",
    ),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_tampered_folders_end_in_one_line(folder: Path, case: str) -> None:
    change, message = TAMPERED[case]
    change(folder)
    with pytest.raises(InputError, match=message) as caught:
        Text2LatentPipeline.from_pretrained(str(folder))
    assert "\n" not in str(caught.value)


def test_tampered_generator_with_a_true_record_is_another_model(folder: Path) -> None:
    """Digests show accidents; whoever may write the record too has made a model of their own, which loads."""
    name = f"generator/{NETWORK}"
    relist(flip(name, -50))(folder)
    retell("generator", name)(folder)
    assert Text2LatentPipeline.from_pretrained(str(folder)).generator.image_size == 32


def test_huge_json_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="expected a JSON file of at most"):
        load_prior(folder)


class Malicious:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch hacked",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "diffusion_pytorch_model.bin", "model.ckpt"])
def test_pickles_beside_the_weights_are_not_read(
    folder: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for part in ("prior", "generator", "clip"):
        (folder / part / name).write_bytes(pickle.dumps(Malicious()))
    Text2LatentPipeline.from_pretrained(str(folder))
    assert not (tmp_path / "hacked").exists()


def test_infer_draws_with_an_exported_folder_wherever_it_lies(
    folder: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for model, name in ((tiny_model, "prior.png"), (folder, "export.png")):
        flags = ["--model", str(model), "--device", "cpu", "--output", name]
        assert infer.main(["--text", "a cat", "--seed", "4", *flags]) == 0
    from PIL import Image

    np.testing.assert_array_equal(np.asarray(Image.open("export.png")), np.asarray(Image.open("prior.png")))


def test_other_networks_are_refused_naming_both_unless_forced(
    folder: Path, other_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model", str(folder), "--generator", str(other_world), "--text", "a cat", "--device", "cpu"]
    output = ["--output", str(tmp_path / "cat.png")]
    assert infer.main([*flags, *output]) == 1
    error = capsys.readouterr().err
    digest = json.loads((folder / RECORD).read_text())["generator"]["sha256"]
    assert error.count("\n") == 1
    assert f"({digest[:12]}), got " in error
    assert infer.main([*flags, *output, "--force"]) == 0
    warning = capsys.readouterr().err
    assert "text2latent infer: warning: generator: the prior was trained with" in warning
    assert "images may not follow the text" in warning
    assert (tmp_path / "cat.png").is_file()
