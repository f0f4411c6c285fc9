"""Every kind of damage to a dataset is found and called by its name, and a dataset without any passes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from text2latent.common.errors import InputError
from text2latent.data.manifest import Manifest
from text2latent.data.records import open_dataset, read_manifest
from text2latent.data.shards import encode_shard, publish_shard
from text2latent.data.stats import finish_dataset, load_statistics, save_statistics
from text2latent.data.verification import find_problems
from text2latent.models.sources.identity import Identity
from text2latent.tests.data.pair_folders import MANIFEST, empty, flip_a_bit


def shard(index: int, manifest: Manifest = MANIFEST, shift: float = 0.0, dtype: type = np.float16) -> bytes:
    rows = manifest.shard_range(index)
    rng = np.random.default_rng(index)
    latents = rng.standard_normal((len(rows), *manifest.latent_shape)) + shift
    embeddings = rng.standard_normal((len(rows), 5))
    arrays = latents.astype(dtype), embeddings.astype(dtype)
    return encode_shard(rows.start, *arrays, None, manifest.generator, manifest.clip)


def write(folder: Path, manifest: Manifest = MANIFEST) -> Path:
    open_dataset(folder, manifest)
    for index in range(manifest.num_shards):
        publish_shard(folder, index, len(manifest.shard_range(index)), shard(index, manifest))
    finish_dataset(folder)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("datasets") / "whole")


@pytest.fixture
def dataset(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "pairs"))


def found(folder: Path) -> list[tuple[str, str]]:
    return [(problem.kind, problem.name) for problem in find_problems(folder)]


def test_a_whole_dataset_passes_and_every_pair_is_counted(dataset: Path) -> None:
    counted: list[int] = []
    assert list(find_problems(dataset, on_shard=counted.append)) == []
    assert counted == [16, 16, 16, 2]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def cut_at_a_member(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4096])


def scribble(path: Path) -> None:
    path.write_bytes(b"not a tar at all" * 100)


def copy_first(path: Path) -> None:
    shutil.copy(path.with_name("shard-000000.tar"), path)


def other_generator(path: Path) -> None:
    path.write_bytes(shard(2, replace(MANIFEST, generator=Identity("cats", "cats", "c" * 64))))


def other_clip(path: Path) -> None:
    path.write_bytes(shard(2, replace(MANIFEST, clip=Identity("big", "big", "d" * 64))))


def other_seed(path: Path) -> None:
    path.write_bytes(shard(2, shift=1.0))


def other_shape(path: Path) -> None:
    path.write_bytes(shard(2, replace(MANIFEST, latent_shape=(1, 9))))


@pytest.mark.parametrize(
    ("damage", "kind", "detail"),
    [
        (Path.unlink, "missing", "recorded as finished, but not there"),
        (cut, "truncated", "ends after 5000 bytes"),
        (cut_at_a_member, "truncated", "ends after 4096 bytes"),
        (empty, "truncated", "ends after 0 bytes"),
        (flip_a_bit, "corrupt", "its SHA-256 isn't the recorded"),
        (scribble, "corrupt", "not a tar archive"),
        (copy_first, "duplicate", "holds the samples of shard-000000.tar"),
        (other_generator, "foreign", "another generator: expected faces (aaaaaaaaaaaa), got cccccccccccc"),
        (other_clip, "foreign", "another CLIP: expected small-clip (bbbbbbbbbbbb), got dddddddddddd"),
        (other_seed, "corrupt", "its SHA-256 isn't the recorded"),
        (other_shape, "foreign", "expected float16 [1, 8]"),
    ],
)
def test_damage_is_called_by_its_name(dataset: Path, damage: Callable[[Path], None], kind: str, detail: str) -> None:
    damage(dataset / "shard-000002.tar")
    (problem,) = find_problems(dataset)
    assert (problem.kind, problem.name) == (kind, "shard-000002.tar")
    assert detail in problem.detail


def test_another_dtype_is_foreign_even_with_a_record(tmp_path: Path) -> None:
    write(tmp_path)
    data = shard(1).replace(b"'descr': '<f2'", b"'descr': '<i2'")
    publish_shard(tmp_path, 1, 16, data)
    (problem,) = find_problems(tmp_path)
    assert (problem.kind, problem.name) == ("foreign", "shard-000001.tar")


def test_stray_tars_and_repeated_records_are_told(dataset: Path) -> None:
    for name in ("shard-000004.tar", "copy of shard-000001.tar"):
        shutil.copy(dataset / "shard-000001.tar", dataset / name)
    assert sorted(found(dataset)) == [("foreign", "copy of shard-000001.tar"), ("foreign", "shard-000004.tar")]
    publish_shard(dataset, 2, 16, (dataset / "shard-000001.tar").read_bytes())
    assert found(dataset).count(("duplicate", "shard-000002.tar")) == 2


def test_a_shard_that_is_not_made_yet_and_one_without_record(tmp_path: Path) -> None:
    open_dataset(tmp_path, MANIFEST)
    for index in (0, 1):
        publish_shard(tmp_path, index, 16, shard(index))
    (tmp_path / "shard-000002.tar").write_bytes(shard(2))
    assert found(tmp_path) == [("foreign", "shard-000002.tar"), ("missing", "shard-000003.tar")]


def test_values_that_are_not_finite_name_the_sample(tmp_path: Path) -> None:
    open_dataset(tmp_path, replace(MANIFEST, num_pairs=16))
    latents = np.zeros((16, 1, 8), np.float16)
    latents[5, 0, 3] = np.inf
    publish_shard(tmp_path, 0, 16, encode_shard(0, latents, np.zeros((16, 5), np.float16)))
    (problem,) = find_problems(tmp_path)
    assert (problem.kind, problem.detail) == ("not finite", "latent of sample 5 has NaN or infinity")


def test_statistics_of_other_pairs_are_corrupt(dataset: Path) -> None:
    statistics = load_statistics(dataset)
    save_statistics(dataset, replace(statistics, embedding_cov=statistics.embedding_cov * 1.01))
    (problem,) = find_problems(dataset)
    assert (problem.kind, problem.name) == ("corrupt", "statistics.npz")
    assert problem.detail.startswith("embedding_cov")
    (dataset / "statistics.npz").unlink()
    assert found(dataset) == [("missing", "statistics.npz")]


def test_a_part_of_the_shards_can_be_read(dataset: Path) -> None:
    for index in (0, 3):
        empty(dataset / f"shard-00000{index}.tar")
    assert [problem.name for problem in find_problems(dataset, [1, 2])] == []
    assert [problem.name for problem in find_problems(dataset, [2, 3])] == ["shard-000003.tar"]


def test_a_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found no manifest\.json"):
        list(find_problems(tmp_path))


def test_a_shard_of_a_smaller_dataset_reaches_beyond(tmp_path: Path) -> None:
    small = replace(MANIFEST, num_pairs=20)
    write(tmp_path, small)
    (tmp_path / "shard-000001.tar").write_bytes(shard(3))
    (problem,) = find_problems(tmp_path)
    assert problem.detail == "starts with sample 48, expected 16"
    assert read_manifest(tmp_path).num_shards == 2
