"""clip2latent's pairs as a dataset of ours, and hostile tars and arrays, refused in one line."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from text2latent.common.errors import InputError
from text2latent.data import clip2latent_pairs
from text2latent.data.clip2latent_pairs import find_pairs, is_pairs, read_pairs, read_shapes, write_pairs
from text2latent.data.records import read_manifest
from text2latent.data.shards import load_pairs
from text2latent.data.stats import load_statistics
from text2latent.data.verification import find_problems
from text2latent.models.sources.identity import Identity

Array = NDArray[np.float32]
RNG = np.random.default_rng(0)
EMBEDDINGS = RNG.standard_normal((5, 8)).astype(np.float32) * 3
LATENTS = RNG.standard_normal((5, 16)).astype(np.float32)
NETWORK = Identity("x", "unknown", "")


def npy(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def members(embeddings: Array, latents: Array, start: int = 0) -> dict[str, bytes]:
    """Files of pairs as clip2latent's script packs them, the path from the root included."""
    found: dict[str, bytes] = {}
    for row, (embedding, latent) in enumerate(zip(embeddings, latents, strict=True)):
        key = f"home/me/data/00000/{start + row:09d}"
        found |= {f"{key}.img_feat.npy": npy(embedding), f"{key}.latent.npy": npy(latent), f"{key}.gen.jpg": b"jpg"}
    return found


def write_tar(path: Path, files: dict[str, bytes], *more: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        folder = tarfile.TarInfo("home/me/data/00000")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in more:
            archive.addfile(info)
    return path


def write_folders(place: Path, files: dict[str, bytes]) -> Path:
    """The same files in a folder, before they are packed."""
    (place / "00000").mkdir(parents=True)
    for name, data in files.items():
        (place / "00000" / name.rpartition("/")[2]).write_bytes(data)
    return place


def convert(place: Path, folder: Path) -> bool:
    pairs = find_pairs(place)
    return write_pairs(pairs, read_shapes(pairs[0]), folder, NETWORK, NETWORK)


@pytest.mark.parametrize("shard_size", [1000, 2])
def test_tars_become_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_size: int) -> None:
    monkeypatch.setattr(clip2latent_pairs, "SHARD_SIZE", shard_size)
    (tmp_path / "in").mkdir()
    write_tar(tmp_path / "in/00001.tar", members(EMBEDDINGS[3:], LATENTS[3:], 10_000))
    write_tar(tmp_path / "in/00000.tar", members(EMBEDDINGS[:3], LATENTS[:3]))
    assert is_pairs(tmp_path / "in")
    assert not convert(tmp_path / "in", tmp_path / "out")
    latents, embeddings = load_pairs(tmp_path / "out")
    np.testing.assert_array_equal(latents[:, 0], LATENTS.astype(np.float16))
    unit = EMBEDDINGS / np.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)
    np.testing.assert_allclose(embeddings, unit, atol=5e-4)
    manifest = read_manifest(tmp_path / "out")
    assert (manifest.latent_layout, manifest.latent_shape, manifest.num_pairs) == ("w", (1, 16), 5)
    assert manifest.generator == NETWORK
    np.testing.assert_allclose(load_statistics(tmp_path / "out").latent_mean[0], LATENTS.mean(axis=0), atol=1e-3)
    assert list(find_problems(tmp_path / "out")) == []


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
def test_folders_and_single_tars_are_the_same(tmp_path: Path, dtype: str) -> None:
    files = members(EMBEDDINGS.astype(dtype), LATENTS.astype(dtype))
    places = write_folders(tmp_path / "folders", files), write_tar(tmp_path / "all.tar", files)
    (tmp_path / "folders/00000/._x.latent.npy").write_bytes(b"litter")
    assert all(is_pairs(place) for place in places)
    for place in places:
        convert(place, tmp_path / f"out-{place.stem}")
    one, other = (load_pairs(tmp_path / f"out-{place.stem}") for place in places)
    assert all(np.array_equal(*arrays) for arrays in zip(one, other, strict=True))


def three_groups(alike: bool) -> Array:
    latents = RNG.standard_normal((4, 3, 16)).astype(np.float32)
    if alike:
        latents[:, 0] = latents[:, 1]
    return latents


@pytest.mark.parametrize("alike", [True, False])
def test_lost_coarse_rows_are_found(tmp_path: Path, alike: bool) -> None:
    latents = three_groups(alike)
    write_tar(tmp_path / "0.tar", members(EMBEDDINGS[:4], latents))
    assert convert(tmp_path / "0.tar", tmp_path / "out") is alike
    assert read_manifest(tmp_path / "out").latent_layout == "w_k"
    np.testing.assert_array_equal(load_pairs(tmp_path / "out")[0], latents.astype(np.float16))


def test_one_whole_pair_shows_that_no_row_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip2latent_pairs, "SHARD_SIZE", 2)
    latents = np.concatenate([three_groups(True), three_groups(False)[:1]])
    write_tar(tmp_path / "0.tar", members(EMBEDDINGS, latents))
    assert not convert(tmp_path / "0.tar", tmp_path / "out")


def test_our_own_and_other_folders_are_no_pairs(tmp_path: Path) -> None:
    (tmp_path / "shard-000000.tar").write_bytes(b"ours")
    (tmp_path / "config.json").write_bytes(b"{}")
    assert not is_pairs(tmp_path)
    assert not is_pairs(tmp_path / "config.json")
    assert not is_pairs(tmp_path / "missing")
    with pytest.raises(InputError, match="expected pairs of clip2latent"):
        find_pairs(write_tar(tmp_path / "a.tar", {"a.jpg": b"jpg"}))


def link(name: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def huge(path: Path) -> Path:
    info = tarfile.TarInfo("a.latent.npy")
    info.size = (1 << 33) - 1
    path.write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1024))
    return path


def sparse(path: Path) -> Path:
    info = tarfile.TarInfo("a.latent.npy")
    info.size, info.type = 512, tarfile.GNUTYPE_SPARSE
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    return path


def damaged_header(path: Path) -> Path:
    write_tar(path, members(EMBEDDINGS, LATENTS))
    data = bytearray(path.read_bytes())
    data[512 * 3 : 512 * 4] = b"\xff" * 512
    path.write_bytes(data)
    return path


def cut(path: Path, size: int) -> Path:
    write_tar(path, members(EMBEDDINGS, LATENTS))
    path.write_bytes(path.read_bytes()[:size])
    return path


def compressed(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.latent.npy"), io.BytesIO())
    return path


def with_bytes(path: Path, data: bytes) -> Path:
    return write_tar(path, {**members(EMBEDDINGS[:1], LATENTS[:1]), "a.img_feat.npy": data, "a.latent.npy": data})


def claim(shape: str, descr: str = "'<f4'") -> bytes:
    """An npy file of a header alone."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64)


PAIR = members(EMBEDDINGS[:1], LATENTS[:1])
HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty": (lambda path: cut(path, 0), "expected a tar file, whole and not compressed"),
    "text": (lambda path: Path(path.write_bytes(b"a page" * 200) and path), "expected a tar file"),
    "compressed": (compressed, "expected a tar file, whole and not compressed"),
    "cut in a header": (lambda path: cut(path, 700), "truncated|expected a tar"),
    "cut in a member": (lambda path: cut(path, 1200), "truncated|expected a tar"),
    "cut between members": (lambda path: cut(path, 512 + 1024 * 2), "truncated or damaged"),
    "damaged header": (damaged_header, "truncated or damaged|expected a tar"),
    "huge": (huge, "expected an array of at most 1048576 bytes, got 8589934591"),
    "sparse": (sparse, "expected a plain file, got a link or other|expected a tar"),
    "symlink": (lambda path: write_tar(path, PAIR, link("a.latent.npy")), "a.latent.npy.: expected a plain file"),
    "hard link": (lambda path: write_tar(path, PAIR, link("a.latent.npy", tarfile.LNKTYPE)), "expected a plain file"),
    "pipe": (lambda path: write_tar(path, PAIR, link("a.latent.npy", tarfile.FIFOTYPE)), "expected a plain file"),
    "half a pair": (lambda path: write_tar(path, {**PAIR, "a.latent.npy": npy(LATENTS[0])}), "its img_feat.npy too"),
    "no array": (lambda path: with_bytes(path, b"a page"), "expected an npy file"),
    "objects": (lambda path: with_bytes(path, claim("(16,)", "'|O'")), "expected floating-point numbers, got object"),
    "integers": (lambda path: with_bytes(path, npy(np.arange(16))), "expected floating-point numbers, got int64"),
    "claims": (lambda path: with_bytes(path, claim("(1099511627776,)")), "expected as many numbers as its shape"),
    "negative": (lambda path: with_bytes(path, claim("(-16,)")), "expected"),
    "dimensions": (lambda path: with_bytes(path, claim("(" + "1," * 20 + ")")), "expected as many numbers"),
    "code": (lambda path: with_bytes(path, claim("__import__('os').mkdir('ran')")), "expected an npy file"),
    "short": (lambda path: with_bytes(path, npy(LATENTS[0])[:-4]), "expected as many numbers as its shape"),
    "none": (lambda path: with_bytes(path, npy(LATENTS[0, :0])), "expected as many numbers"),
    "shape": (lambda path: with_bytes(path, npy(LATENTS[0, :4])), "as in the first pair, got"),
    "nan": (lambda path: with_bytes(path, npy(np.full(16, np.nan, np.float32))), "expected finite numbers"),
    "large": (lambda path: write_tar(path, members(EMBEDDINGS, LATENTS * 1e6)), "expected numbers that fit float16"),
    "no length": (
        lambda path: write_tar(path, members(EMBEDDINGS * 0, LATENTS)),
        "an embedding with a length",
    ),
    "scalar": (lambda path: write_tar(path, members(EMBEDDINGS[:, 0], LATENTS)), "expected a vector"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    make, message = HOSTILE[name]
    path = make(tmp_path / "in.tar")
    with pytest.raises(InputError, match=message) as caught:
        convert(path, tmp_path / "out")
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()
    assert not (tmp_path / "ran").exists()


def test_names_that_point_elsewhere_are_only_names(tmp_path: Path) -> None:
    """Nothing is unpacked, so that a path out of the folder writes nothing there."""
    files = {name.replace("home/me/data", "../../.."): data for name, data in members(EMBEDDINGS, LATENTS).items()}
    write_tar(tmp_path / "in.tar", files)
    convert(tmp_path / "in.tar", tmp_path / "out")
    assert len(load_pairs(tmp_path / "out")[0]) == 5
    assert sorted(os.listdir(tmp_path)) == ["in.tar", "out"]


def test_a_member_that_comes_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.tar"
    with tarfile.open(path, "w") as archive:
        for data in (npy(LATENTS[0]), npy(LATENTS[1])):
            info = tarfile.TarInfo("a.latent.npy")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    with pytest.raises(InputError, match=r"a.latent.npy.: comes twice"):
        find_pairs(path)


def test_pipes_are_not_opened_and_loops_not_followed(tmp_path: Path) -> None:
    place = write_folders(tmp_path / "in", members(EMBEDDINGS, LATENTS))
    (place / "loop").symlink_to(place)
    assert len(find_pairs(place)) == 5
    os.mkfifo(place / "00000/a.latent.npy")
    with pytest.raises(InputError, match=r"a.latent.npy: expected a file"):
        find_pairs(place)


def test_a_file_that_shrinks_meanwhile_is_truncated(tmp_path: Path) -> None:
    place = write_folders(tmp_path / "in", members(EMBEDDINGS, LATENTS))
    pairs = find_pairs(place)
    shapes = read_shapes(pairs[0])
    pairs[1].latent.path.write_bytes(b"")
    with pytest.raises(InputError, match="truncated: 192 bytes expected, 0 found"):
        read_pairs(pairs, shapes)
