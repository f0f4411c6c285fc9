"""Shards, their manifest and what is refused; webdataset and tarfile are the independent readers."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from text2latent.common.errors import InputError
from text2latent.data.manifest import Manifest, ShardRecord
from text2latent.data.records import open_dataset, read_manifest, record_name, remove_leftovers
from text2latent.data.shards import encode_shard, is_whole, key_of, load_pairs, publish_shard, read_members, read_shard
from text2latent.data.stats import finish_dataset, load_statistics
from text2latent.models.sources.identity import Identity
from text2latent.tests.data.pair_folders import MANIFEST, empty, flip_a_bit


def pairs(count: int = 50) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    latents = rng.standard_normal((count, 1, 8)).astype(np.float16)
    return latents, rng.standard_normal((count, 5)).astype(np.float16)


def write(folder: Path, manifest: Manifest = MANIFEST, shards: range | None = None) -> None:
    latents, embeddings = pairs(manifest.num_pairs)
    open_dataset(folder, manifest)
    for index in range(manifest.num_shards) if shards is None else shards:
        rows = manifest.shard_range(index)
        data = encode_shard(rows.start, latents[rows.start : rows.stop], embeddings[rows.start : rows.stop])
        publish_shard(folder, index, len(rows), data)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "pairs"
    write(folder)
    finish_dataset(folder)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read_in_key_order(dataset: Path) -> None:
    latents, embeddings = load_pairs(dataset)
    expected = pairs()
    assert latents.dtype == embeddings.dtype == np.float16
    np.testing.assert_array_equal(latents, expected[0])
    np.testing.assert_array_equal(embeddings, expected[1])


def test_a_finished_folder_holds_shards_manifest_and_statistics_only(dataset: Path) -> None:
    assert names(dataset) == ["manifest.json", *(f"shard-00000{k}.tar" for k in range(4)), "statistics.npz"]


def test_webdataset_reads_the_same(dataset: Path) -> None:
    urls = [str(dataset / f"shard-00000{k}.tar") for k in range(4)]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    latents, embeddings = pairs()
    assert [sample["__key__"] for sample in samples] == [f"{i:09d}" for i in range(50)]
    np.testing.assert_array_equal(np.stack([sample["latent.npy"] for sample in samples]), latents)
    np.testing.assert_array_equal(np.stack([sample["embedding.npy"] for sample in samples]), embeddings)


def test_the_manifest_tells_counts_checksums_and_identities(dataset: Path) -> None:
    written = json.loads((dataset / "manifest.json").read_text())
    assert [shard["count"] for shard in written["shards"]] == [16, 16, 16, 2]
    for shard in written["shards"]:
        assert shard["sha256"] == hashlib.sha256((dataset / shard["name"]).read_bytes()).hexdigest()
    assert written["generator"] == {"name": "faces", "source": "faces", "sha256": "a" * 64}
    assert (written["latent_shape"], written["dtype"], written["num_pairs"]) == ([1, 8], "float16", 50)
    assert replace(read_manifest(dataset), shards=()) == MANIFEST


def test_statistics_are_those_of_all_pairs(dataset: Path) -> None:
    latents, embeddings = (array.astype(np.float64) for array in pairs())
    statistics = load_statistics(dataset)
    assert statistics.count == 50
    np.testing.assert_allclose(statistics.latent_mean, latents.mean(axis=0))
    np.testing.assert_allclose(statistics.latent_std, latents.std(axis=0))
    np.testing.assert_allclose(statistics.embedding_cov, np.cov(embeddings, rowvar=False, bias=True))


@settings(max_examples=30, deadline=None)
@given(
    start=st.integers(0, 10**12),
    count=st.integers(1, 5),
    size=st.tuples(st.integers(1, 3), st.integers(1, 300)),
    with_images=st.booleans(),
)
def test_a_shard_is_a_plain_tar_of_npy_files(start: int, count: int, size: tuple[int, int], with_images: bool) -> None:
    rng = np.random.default_rng(start)
    latents = rng.standard_normal((count, *size)).astype(np.float16)
    embeddings = rng.standard_normal((count, 7)).astype(np.float16)
    images = [b"image %d" % row for row in range(count)] if with_images else None
    data = encode_shard(start, latents, embeddings, images)
    assert data == encode_shard(start, latents, embeddings, images)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        content = {member.name: archive.extractfile(member).read() for member in archive}
    assert len(content) == count * (3 if with_images else 2)
    for row in range(count):
        key = key_of(start + row)
        np.testing.assert_array_equal(np.load(io.BytesIO(content[f"{key}.latent.npy"])), latents[row])
        np.testing.assert_array_equal(np.load(io.BytesIO(content[f"{key}.embedding.npy"])), embeddings[row])
        assert not with_images or content[f"{key}.jpg"] == images[row]


def test_images_do_not_change_the_arrays_read(tmp_path: Path) -> None:
    manifest = replace(MANIFEST, num_pairs=3, image_format="jpg")
    latents, embeddings = pairs(3)
    open_dataset(tmp_path, manifest)
    publish_shard(tmp_path, 0, 3, encode_shard(0, latents, embeddings, [b"x" * size for size in (1, 512, 700)]))
    finish_dataset(tmp_path)
    np.testing.assert_array_equal(load_pairs(tmp_path)[0], latents)


def test_one_shard_is_read_alone(dataset: Path) -> None:
    latents, _ = read_shard(dataset, 3, read_manifest(dataset))
    np.testing.assert_array_equal(latents, pairs()[0][48:])


def test_shards_count_as_soon_as_they_are_there(tmp_path: Path) -> None:
    write(tmp_path, shards=range(1, 3))
    manifest = read_manifest(tmp_path)
    assert sorted(manifest.finished()) == [1, 2]
    assert manifest.num_finished == 32
    with pytest.raises(InputError, match=r"holds 32 of 50 pairs; run sample\.py again"):
        load_pairs(tmp_path)
    with pytest.raises(InputError, match="holds 32 of 50 pairs"):
        finish_dataset(tmp_path)


def test_a_record_without_its_shard_counts_for_nothing(tmp_path: Path) -> None:
    write(tmp_path, shards=range(2))
    (tmp_path / "shard-000001.tar").unlink()
    assert sorted(open_dataset(tmp_path, MANIFEST).finished()) == [0]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3000])


def take_another(path: Path) -> None:
    path.write_bytes((path.parent / "shard-000000.tar").read_bytes())


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, take_another])
def test_a_damaged_shard_is_named(dataset: Path, damage: Callable[[Path], None]) -> None:
    path = dataset / "shard-000002.tar"
    damage(path)
    with pytest.raises(InputError, match=r"shard-000002\.tar: shard is truncated, corrupt or of another dataset"):
        load_pairs(dataset)
    assert not is_whole(dataset, read_manifest(dataset).finished()[2])
    assert is_whole(dataset, read_manifest(dataset).finished()[1])


def test_a_missing_shard_is_named(dataset: Path) -> None:
    (dataset / "shard-000001.tar").unlink()
    with pytest.raises(InputError, match=r"shard-000001\.tar: shard is missing"):
        load_pairs(dataset)


def forge(folder: Path, data: bytes) -> None:
    """Put `data` in place of the first shard, with a checksum that agrees."""
    (folder / "shard-000000.tar").write_bytes(data)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["shards"][0]["sha256"] = hashlib.sha256(data).hexdigest()
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("start", "latent_shape", "embedding_dim", "count", "message"),
    [
        (16, (1, 8), 5, 16, "000000016.*expected the keys 000000000 to 000000015"),
        (0, (1, 9), 5, 16, r"expected float16 \[1, 8\]"),
        (0, (1, 8), 6, 16, r"expected float16 \[5\]"),
        (0, (1, 8), 5, 15, "expected 16 pairs"),
        (0, (1, 8), 5, 17, "expected the keys"),
    ],
)
def test_a_foreign_shard_is_named(
    dataset: Path, start: int, latent_shape: tuple[int, ...], embedding_dim: int, count: int, message: str
) -> None:
    latents = np.zeros((count, *latent_shape), np.float16)
    forge(dataset, encode_shard(start, latents, np.zeros((count, embedding_dim), np.float16)))
    with pytest.raises(InputError, match=rf"shard-000000\.tar: not a shard of this dataset: .*{message}"):
        load_pairs(dataset)


@pytest.mark.parametrize("data", [b"not a tar at all" * 100, b"", bytes(10240)])
def test_a_file_that_is_no_shard_is_named(dataset: Path, data: bytes) -> None:
    forge(dataset, data)
    with pytest.raises(InputError, match=r"shard-000000\.tar: not a shard of this dataset"):
        load_pairs(dataset)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generator": Identity("cats", "cats", "c" * 64)}, r"--generator: faces \(a+\) there, cats \(c+\) asked"),
        ({"clip": Identity("big-clip", "x", "d" * 64)}, r"--clip: small-clip \(b+\) there, big-clip \(d+\) asked"),
        ({"seed": 7}, "--seed: 0 there, 7 asked"),
        ({"truncation": 0.5}, "--truncation: 1.0 there, 0.5 asked"),
        ({"shard_size": 10}, "--shard-size: 16 there, 10 asked"),
        ({"image_format": "jpg"}, "--save-images: None there, jpg asked"),
        ({"precision": "bf16"}, "--precision: 32 there, bf16 asked"),
        ({"num_pairs": 49}, "--num-pairs: 50 there, only 49 asked"),
        ({"seed": 7, "truncation": 0.5}, "--seed: .*; --truncation: "),
    ],
)
def test_pairs_made_otherwise_are_refused_and_kept(dataset: Path, change: dict, message: str) -> None:
    before = {path.name: path.read_bytes() for path in dataset.iterdir()}
    with pytest.raises(InputError, match=message):
        open_dataset(dataset, replace(MANIFEST, **change))
    assert {path.name: path.read_bytes() for path in dataset.iterdir()} == before


def test_the_same_weights_from_another_place_are_accepted(dataset: Path) -> None:
    moved = replace(MANIFEST, generator=Identity("copy", "/elsewhere", "a" * 64))
    assert len(open_dataset(dataset, moved).finished()) == 4


def test_more_pairs_extend_a_dataset(dataset: Path) -> None:
    longer = replace(MANIFEST, num_pairs=80)
    assert sorted(open_dataset(dataset, longer).finished()) == [0, 1, 2]
    write(dataset, longer, range(3, 5))
    finish_dataset(dataset)
    assert load_pairs(dataset)[0].shape == (80, 1, 8)
    assert load_statistics(dataset).count == 80


def test_a_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"--output .*expected a new or empty folder"):
        open_dataset(tmp_path, MANIFEST)
    assert names(tmp_path) == ["thesis.tex"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(InputError, match=r"--output .*taken"):
        open_dataset(tmp_path / "taken", MANIFEST)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{", "expected JSON"),
        ("[]", "expected a JSON object"),
        ({"format": "other"}, "expected format 'text2latent-pairs' version 1"),
        ({"version": 2}, "version 1, got 'text2latent-pairs' version 2"),
        ({"num_pairs": -1}, "expected a positive integer, got -1"),
        ({"generator": {"name": "x"}}, "source, sha256"),
        ({"shards": [{"name": "shard-000000.tar"}]}, "count"),
    ],
)
def test_a_manifest_that_is_wrong_is_named(dataset: Path, change: str | dict, message: str) -> None:
    path = dataset / "manifest.json"
    path.write_text(change if isinstance(change, str) else json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=rf"manifest\.json: .*{message}"):
        load_pairs(dataset)


def test_missing_values_of_a_manifest_are_listed(dataset: Path) -> None:
    path = dataset / "manifest.json"
    data = json.loads(path.read_text())
    del data["seed"], data["clip"]
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"manifest\.json: clip, seed: missing"):
        read_manifest(dataset)


@pytest.mark.parametrize("folder", ["", "absent"])
def test_a_folder_without_pairs_is_named(tmp_path: Path, folder: str) -> None:
    with pytest.raises(InputError, match=r"expected a folder of pairs made by sample\.py, found no manifest\.json"):
        load_pairs(tmp_path / folder)


def test_two_makers_of_a_shard_leave_one_that_holds(tmp_path: Path) -> None:
    """Each writes its record and then its shard; whatever the order, what lies there has its record."""
    write(tmp_path, shards=range(4))
    latents, embeddings = pairs()
    others = encode_shard(16, latents[16:32], embeddings[16:32] + np.float16(0.001))
    record = publish_shard(tmp_path, 1, 16, others)
    ours = encode_shard(16, latents[16:32], embeddings[16:32])
    for data in (ours, others):
        (tmp_path / record.name).write_bytes(data)
        assert read_manifest(tmp_path).finished()[1].sha256 == hashlib.sha256(data).hexdigest()
    finish_dataset(tmp_path)
    np.testing.assert_array_equal(load_pairs(tmp_path)[1][16:32], embeddings[16:32] + np.float16(0.001))
    late = publish_shard(tmp_path, 1, 16, ours)
    assert (tmp_path / record_name(late)).exists()
    np.testing.assert_array_equal(load_pairs(tmp_path)[1], embeddings)


def test_files_with_other_names_are_no_records(tmp_path: Path) -> None:
    write(tmp_path, shards=range(1))
    (tmp_path / "shard-000001.json").write_text('{"name": 1}')
    (tmp_path / f"shard-000001.0.{'a' * 64}.json").touch()
    assert sorted(read_manifest(tmp_path).finished()) == [0]


def test_members_tell_whose_pairs_they_are() -> None:
    latents, embeddings = pairs(2)
    data = encode_shard(0, latents, embeddings, None, MANIFEST.generator, MANIFEST.clip)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = [(member.name, member.size, member.uname, member.gname) for member in archive]
    assert [(m.name, m.size, m.owner, m.group) for m in read_members(data)] == expected
    assert {owners[2:] for owners in expected} == {("a" * 16, "b" * 16)}


def test_leftovers_of_dead_processes_go_and_others_stay(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = socket.gethostname()
    for name in (f"{host}.{dead.pid}", f"{host}.{os.getpid()}", f"elsewhere.{dead.pid}"):
        (tmp_path / f".shard-000000.tar.{name}.tmp").touch()
        (tmp_path / f".shard-{name.rsplit('.', 1)[-1]:0>6}.claim").write_text(" ".join(name.rsplit(".", 1)))
    (tmp_path / f".shard-{dead.pid + 1:06d}.claim").write_text(f"{host} {dead.pid}")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted(
        [
            f".shard-000000.tar.{host}.{os.getpid()}.tmp",
            f".shard-000000.tar.elsewhere.{dead.pid}.tmp",
            f".shard-{os.getpid():06d}.claim",
            f".shard-{dead.pid:06d}.claim",
        ]
    )


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path, shards=range(1))
    (tmp_path / "shard-000001.tar").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*shard-000001\.tar"):
        publish_shard(tmp_path, 1, 16, b"data")
    assert not [name for name in names(tmp_path) if name.endswith(".tmp")]
    assert is_whole(tmp_path, read_manifest(tmp_path).finished()[0])


def test_records_are_listed_once_in_order() -> None:
    records = tuple(ShardRecord(f"shard-{k:06d}.tar", 16, "0" * 64) for k in (2, 0))
    assert list(replace(MANIFEST, shards=records).finished()) == [0, 2]
