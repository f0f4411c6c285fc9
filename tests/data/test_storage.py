"""Datasets on object stores and web servers: a real S3 server (moto) and an HTTP server, with faults on purpose."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from text2latent.common.errors import InputError, UsageError
from text2latent.data import storage
from text2latent.data.filling import fill_shards
from text2latent.data.manifest import Manifest
from text2latent.data.records import open_dataset, read_manifest
from text2latent.data.shards import encode_shard, load_pairs, publish_shard
from text2latent.data.stats import finish_dataset, load_statistics
from text2latent.data.storage import LocalStore, RemoteStore, Store, open_store
from text2latent.data.verification import find_problems
from text2latent.models.sources.identity import Identity
from text2latent.tests.data.web_server import Folder, Server

UNKNOWN = Identity("numbers", "numbers", "0" * 64)
MANIFEST = Manifest(UNKNOWN, UNKNOWN, "w", (1, 8), 5, "float16", 0, 1.0, "32", None, 16, 50)


def shard(samples: range) -> bytes:
    values = np.repeat(np.arange(samples.start, samples.stop, dtype=np.float16)[:, None], 8, axis=1)
    return encode_shard(samples.start, values[:, None], -values[:, :5])


def write(place: Store | Path) -> None:
    """A finished dataset whose pair i holds the number i."""
    manifest = open_dataset(place, MANIFEST)
    fill_shards(place, range(manifest.num_shards), shard)
    finish_dataset(place)


def assert_all_numbers(place: Store | Path | str) -> None:
    latents, embeddings = load_pairs(place)
    np.testing.assert_array_equal(latents[:, 0, 0], np.arange(50))
    np.testing.assert_array_equal(embeddings[:, 4], -np.arange(50))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_a_dataset_on_s3(s3: str) -> None:
    place = "s3://bucket/some/pairs"
    write(open_store(place))
    assert_all_numbers(place)
    assert load_statistics(place).latent_mean[0, 0] == 24.5
    assert list(find_problems(place)) == []
    shards = {f"shard-00000{k}.tar" for k in range(4)}
    assert open_store(place).names() == {"manifest.json", "statistics.npz", *shards}


def test_a_dataset_on_s3_is_gone_on_with(s3: str) -> None:
    store = open_store("s3://bucket/halves")
    open_dataset(store, MANIFEST)
    fill_shards(store, [0, 2], shard)
    made: list[int] = []

    def note(samples: range) -> bytes:
        made.append(samples.start)
        return shard(samples)

    store.write("shard-000002.tar", b"damaged")
    fill_shards(store, range(4), note)
    assert made == [16, 32, 48]
    finish_dataset(store)
    assert_all_numbers(store)


def test_on_s3_one_of_two_creates_a_file(s3: str) -> None:
    store = open_store("s3://bucket/claims")
    assert store.create("claim", b"first")
    assert not store.create("claim", b"second")
    assert store.read("claim") == b"first"
    store.remove("claim")
    assert not store.exists("claim")
    with pytest.raises(FileNotFoundError):
        store.read("claim")


def test_a_bucket_that_is_not_there_is_named(s3: str) -> None:
    store = RemoteStore("s3://nowhere/pairs", attempts=2, first_pause=0.01)
    with pytest.raises(InputError, match=r"s3://nowhere/pairs"):
        open_dataset(store, MANIFEST)


def test_s3_without_credentials_is_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    s3fs = pytest.importorskip("s3fs")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("tried again"))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(InputError, match=r"s3://bucket/pairs.*credentials.*expected AWS_ACCESS_KEY_ID"):
        read_manifest("s3://bucket/pairs")
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (OSError(5, "Input/output error"), True),
        (aiohttp.ServerDisconnectedError(), True),
        (PermissionError(13, "Forbidden"), False),
        (RuntimeError("no such profile"), False),
        (ValueError("bad address"), False),
    ],
)
def test_what_is_the_same_in_the_next_attempt_is_not_tried_again(error: Exception, passes: bool) -> None:
    tries: list[str] = []

    def request(path: str) -> None:
        tries.append(path)
        raise error

    with pytest.raises(InputError):
        RemoteStore("s3://bucket/pairs", attempts=2, first_pause=0)._persist("read", "a", request)
    assert len(tries) == 1 + passes


LITTER = (".DS_Store", "._shard-000000.tar", "._manifest.json", "Thumbs.db", "lost+found", ".nfs0000000000000001")


def test_litter_makes_no_folder_the_fuller(tmp_path: Path) -> None:
    for name in LITTER:
        (tmp_path / name).mkdir() if name == "lost+found" else (tmp_path / name).write_bytes(b"litter")
    write(tmp_path)
    assert list(find_problems(tmp_path)) == []
    assert_all_numbers(tmp_path)
    assert open_store(tmp_path).names().isdisjoint(LITTER)


def test_other_files_are_named(tmp_path: Path) -> None:
    for name in ("e.txt", "a.txt", "d.txt", "b.txt", ".DS_Store"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"found a\.txt, b\.txt, d\.txt and 1 more$"):
        open_dataset(tmp_path, MANIFEST)


def test_a_dataset_over_http(server: Server, tmp_path: Path) -> None:
    write(server.store())
    assert_all_numbers(server.store())
    assert_all_numbers(tmp_path / "pairs")
    assert list(find_problems(server.store())) == []


def test_a_web_server_that_lists_nothing_serves_finished_datasets(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Folder, "list_directory", lambda self, path: self.send_error(404))
    write(tmp_path / "pairs")
    assert_all_numbers(server.store())
    with pytest.raises(InputError, match="expected a place that lists its files"):
        open_dataset(RemoteStore(f"http://127.0.0.1:{server.server_port}/new", 1), MANIFEST)


@pytest.mark.parametrize("fault", ["503", "drop", "slow", "garble"])
@pytest.mark.parametrize("name", ["manifest.json", "shard-000001.tar", "shard-000003.tar", "statistics.npz"])
def test_faults_of_reading_that_pass_cost_nothing(server: Server, tmp_path: Path, fault: str, name: str) -> None:
    if fault == "garble" and not name.endswith(".tar"):
        pytest.skip("only shards have checksums")
    write(tmp_path / "pairs")
    times = 1 if fault == "garble" else 3
    server.faults[fault, name] = times
    assert_all_numbers(server.store())
    assert load_statistics(server.store()).count == 50
    assert server.faults[fault, name] < times


@pytest.mark.parametrize("name", ["manifest.json", "shard-000000.tar", ".json", "statistics.npz"])
def test_faults_of_writing_that_pass_cost_nothing(server: Server, name: str) -> None:
    server.faults["503", name] = 2
    write(server.store())
    assert_all_numbers(server.store())


@pytest.mark.parametrize(
    ("fault", "expected"), [("503", "503.*tried 4 times"), ("drop", "tried 4 times"), ("forbidden", "403")]
)
def test_faults_that_stay_name_the_shard(server: Server, tmp_path: Path, fault: str, expected: str) -> None:
    write(tmp_path / "pairs")
    server.faults[fault, "shard-000002.tar"] = 1000
    with pytest.raises(InputError, match=rf"cannot read http://.*/pairs/shard-000002\.tar: .*{expected}"):
        load_pairs(server.store())
    server.faults.clear()
    assert_all_numbers(server.store())


def test_what_stays_garbled_is_corrupt(server: Server, tmp_path: Path) -> None:
    write(tmp_path / "pairs")
    server.faults["garble", "shard-000002.tar"] = 1000
    with pytest.raises(InputError, match=r"shard-000002\.tar: shard is truncated, corrupt"):
        load_pairs(server.store())


def test_a_connection_that_brings_nothing_is_given_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "STALL_SECONDS", 0.2)
    write(tmp_path / "pairs")
    monkeypatch.setattr(Folder, "do_GET", lambda self: time.sleep(1))
    with pytest.raises(InputError, match=r"cannot list http.*[Tt]imeout.*tried 2 times"):
        read_manifest(RemoteStore(f"http://127.0.0.1:{server.server_port}/pairs", 2, 0.01))


def test_nobody_listening_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/pairs"
    with pytest.raises(InputError, match=rf"{address}.*tried 2 times"):
        read_manifest(RemoteStore(address, 2, 0.01))


def test_a_large_file_comes_in_pieces_and_a_drop_costs_one_of_them(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "PIECE_BYTES", 4096)
    write(tmp_path / "pairs")
    size = (tmp_path / "pairs/shard-000000.tar").stat().st_size
    server.faults["drop", "shard-000000.tar"] = 1
    assert server.store().read("shard-000000.tar") == (tmp_path / "pairs/shard-000000.tar").read_bytes()
    starts = [start for name, start, _ in server.sent if name == "shard-000000.tar"]
    assert starts == [0, *range(0, size, 4096)]


def test_a_server_without_ranges_is_read_whole(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PIECE_BYTES", 4096)
    write(tmp_path / "pairs")
    send = Folder._send

    def ignore_ranges(self: Folder, data: bytes, fault: str | None) -> None:
        del self.headers["Range"]
        send(self, data, fault)

    monkeypatch.setattr(Folder, "_send", ignore_ranges)
    assert server.store().read("shard-000000.tar") == (tmp_path / "pairs/shard-000000.tar").read_bytes()


def test_places() -> None:
    assert isinstance(open_store("pairs"), LocalStore)
    assert str(open_store("http://host/pairs/")) == "http://host/pairs"
    for place in ("ftp://host/pairs", "file:///pairs"):
        with pytest.raises(UsageError, match="expected a local folder or an address with s3://, gs://, http://"):
            open_store(place)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs s3fs, not installed here; pip install .*\[s3\]"):
        open_store("s3://bucket/pairs")


def test_local_files_are_created_once(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert [store.create("claim", bytes([number])) for number in range(3)] == [True, False, False]
    assert store.read("claim") == bytes([0])
    assert store.names() == {"claim"}


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "shard-000001.tar").unlink()
    (tmp_path / "shard-000001.tar").mkdir()
    with pytest.raises(InputError, match=r"cannot read .*shard-000001\.tar: Is a directory"):
        load_pairs(tmp_path)
    with pytest.raises(InputError, match=r"cannot write .*shard-000001\.tar"):
        publish_shard(tmp_path, 1, 16, b"data")
