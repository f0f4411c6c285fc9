import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from text2latent.common.errors import InputError, UsageError
from text2latent.inference.latents_file import check_suffix, count_latents, load_latents, save_latents


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
        {"w": np.zeros((7, 16))},
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
    with pytest.raises(InputError, match=r"--latents: .*w.npz: expected latents w \[N, 8, 16\] of finite numbers"):
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


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".pt", ".PT"])
def test_a_suffix_says_the_kind_that_is_written(tmp_path: Path, suffix: str) -> None:
    latents, path = torch.randn(3, 8, 16), tmp_path / f"w{suffix}"
    save_latents(path, list(latents), 8)
    torch.testing.assert_close(load_latents(path, (8, 16)), latents)
    if suffix != ".npz":
        plain = torch.from_numpy(np.load(path)) if suffix == ".npy" else torch.load(path, weights_only=True)
        torch.testing.assert_close(plain, latents)


W = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(0))
PROJECTED = {f"{i}.png": {"img": torch.zeros(3, 4, 4), "latent": W[i], "noise": [torch.zeros(4)]} for i in range(2)}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (W, W),
        (W[0], W[:1]),
        (W[:1].half(), W[:1].half().float()),
        (W[0, 0], W[:1, :1].expand(-1, 8, -1)),
        ({"w": W[:1]}, W[:1]),
        ({"anything": [torch.nn.Parameter(W)]}, W),
        ({"latent": W, "noise": torch.zeros(3)}, W),
        (PROJECTED, W),
        ({"face.png": PROJECTED["1.png"]}, W[1:]),
    ],
)
def test_files_of_torch(tmp_path: Path, content: object, expected: torch.Tensor, zipped: bool) -> None:
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    torch.testing.assert_close(load_latents(tmp_path / "w.pt", (8, 16)), expected)
    assert count_latents(tmp_path / "w.pt") == len(expected)


def test_arrays_of_numpy_and_tensorflow(tmp_path: Path) -> None:
    np.savez(tmp_path / "dlatents.npz", dlatents=W.numpy())
    np.save(tmp_path / "w.npy", W[0].numpy())
    torch.testing.assert_close(load_latents(tmp_path / "dlatents.npz", (8, 16)), W)
    torch.testing.assert_close(load_latents(tmp_path / "w.npy", (8, 16)), W[:1])


class Evil:
    def __reduce__(self) -> object:
        return os.mkdir, ("CANARY",)


def array_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def array_of_objects() -> bytes:
    return array_bytes(np.array([[[None]]]))


def huge_array(path: Path) -> None:
    path.write_bytes(array_bytes(np.zeros((1, 8, 16), np.float32)).replace(b"(1, 8, 16)", b"(99999,8,9)"))


def truncated(path: Path) -> None:
    torch.save(W, path)
    path.write_bytes(path.read_bytes()[:-300])


def claims(path: Path) -> None:
    torch.save(torch.zeros(1).expand(1 << 16, 8, 16), path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: torch.save(Evil(), path), "global posix.mkdir is not allowed"),
        (lambda path: torch.save({"w": Evil()}, path, _use_new_zipfile_serialization=False), "is not allowed"),
        (lambda path: path.write_bytes(pickle.dumps(W.numpy())), "neither an array nor"),
        (lambda path: path.write_bytes(array_of_objects()), "Object arrays cannot be loaded|expected latents"),
        (huge_array, "expected latents"),
        (truncated, "not a zip file"),
        (claims, "holds only 1 elements"),
        (lambda path: torch.save({"a": W, "b": W}, path), "expected one tensor"),
        (lambda path: torch.save([], path), "expected one tensor"),
        (lambda path: torch.save(torch.full((1, 8, 16), torch.nan), path), "NaN or infinity"),
        (lambda path: torch.save(torch.zeros(0, 8, 16), path), "expected latents"),
        (lambda path: torch.save(torch.zeros(2, 2, 8, 16), path), "expected latents"),
        (lambda path: torch.save(torch.nn.Linear(2, 2), path), "is not allowed"),
    ],
)
def test_hostile_files_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], object], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "w.pt")
    with pytest.raises(InputError, match=message) as caught:
        load_latents(tmp_path / "w.pt", (8, 16))
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["w.pt"]


def test_other_suffixes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"got w\.txt"):
        check_suffix("w.txt")
