"""Which sources there are, where downloads are kept, and checksums."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from text2latent.common.errors import InputError, UsageError
from text2latent.models.sources import fetching
from text2latent.models.sources.fetching import cache_folder, fetch, is_remote, split_checksum

DIGEST = hashlib.sha256(b"content").hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.pkl"
    path.write_bytes(b"content")
    return path


def test_local_paths_are_returned_as_they_are(file: Path) -> None:
    assert fetch(file) == fetch(str(file)) == file
    assert fetch(file.parent) == file.parent


def test_a_local_file_may_be_checked(file: Path) -> None:
    assert fetch(file, DIGEST.upper()) == file
    with pytest.raises(InputError, match=f"{file}: expected the SHA-256 {'0' * 64}, got {DIGEST}"):
        fetch(file, "0" * 64)
    with pytest.raises(UsageError, match="expected a file to compare with, got a folder"):
        fetch(file.parent, DIGEST)


def test_a_missing_file_is_named_with_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.pkl: expected a local path, https://ADDRESS or hf://.*no such file"):
        fetch(tmp_path / "none.pkl")


@pytest.mark.parametrize(
    "source", ["ftp://host/net.pkl", "s3://bucket/net.pkl", "file:///etc/passwd", "HTTPS://h/n.pkl"]
)
def test_other_schemes_are_refused(source: str) -> None:
    assert is_remote(source)
    with pytest.raises(UsageError, match=f"^'{source}': expected a local path, https://ADDRESS or hf://"):
        fetch(source)


@pytest.mark.parametrize(
    "source", ["faces", "./faces", "/a/b.pkl", "C:/nets/net.pkl", "hf-hub:org/clip", "ViT-B-32/openai"]
)
def test_paths_and_names_are_not_remote(source: str) -> None:
    assert not is_remote(source)


def test_the_checksum_may_stand_at_the_end_of_an_address() -> None:
    address = "https://host/net.pkl"
    assert split_checksum(f"{address}#sha256={DIGEST.upper()}") == (address, DIGEST)
    assert split_checksum(f"{address}#sha256={DIGEST}", DIGEST.upper()) == (address, DIGEST)
    assert split_checksum(address) == (address, None)
    assert split_checksum("net.pkl#sha256=1") == ("net.pkl#sha256=1", None)


@pytest.mark.parametrize("checksum", ["", "12", "g" * 64, DIGEST + "0"])
def test_what_is_no_checksum_is_refused(file: Path, checksum: str) -> None:
    with pytest.raises(UsageError, match=f"expected 64 hexadecimal digits, got '{checksum}'"):
        fetch(file, checksum)


def test_two_checksums_are_refused() -> None:
    with pytest.raises(UsageError, match="expected one checksum"):
        fetch(f"https://host/net.pkl#sha256={DIGEST}", "0" * 64)


@pytest.mark.parametrize(
    ("environment", "platform", "expected"),
    [
        ({}, "linux", "HOME/.cache/text2latent"),
        ({"XDG_CACHE_HOME": "/xdg"}, "linux", "/xdg/text2latent"),
        ({"XDG_CACHE_HOME": "relative"}, "linux", "HOME/.cache/text2latent"),
        ({}, "darwin", "HOME/Library/Caches/text2latent"),
        ({"LOCALAPPDATA": "/local"}, "win32", "/local/text2latent"),
        ({}, "win32", "HOME/AppData/Local/text2latent"),
        ({"TEXT2LATENT_CACHE": "/own", "XDG_CACHE_HOME": "/xdg"}, "linux", "/own"),
        ({"TEXT2LATENT_CACHE": "~/own"}, "linux", "HOME/own"),
    ],
)
def test_the_cache_is_in_the_platforms_place(
    environment: dict[str, str], platform: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA", "TEXT2LATENT_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(fetching.sys, "platform", platform)
    assert cache_folder() == Path(re.sub("^HOME", str(Path.home()), expected))


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_web_addresses_are_kept_in_the_cache_and_checked(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXT2LATENT_CACHE", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("localhost", 0), partial(QuietHandler, directory=file.parent)) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        address = f"http://localhost:{server.server_port}/{file.name}"
        path = fetch(f"{address}#sha256={DIGEST}")
        with pytest.raises(InputError, match=r"expected the SHA-256 0{64}"):
            fetch(address, "0" * 64)
        server.shutdown()
    assert path.read_bytes() == b"content"
    assert path.is_relative_to(tmp_path / "cache" / "downloads")
    assert fetch(address) == path, "the server is gone, the file is there"
