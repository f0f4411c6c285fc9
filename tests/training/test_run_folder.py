"""Run folders: what may go on in them and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from text2latent.common.errors import InputError
from text2latent.training.run_folder import RunFolder, flatten, occupied, open_run, plain

CONFIG: dict[str, Any] = {
    "output": "run",
    "data": {"path": "pairs", "batch_size": 8, "num_workers": 0},
    "optimizer": {"lr": 1e-3, "betas": [0.9, 0.99]},
    "validation": {"prompts": ["猫"], "every_steps": 5},
    "max_steps": 10,
    "seed": 0,
}
RECORD = {"dataset": {"path": "pairs", "sha256": "a" * 64}}


def changed(key: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    section, _, name = key.rpartition(".")
    (config[section] if section else config)[name] = value
    return config


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    open_run(folder, CONFIG, RECORD, resume=True)
    folder.checkpoints.mkdir()
    (folder.checkpoints / "last.ckpt").write_bytes(b"state")
    return folder


def test_the_same_run_goes_on(run: RunFolder) -> None:
    open_run(run, CONFIG, RECORD, resume=True)
    assert yaml.safe_load(run.config.read_text(encoding="utf-8")) == CONFIG


@pytest.mark.parametrize(
    ("key", "value"),
    [("max_steps", 20), ("data.num_workers", 2), ("data.path", "moved"), ("validation.prompts", ["a dog"])],
)
def test_what_is_not_trained_may_change(run: RunFolder, key: str, value: Any) -> None:
    config = changed(key, value)
    open_run(run, config, RECORD, resume=True)
    assert yaml.safe_load(run.config.read_text(encoding="utf-8")) == config


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("optimizer.lr", 0.1, "optimizer.lr: 0.001 there, 0.1 asked"),
        ("data.batch_size", 9, "data.batch_size: 8 there, 9 asked"),
        ("seed", 1, "seed: 0 there, 1 asked"),
    ],
)
def test_another_training_is_refused_naming_both(run: RunFolder, key: str, value: Any, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        open_run(run, changed(key, value), RECORD, resume=True)
    assert yaml.safe_load(run.config.read_text(encoding="utf-8")) == CONFIG


def test_all_differences_are_named_at_once(run: RunFolder) -> None:
    config = changed("seed", 1) | {"optimizer": {"lr": 1.0, "betas": [0.5, 0.99]}}
    with pytest.raises(InputError, match=r"optimizer\.betas.*optimizer\.lr.*seed"):
        open_run(run, config, RECORD, resume=True)


def test_another_dataset_is_refused_naming_both(run: RunFolder) -> None:
    other = {"dataset": {"path": "elsewhere", "sha256": "b" * 64}}
    with pytest.raises(InputError, match=r"pairs \(aaaaaaaaaaaa\).*elsewhere \(bbbbbbbbbbbb\)"):
        open_run(run, CONFIG, other, resume=True)


def test_a_run_is_not_started_over(run: RunFolder) -> None:
    with pytest.raises(InputError, match="--resume is never"):
        open_run(run, CONFIG, RECORD, resume=False)
    assert (run.checkpoints / "last.ckpt").read_bytes() == b"state"


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"found notes\.txt$"):
        open_run(RunFolder(tmp_path), CONFIG, RECORD, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_litter_and_a_lock_make_no_folder_a_foreign_one(tmp_path: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", ".lock", ".config.yaml.host.12.tmp"):
        (tmp_path / name).touch()
    (tmp_path / "lost+found").mkdir()
    open_run(RunFolder(tmp_path), CONFIG, RECORD, resume=True)
    assert RunFolder(tmp_path).config.is_file()


def test_one_process_trains_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("text2latent.training.run_folder.LOCK_SECONDS", 0.05)
    run = RunFolder(tmp_path / "run")
    with (
        occupied(run),
        pytest.raises(InputError, match=r"run: another process trains in it \(it holds .*\.lock\); expected one at"),
        occupied(run),
    ):
        pytest.fail("two at a time")
    with occupied(run):
        open_run(run, CONFIG, RECORD, resume=True)


def test_a_foreign_folder_gets_no_lock(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"found notes\.txt"), occupied(RunFolder(tmp_path)):
        pytest.fail("occupied")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("text", ["", "- a list", "a: [", "\x00"])
def test_a_damaged_config_is_named(run: RunFolder, text: str) -> None:
    run.config.write_text(text)
    with pytest.raises(InputError, match=r"config\.yaml: damaged"):
        open_run(run, CONFIG, RECORD, resume=True)


def test_plain_values_survive_yaml() -> None:
    value = plain({"a": (1, (2.5, None)), "b": {"c": "猫"}})
    assert yaml.safe_load(yaml.safe_dump(value)) == value == {"a": [1, [2.5, None]], "b": {"c": "猫"}}
    assert dict(flatten(value)) == {"a": [1, [2.5, None]], "b.c": "猫"}


def test_what_a_killed_session_left_unfinished_goes(run: RunFolder) -> None:
    (run.root / ".prior.7.elsewhere.12.tmp").mkdir()
    (run.checkpoints / ".step-00000005.ckpt.7.elsewhere.12.tmp").touch()
    open_run(run, CONFIG, RECORD, resume=True)
    assert [path.name for path in run.root.rglob("*.tmp")] == []
    assert (run.checkpoints / "last.ckpt").read_bytes() == b"state"
