import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from text2latent.common.errors import InputError, UsageError
from text2latent.models.priors.folder import RECORD, WEIGHTS, load_prior, save_prior
from text2latent.models.sources.identity import sha256_of


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "prior"))


def velocity(folder: Path) -> torch.Tensor:
    prior = load_prior(folder).prior
    return prior(torch.ones(2, 1, 16), torch.tensor([0.2, 0.7]), torch.eye(16)[:2])


def test_what_was_saved_is_loaded(tiny_model: Path, tmp_path: Path) -> None:
    trained = load_prior(tiny_model)
    save_prior(tmp_path / "deep" / "copy", trained)
    loaded = load_prior(tmp_path / "deep" / "copy")
    assert loaded.record == trained.record
    assert loaded.scheduler.config == trained.scheduler.config
    assert torch.equal(velocity(tmp_path / "deep" / "copy"), velocity(tiny_model))
    assert not loaded.prior.training
    assert not any(weight.requires_grad for weight in loaded.prior.parameters())


def test_identity_is_of_the_weights(folder: Path) -> None:
    identity = load_prior(folder).identity
    assert identity is not None
    assert (identity.name, identity.sha256) == ("prior", sha256_of(folder / WEIGHTS))


def test_half_precision_weights_load_as_single(folder: Path) -> None:
    single = load_file(folder / WEIGHTS)
    save_file({name: weight.half() for name, weight in single.items()}, folder / WEIGHTS)
    loaded = load_prior(folder).prior
    assert {weight.dtype for weight in loaded.state_dict().values()} == {torch.float32}
    torch.testing.assert_close(loaded.output.weight, single["output.weight"], atol=1e-3, rtol=1e-3)


def test_run_folder_stands_for_its_prior(folder: Path) -> None:
    assert load_prior(folder.parent).record == load_prior(folder).record


def test_run_folder_without_a_prior_yet_is_refused(tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text("{}")
    with pytest.raises(InputError, match=r"expected a trained prior here or in its folder prior; config.json missing"):
        load_prior(tmp_path)


def test_saving_replaces_whole_folders_and_leaves_nothing_else(folder: Path) -> None:
    trained = load_prior(folder)
    (folder / "stale").touch()
    save_prior(folder, replace(trained, record={**trained.record, "note": "森"}))
    assert load_prior(folder).record["note"] == "森"
    assert not (folder / "stale").exists()
    assert os.listdir(folder.parent) == ["prior"]


def test_failed_saving_keeps_the_old_prior(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, moves = load_prior(folder), []
    really_replace = os.replace

    def fail_once(source: Any, target: Any) -> None:
        moves.append(target)
        if len(moves) == 2:
            raise OSError(28, "No space left on device")
        really_replace(source, target)

    monkeypatch.setattr(os, "replace", fail_once)
    with pytest.raises(OSError, match="No space"):
        save_prior(folder, trained)
    assert load_prior(folder).record == trained.record
    assert os.listdir(folder.parent) == ["prior"]


def truncate(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def change(name: str, **values: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return apply


def change_weights(edit: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        edit(weights)
        save_file(weights, folder / WEIGHTS)

    return apply


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (truncate(WEIGHTS), "expected safetensors weights"),
        (write(WEIGHTS, "not weights"), "expected safetensors weights"),
        (lambda folder: (folder / WEIGHTS).unlink(), "expected safetensors weights"),
        (change_weights(lambda w: w.pop("output.bias")), "don't fit the prior's config.*output.bias"),
        (change_weights(lambda w: w.update(extra=torch.zeros(1))), "don't fit the prior's config.*extra"),
        (change_weights(lambda w: w.update({"output.bias": torch.zeros(3)})), "don't fit the prior's config.*size"),
        (change_weights(lambda w: w["output.bias"].fill_(torch.nan)), "expected finite weights"),
        (change("config.json", width=10**9), "don't fit the prior's config"),
        (change("config.json", width="wide"), "don't fit the prior's config"),
        (change("config.json", latent_shape=None), "don't fit the prior's config"),
        (write("config.json", "{"), "config.json: expected a JSON file"),
        (write("config.json", "[1]"), "config.json: expected a JSON object, got list"),
        (write("config.json", "[" * 100_000), "config.json: expected a JSON file"),
        (lambda folder: shutil.rmtree(folder / "scheduler"), "scheduler_config.json: expected this file"),
        (change("scheduler/scheduler_config.json", _class_name="PNDMScheduler"), "'PNDMScheduler': expected one of F"),
    ],
)
def test_damaged_and_foreign_files_are_refused(folder: Path, breakage: Callable[[Path], None], message: str) -> None:
    breakage(folder)
    with pytest.raises(InputError, match=message) as caught:
        load_prior(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("record", [{}, {"generator": "faces"}, {"generator": {"name": "faces"}}])
def test_record_without_identities_is_refused(folder: Path, record: dict[str, object]) -> None:
    (folder / RECORD).write_text(json.dumps(record))
    with pytest.raises(InputError, match="identity"):
        _ = load_prior(folder).generator


def test_unknown_source_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a name of the zoo"):
        load_prior(tmp_path / "nowhere")


def save_checkpoint(folder: Path, path: Path) -> None:
    trained = load_prior(folder)
    record = {**trained.record, "prior": dict(trained.prior.config), "scheduler": dict(trained.scheduler.config)}
    state = {f"prior.{name}": weight for name, weight in trained.prior.state_dict().items()}
    torch.save({"state_dict": {**state, "other.weight": torch.zeros(1)}, "text2latent": record}, path)


def test_checkpoint_loads_as_its_folder_does(tiny_model: Path, tmp_path: Path) -> None:
    save_checkpoint(tiny_model, tmp_path / "last.ckpt")
    assert torch.equal(velocity(tmp_path / "last.ckpt"), velocity(tiny_model))
    assert load_prior(tmp_path / "last.ckpt").generator == load_prior(tiny_model).generator


class Malicious:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch hacked",)


def test_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.ckpt").write_bytes(pickle.dumps({"state_dict": Malicious()}))
    torch.save({"state_dict": Malicious(), "text2latent": {}}, tmp_path / "worse.ckpt")
    for name in ("bad.ckpt", "worse.ckpt"):
        with pytest.raises(InputError, match="expected a checkpoint of text2latent train"):
            load_prior(tmp_path / name)
    assert not (tmp_path / "hacked").exists()


def test_truncated_and_foreign_checkpoints_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    save_checkpoint(tiny_model, tmp_path / "last.ckpt")
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "last.ckpt").read_bytes()[:-2000])
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    for name in ("cut.ckpt", "foreign.ckpt", "text.ckpt"):
        with pytest.raises(InputError, match=name):
            load_prior(tmp_path / name)
