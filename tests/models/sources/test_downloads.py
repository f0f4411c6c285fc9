"""Downloads from a real server on this machine that fails in all the ways that servers fail."""

from __future__ import annotations

import multiprocessing
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from text2latent.common.errors import InputError, UsageError
from text2latent.models.sources import downloads
from text2latent.models.sources.downloads import download
from text2latent.tests.models.sources.file_server import (
    CONTENT,
    HALF,
    SHA256,
    Answer,
    FileServer,
    Handler,
    chunked,
    etag,
    serve,
    silent,
    status,
    until_close,
    whole,
    without_range,
)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "BACKOFF_SECONDS", 0.01)


def files(folder: Path) -> list[str]:
    """Names of all files below a folder, locks left out."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != ".lock")


def test_a_download_is_whole_named_as_its_address_and_asked_for_once(server: FileServer, tmp_path: Path) -> None:
    path = download(server.url, tmp_path)
    assert path.name == "net.pkl"
    assert path.read_bytes() == CONTENT
    assert download(server.url, tmp_path) == path
    assert len(server.requests) == 1
    assert files(tmp_path) == ["net.pkl"]


def test_addresses_of_one_name_do_not_meet(server: FileServer, tmp_path: Path) -> None:
    other = CONTENT[::-1]
    server.answers = [whole, serve(other)]
    first, second = download(server.url, tmp_path), download(server.url + "?version=2", tmp_path)
    assert (first.name, second.name) == ("net.pkl", "net.pkl")
    assert (first.read_bytes(), second.read_bytes()) == (CONTENT, other)


@pytest.mark.parametrize("tag", [True, False], ids=["with ETag", "without"])
def test_a_cut_off_download_goes_on_where_it_broke(server: FileServer, tmp_path: Path, tag: bool) -> None:
    server.answers = [serve(upto=HALF, tag=tag), serve(tag=tag)]
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert server.requests[1]["range"] == f"bytes={HALF}-"
    assert server.requests[1].get("if-range") == (etag(CONTENT) if tag else None)


def test_a_later_call_goes_on_too(server: FileServer, tmp_path: Path) -> None:
    server.answers = [serve(upto=HALF), status(500)]
    with pytest.raises(InputError, match=rf"net.pkl: the server answered 500.*after 5 tries; {HALF} bytes are kept"):
        download(server.url, tmp_path)
    assert files(tmp_path) == [".partial", ".partial.json"]
    server.answers = [whole]
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert server.requests[-1]["range"] == f"bytes={HALF}-"


def test_a_later_call_trusts_only_bytes_that_it_can_check(server: FileServer, tmp_path: Path) -> None:
    server.answers = [serve(upto=HALF, tag=False), status(500)]
    for sha256, resumed in ((None, False), (SHA256, True)):
        with pytest.raises(InputError):
            download(server.url, tmp_path / str(resumed), sha256)
        server.answers = [serve(tag=False)]
        assert download(server.url, tmp_path / str(resumed), sha256).read_bytes() == CONTENT
        assert ("range" in server.requests[-1]) is resumed
        server.answers = [serve(upto=HALF, tag=False), status(500)]


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: FileServer, tmp_path: Path) -> None:
    other = CONTENT[::-1]
    server.answers = [serve(upto=HALF), serve(other)]
    assert download(server.url, tmp_path).read_bytes() == other
    assert server.requests[1]["if-range"] == etag(CONTENT)


def test_a_server_without_range_support_starts_over(server: FileServer, tmp_path: Path) -> None:
    server.answers = [serve(upto=HALF), without_range]
    assert download(server.url, tmp_path).read_bytes() == CONTENT


def test_a_server_that_sends_another_part_starts_over(server: FileServer, tmp_path: Path) -> None:
    def wrong_part(handler: Handler) -> None:
        handler.head(206, Content_Range=f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}", Content_Length=len(CONTENT) - 5)
        handler.wfile.write(CONTENT[5:])

    server.answers = [serve(upto=HALF), wrong_part, whole]
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert "range" not in server.requests[2]


def test_a_file_that_shrank_is_fetched_anew(server: FileServer, tmp_path: Path) -> None:
    server.answers = [serve(upto=HALF), status(416), serve(CONTENT[:100])]
    assert download(server.url, tmp_path).read_bytes() == CONTENT[:100]


def test_a_slow_server_is_waited_for(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT_SECONDS", 0.3)
    server.answers = [serve(pause=0.05)]
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_server_that_falls_silent_is_asked_again(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT_SECONDS", 0.2)
    server.answers = [silent, whole]
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert server.requests[1]["range"] == "bytes=1000-"


def test_always_cut_off_ends_with_an_error(server: FileServer, tmp_path: Path) -> None:
    server.answers = [serve(upto=0)]
    with pytest.raises(InputError, match=rf"cut off at 0 of {len(CONTENT)} bytes, after 5 tries$"):
        download(server.url, tmp_path)
    assert len(server.requests) == 5
    assert "net.pkl" not in files(tmp_path)


@pytest.mark.parametrize("code", [500, 503, 429])
def test_a_passing_fault_of_the_server_is_passed_over(server: FileServer, tmp_path: Path, code: int) -> None:
    server.answers = [status(code), status(code), whole]
    assert download(server.url, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (404, "404 Not Found: there is no such file"),
        (403, "403 Forbidden: it refuses access"),
        (401, "401 Unauthorized: it asks for a login"),
        (400, "400 Bad Request: it does not give the file"),
    ],
)
def test_a_refusal_is_told_at_once(server: FileServer, tmp_path: Path, code: int, message: str) -> None:
    server.answers = [status(code)]
    with pytest.raises(InputError, match=rf"^{server.url}: the server answered {message}$") as raised:
        download(server.url, tmp_path)
    assert raised.value.exit_code == 1
    assert len(server.requests) == 1
    assert files(tmp_path) == []


def test_a_web_page_is_no_model(server: FileServer, tmp_path: Path) -> None:
    server.answers = [lambda handler: handler.head(200, Content_Type="text/html; charset=utf-8", Content_Length=0)]
    with pytest.raises(InputError, match="got a web page"):
        download(server.url, tmp_path)
    assert "net.pkl" not in files(tmp_path)


def test_the_checksum_is_checked(server: FileServer, tmp_path: Path) -> None:
    assert download(server.url, tmp_path, SHA256).read_bytes() == CONTENT
    with pytest.raises(InputError, match=rf"expected the SHA-256 {'0' * 64}, got {SHA256}; the download was removed"):
        download(server.url, tmp_path, "0" * 64)
    assert files(tmp_path) == ["net.pkl"], "what was checked before stays"
    assert download(server.url, tmp_path, SHA256).read_bytes() == CONTENT


def test_a_cached_file_with_another_checksum_is_fetched_anew(server: FileServer, tmp_path: Path) -> None:
    server.answers = [serve(CONTENT[::-1]), whole]
    download(server.url, tmp_path)
    assert download(server.url, tmp_path, SHA256).read_bytes() == CONTENT


def test_chunks_need_no_size(server: FileServer, tmp_path: Path) -> None:
    server.answers = [chunked(upto=100_000), chunked()]
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_size_that_nothing_tells_needs_a_checksum(server: FileServer, tmp_path: Path) -> None:
    server.answers = [until_close]
    with pytest.raises(InputError, match=r"doesn't send the file's size.*#sha256=HEX"):
        download(server.url, tmp_path)
    assert "net.pkl" not in files(tmp_path)
    assert download(server.url, tmp_path, SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize(("answer", "verb"), [(whole, "announces 300000"), (chunked(), "sends more")])
def test_a_file_that_is_too_large_is_refused(server: FileServer, tmp_path: Path, answer: Answer, verb: str) -> None:
    server.answers = [answer]
    with pytest.raises(InputError, match=rf"expected at most 200000 bytes, the server {verb}"):
        download(server.url, tmp_path, max_bytes=200_000)
    assert "net.pkl" not in files(tmp_path)


def test_a_full_disk_is_told_before_the_download(server: FileServer, tmp_path: Path) -> None:
    server.answers = [lambda handler: handler.head(200, Content_Length=20 << 30)]
    used = downloads.shutil.disk_usage(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(downloads.shutil, "disk_usage", lambda _: used._replace(free=1000))
        with pytest.raises(InputError, match=r"21474836480 bytes to download, .* has 1000 bytes free"):
            download(server.url, tmp_path)


def test_redirects_are_followed(server: FileServer, tmp_path: Path) -> None:
    server.answers = [status(302, Location="/elsewhere/other.bin"), whole]
    path = download(server.url, tmp_path)
    assert (path.name, path.read_bytes()) == ("net.pkl", CONTENT)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "/models/net.pkl"], ids=["to a file", "in circles"])
def test_redirects_elsewhere_are_refused(server: FileServer, tmp_path: Path, location: str) -> None:
    server.answers = [status(302, Location=location)]
    with pytest.raises(InputError, match="the server answered 302") as raised:
        download(server.url, tmp_path)
    assert "\n" not in str(raised.value)


def test_a_redirect_from_https_to_http_is_refused(server: FileServer, tmp_path: Path) -> None:
    request = downloads.Request("https://example.org/net.pkl")
    with pytest.raises(InputError, match=r"expected https throughout, it redirects to http://example.org/net.pkl"):
        downloads._Redirects().redirect_request(request, None, 302, "", {}, "http://example.org/net.pkl")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://example.org/net.pkl", "expected https://, or a checksum"),
        ("https:///net.pkl", "without host or file name"),
        ("https://example.org/", "without host or file name"),
        ("https://example.org/..", "without host or file name"),
        ("https://example.org:port/net.pkl", "expected https://HOST/PATH/FILE"),
    ],
)
def test_bad_addresses_are_refused(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        download(url, tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_file_name_leaves_the_cache(server: FileServer, tmp_path: Path) -> None:
    base = server.url.rsplit("/", 2)[0]
    for name, expected in (("..%2F..%2Fevil.pkl", "_.._evil.pkl"), ("%2Elock", "lock"), ("a%00b.pkl", "a_b.pkl")):
        path = download(f"{base}/{name}", tmp_path)
        assert path.name == expected
        assert path.parent.parent == tmp_path


def test_nobody_answers(server: FileServer, tmp_path: Path) -> None:
    server.server_close()
    with pytest.raises(InputError, match=r"the connection failed \(.*refused.*\), after 5 tries$"):
        download(server.url, tmp_path)


def test_without_a_network_the_error_comes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise downloads.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    for variable in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(InputError, match=r"cannot be reached \(.*name resolution\); without a network, give a local"):
        download("https://example.org/net.pkl", tmp_path)


def test_a_certificate_that_does_not_hold_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be reached"):
        downloads._explain_failure("https://example.org/net.pkl", ssl.SSLCertVerificationError("self-signed"))


def test_a_cache_that_cannot_be_written_is_named(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file.*: the cache for downloads cannot be written"):
        download(server.url, tmp_path / "file")


def test_progress_tells_size_rate_and_time_left(
    server: FileServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.answers = [serve(upto=HALF), whole]
    download(server.url, tmp_path)
    shown = capfd.readouterr().err
    assert "cut off at 150000 of 300000 bytes; going on in 0.01 s" in shown
    assert "net.pkl: 100%" in shown
    assert "293k/293k" in shown
    assert "B/s" in shown


def _download_elsewhere(url: str, folder: Path, results: multiprocessing.Queue[bytes]) -> None:
    results.put(download(url, folder).read_bytes())


def test_two_processes_download_once(server: FileServer, tmp_path: Path) -> None:
    server.answers = [serve(pause=0.05)]
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    results: multiprocessing.Queue[bytes] = context.Queue()
    processes = [context.Process(target=_download_elsewhere, args=(server.url, tmp_path, results)) for _ in range(2)]
    for process in processes:
        process.start()
    assert [results.get(timeout=30) for _ in processes] == [CONTENT, CONTENT]
    for process in processes:
        process.join(timeout=30)
    assert len(server.requests) == 1


def test_a_killed_process_leaves_what_the_next_one_goes_on_from(server: FileServer, tmp_path: Path) -> None:
    server.answers = [serve(pause=0.3), whole]
    code = "import pathlib, sys; from text2latent.models.sources.downloads import download;"
    code += "download(sys.argv[1], pathlib.Path(sys.argv[2]))"
    process = subprocess.Popen([sys.executable, "-c", code, server.url, str(tmp_path)], stderr=subprocess.DEVNULL)
    while not any(path.stat().st_size for path in tmp_path.rglob(".partial")):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    assert files(tmp_path) == [".partial", ".partial.json"]
    assert download(server.url, tmp_path).read_bytes() == CONTENT
    assert int(server.requests[-1]["range"].removeprefix("bytes=").removesuffix("-")) > 0
