"""Filling a dataset by processes that come, go, meet and die; what they leave is always whole."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from text2latent.common.errors import InputError, UsageError
from text2latent.data.filling import fill_shards, parse_shards
from text2latent.data.manifest import Manifest
from text2latent.data.records import claim_name, open_dataset, read_manifest, remove_leftovers
from text2latent.data.shards import encode_shard, load_pairs, read_bytes
from text2latent.data.stats import finish_dataset
from text2latent.data.storage import LocalStore
from text2latent.data.verification import find_problems
from text2latent.models.sources.identity import Identity

UNKNOWN = Identity("numbers", "numbers", "0" * 64)
MANIFEST = Manifest(UNKNOWN, UNKNOWN, "w", (1, 64), 32, "float16", 0, 1.0, "32", None, 20, 590)
FORK = multiprocessing.get_context("fork")


def draw(samples: range) -> bytes:
    """A shard whose pair i holds the number i."""
    values = np.repeat(np.arange(samples.start, samples.stop, dtype=np.float16)[:, None], 64, axis=1)
    return encode_shard(samples.start, values[:, None], -values[:, :32])


def fill(place: Path, log: Path | None = None, pause: float = 0.0, indices: range | None = None) -> None:
    """What sample.py does in a process; each shard drawn leaves a line in `log`."""

    def draw_slowly(samples: range) -> bytes:
        if log is not None:
            with open(log, "a", encoding="utf-8") as file:
                file.write(f"{samples.start // 20}\n")
        time.sleep(pause)
        return draw(samples)

    manifest = open_dataset(place, MANIFEST)
    remove_leftovers(place)
    fill_shards(place, indices or range(manifest.num_shards), draw_slowly)


def drawn(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def assert_finished(place: Path) -> None:
    finish_dataset(place)
    latents, embeddings = load_pairs(place)
    np.testing.assert_array_equal(latents[:, 0, 5], np.arange(590, dtype=np.float16))
    np.testing.assert_array_equal(embeddings[:, 5], -np.arange(590, dtype=np.float16))
    assert list(find_problems(place)) == []
    assert not [path for path in place.iterdir() if path.name.startswith(".")]


def assert_whole_as_far_as_it_goes(place: Path) -> int:
    """Every shard that can be seen has its bytes and its record; returns their number."""
    manifest = read_manifest(place)
    assert {record.name for record in manifest.shards} == {path.name for path in place.glob("*.tar")}
    for record in manifest.shards:
        read_bytes(place, record)
    return len(manifest.shards)


def test_twenty_kills_leave_no_partial_shard_and_no_work_is_done_twice(tmp_path: Path) -> None:
    place, log, moments = tmp_path / "pairs", tmp_path / "log", random.Random(0)
    open_dataset(place, MANIFEST)
    there, kills = 0, 0
    while kills < 20:
        process = FORK.Process(target=fill, args=(place, log, 0.004))
        process.start()
        time.sleep(moments.uniform(0.01, 0.06))
        process.kill()
        process.join()
        now = assert_whole_as_far_as_it_goes(place)
        assert now >= there
        there, kills = now, kills + (process.exitcode == -signal.SIGKILL)
        if there == MANIFEST.num_shards:
            shutil.rmtree(place)
            open_dataset(place, MANIFEST)
            log.unlink()
            there = 0
    fill(place, log)
    assert_finished(place)
    # A kill can cost the shard in the making, and the one that was there before its line was counted.
    assert len(drawn(log)) <= MANIFEST.num_shards + kills


def test_processes_that_know_nothing_of_each_other_share_the_work(tmp_path: Path) -> None:
    place, log = tmp_path / "pairs", tmp_path / "log"
    processes = [FORK.Process(target=fill, args=(place, log, 0.02)) for _ in range(4)]
    for process in processes:
        process.start()
        time.sleep(0.03)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert set(drawn(log)) == set(range(MANIFEST.num_shards))
    # At the end each may make what each other is still at.
    assert len(drawn(log)) <= MANIFEST.num_shards + len(processes) * (len(processes) - 1)
    assert_finished(place)


def test_what_a_dead_process_elsewhere_had_claimed_is_made_last(tmp_path: Path) -> None:
    place, log = tmp_path / "pairs", tmp_path / "log"
    open_dataset(place, MANIFEST)
    for index in (0, 5):
        assert LocalStore(place).create(claim_name(index), b"elsewhere 1\n")
    fill(place, log)
    assert drawn(log)[-2:] == [0, 5]
    assert_finished(place)


def test_a_shard_that_somebody_made_meanwhile_is_left_alone(tmp_path: Path) -> None:
    open_dataset(tmp_path, MANIFEST)
    made: list[int] = []
    found: list[int] = []

    def draw_while_another_works(samples: range) -> bytes:
        if not made:
            fill(tmp_path, indices=range(3, 6))
        made.append(samples.start // 20)
        return draw(samples)

    fill_shards(tmp_path, range(8), draw_while_another_works, found.append)
    assert made == [0, 1, 2, 6, 7]
    assert found == [20, 20, 20]


def test_an_error_gives_the_claim_back(tmp_path: Path) -> None:
    open_dataset(tmp_path, MANIFEST)

    def fail(samples: range) -> bytes:
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        fill_shards(tmp_path, range(3), fail)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def _mount(*arguments: str) -> None:
    ran = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if ran.returncode:
        pytest.skip(f"mounting isn't allowed here: {ran.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 KiB, which holds a fifth of the dataset."""
    if shutil.which("mount") is None:
        pytest.skip("no mount here")
    folder = tmp_path / "disk"
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill_the_disk(disk: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write .*: No space left on device"):
        fill(disk / "pairs")


def protect(disk: Path) -> None:
    fill(disk / "pairs", indices=range(2))
    _mount("-o", "remount,ro", str(disk))
    with pytest.raises(InputError, match=r"cannot write .*: Read-only file system"):
        fill_shards(disk / "pairs", range(MANIFEST.num_shards), draw)
    _mount("-o", "remount,rw", str(disk))


@pytest.mark.parametrize("spoil", [fill_the_disk, protect])
def test_a_disk_that_refuses_spoils_nothing(disk: Path, spoil: Callable[[Path], None]) -> None:
    spoil(disk)
    there = assert_whole_as_far_as_it_goes(disk / "pairs")
    assert 2 <= there < MANIFEST.num_shards
    assert not [path for path in (disk / "pairs").iterdir() if path.name.startswith(".")]
    _mount("-o", "remount,size=8m", str(disk))
    fill(disk / "pairs")
    assert_finished(disk / "pairs")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, list(range(10))),
        ("0..99", list(range(10))),
        ("3", [3]),
        ("7..8", [7, 8]),
        ("8..12, 0,1", [0, 1, 8, 9]),
        ("2,2..3", [2, 3]),
        ("10..20", []),
    ],
)
def test_shards_named_by_a_flag(text: str | None, expected: list[int]) -> None:
    assert parse_shards(text, 10) == expected


@pytest.mark.parametrize("text", ["", "a", "5..2", "-1", "1..", "..3", "1...3", "1;2", "1,,2"])
def test_shards_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(UsageError, match="--shards: expected shard numbers such as"):
        parse_shards(text, 10)
