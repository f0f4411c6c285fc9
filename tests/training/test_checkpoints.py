"""Checkpoints: atomic, the last few kept, damaged ones passed over."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from text2latent.common.errors import InputError
from text2latent.training.checkpoints import AtomicCheckpointIO, find_checkpoint, numbered_checkpoints, read_progress


def write(folder: Path, *steps: int) -> Path:
    """Checkpoints of these steps, the last of them also as last.ckpt, as a run leaves them."""
    for step in steps:
        state = {"global_step": step, "seconds": 2.0 * step, "weights": torch.full((2000,), float(step))}
        AtomicCheckpointIO().save_checkpoint(state, folder / f"step-{step:08d}.ckpt")
    os.link(folder / f"step-{steps[-1]:08d}.ckpt", folder / "last.ckpt")
    return folder


def test_the_newest_is_found(tmp_path: Path) -> None:
    found = find_checkpoint(write(tmp_path, 5, 1000, 20), print)
    assert found is not None
    assert (found.path.name, found.step, found.seconds) == ("last.ckpt", 20, 40.0)
    assert [step for step, _ in numbered_checkpoints(tmp_path)] == [1000, 20, 5]


def test_none_is_found_where_none_is(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path / "absent", print) is None


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_weight(path: Path) -> None:
    data = bytearray(path.read_bytes())
    place = data.index(torch.full((10,), 30.0).numpy().tobytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [truncate, empty, flip_a_weight])
def test_a_damaged_newest_falls_back_to_the_one_before_with_a_warning(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(write(tmp_path, 10, 20, 30) / "last.ckpt")
    lines: list[str] = []
    found = find_checkpoint(tmp_path, lines.append)
    assert found is not None
    assert (found.path.name, found.step) == ("step-00000020.ckpt", 20)
    assert all(line.startswith("warning: ") and line.endswith("trying the one before") for line in lines)
    assert [name in line for name, line in zip(("last.ckpt", "step-00000030.ckpt"), lines, strict=True)] == [True, True]


def test_damage_to_all_is_an_error_that_names_the_newest(tmp_path: Path) -> None:
    for path in write(tmp_path, 10, 20).glob("*.ckpt"):
        path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"last\.ckpt: expected a checkpoint of text2latent train"):
        find_checkpoint(tmp_path, lambda line: None)


def test_other_files_of_torch_are_no_checkpoints(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="KeyError"):
        read_progress(tmp_path / "other.ckpt")


def test_a_refused_write_leaves_the_checkpoint_that_was_there(tmp_path: Path) -> None:
    target = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, target)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write .*last\.ckpt: File too large"):
            AtomicCheckpointIO().save_checkpoint({"step": 2, "weights": torch.zeros(1000)}, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    assert torch.load(target, weights_only=True) == {"step": 1}
