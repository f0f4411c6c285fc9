import os
from pathlib import Path

import numpy as np
import pytest
import torch

from text2latent.common.errors import InputError
from text2latent.inference.latents_file import count_latents, load_latents, save_latents


def test_file_is_as_stylegans_projector_writes_it(tmp_path: Path) -> None:
    narrow, wide = torch.randn(1, 16), torch.randn(8, 16).half()
    save_latents(tmp_path / "new" / "w.npz", [narrow, wide], num_ws=8)
    with np.load(tmp_path / "new" / "w.npz") as arrays:
        assert arrays.files == ["w"]
        assert (arrays["w"].dtype, arrays["w"].shape) == (np.float32, (2, 8, 16))
        np.testing.assert_array_equal(arrays["w"][0], narrow.expand(8, -1))
        np.testing.assert_array_equal(arrays["w"][1], wide.float())
    assert os.listdir(tmp_path / "new") == ["w.npz"]


def test_latents_come_back(tmp_path: Path) -> None:
    latents = list(torch.randn(3, 8, 16))
    save_latents(tmp_path / "w.npz", latents, num_ws=8)
    assert count_latents(tmp_path / "w.npz") == 3
    torch.testing.assert_close(load_latents(tmp_path / "w.npz", (8, 16)), torch.stack(latents))


def test_one_w_for_all_layers_and_other_numbers_are_taken(tmp_path: Path) -> None:
    w = np.arange(32, dtype=np.float64).reshape(2, 1, 16)
    np.savez_compressed(tmp_path / "w.npz", w=w, other=np.zeros(3))
    loaded = load_latents(tmp_path / "w.npz", (8, 16))
    assert loaded.dtype == torch.float32
    torch.testing.assert_close(loaded, torch.from_numpy(w).float().expand(-1, 8, -1))


def test_what_exists_is_kept_unless_it_may_go(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    save_latents(path, [torch.zeros(8, 16)], 8)
    with pytest.raises(InputError, match="exists already"):
        save_latents(path, [torch.ones(8, 16)], 8)
    assert load_latents(path, (8, 16)).sum() == 0
    save_latents(path, [torch.ones(8, 16)], 8, overwrite=True)
    assert load_latents(path, (8, 16)).sum() == 8 * 16
    assert os.listdir(tmp_path) == ["w.npz"]


@pytest.mark.parametrize(
    "arrays",
    [
        {"v": np.zeros((1, 8, 16))},
        {"w": np.zeros((8, 16))},
        {"w": np.zeros((0, 8, 16))},
        {"w": np.zeros((1, 7, 16))},
        {"w": np.zeros((1, 8, 15))},
        {"w": np.full((1, 8, 16), np.nan)},
        {"w": np.zeros((1, 8, 16), dtype=complex)},
        {"w": np.array([[["x"] * 16] * 8])},
        {"w": np.array([[[None] * 16] * 8], dtype=object)},
    ],
)
def test_unfit_files_are_refused(tmp_path: Path, arrays: dict) -> None:
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(InputError, match=r"--latents: .*w.npz: expected an .npz with w \[N, 8, 16\] of finite numbers"):
        load_latents(tmp_path / "w.npz", (8, 16))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"\x93NUMPY", b"hello"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.npz").write_bytes(content)
    for read in (count_latents, lambda path: load_latents(path, (8, 16))):
        with pytest.raises(InputError, match="--latents"):
            read(tmp_path / "w.npz")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        count_latents(tmp_path / "none.npz")
