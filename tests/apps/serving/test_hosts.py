"""Under which names the server answers, and whom its limits count."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi", reason="fastapi of the extra [serve] is not installed")
pytest.importorskip("httpx")

from starlette.testclient import TestClient

from text2latent.apps.serving.app import build_app
from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.hosts import client_of, host_of, read_hosts
from text2latent.common.errors import UsageError

FOREIGN = ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "192.0.2.7", "[2001:db8::7]", "",
    "evil.example:7860", "art.example.evil.example", "localhost@evil.example", "127.0.0.1:80:80", "[::1"]  # fmt: skip
OWN = [
    "localhost",
    "LOCALHOST:7860",
    "127.0.0.1",
    "127.0.0.1:7860",
    "127.1.2.3",
    "[::1]:7860",
    "app.localhost",
    "localhost.",
]


@pytest.fixture(scope="module")
def client(engine: Engine) -> TestClient:
    return TestClient(build_app(engine, page=False, allowed_hosts=["art.example", "*.hf.space", "198.51.100.4"]))


@pytest.mark.parametrize("host", FOREIGN)
def test_foreign_hosts_are_refused(client: TestClient, host: str) -> None:
    for path in ("/health", "/v1/models", "/docs", "/"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == 421
        assert answer.json()["error"]["code"] == "unknown_host"


@pytest.mark.parametrize("host", [*OWN, "art.example", "Art.Example:443", "me-space.hf.space", "198.51.100.4:80"])
def test_own_hosts_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/health", headers={"Host": host}).status_code == 200


def test_the_address_that_was_reached_is_the_servers(engine: Engine) -> None:
    client = TestClient(build_app(engine, page=False), "http://192.0.2.7:7860")
    assert client.get("/health").status_code == 200
    assert client.get("/health", headers={"Host": "192.0.2.8:7860"}).status_code == 421
    # A name is never its own proof.
    assert TestClient(build_app(engine, page=False), "http://evil.example").get("/health").status_code == 421


def test_all_hosts_can_be_allowed(engine: Engine) -> None:
    assert (
        TestClient(build_app(engine, page=False, allowed_hosts=["*"]), "http://any.example").get("/health").is_success
    )


def test_what_a_client_says_of_the_servers_address_is_not_believed(client: TestClient) -> None:
    headers = {"Host": "art.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "gopher"}
    answer = client.post("/v1/images", json={"prompt": "a man", "seed": 1, "steps": 1}, headers=headers)
    assert answer.json()["data"][0]["url"].startswith("http://art.example/")


def test_lists_of_hosts_are_read() -> None:
    assert read_hosts("--allowed-hosts", " Art.example, *.hf.space ,10.0.0.1,::1,*,") == [
        "art.example", "*.hf.space", "10.0.0.1", "::1", "*"]  # fmt: skip
    assert read_hosts("--allowed-hosts", "") == []


@pytest.mark.parametrize(
    "written", ["http://art.example", "art.example:80", "a b", "*art.example", "art..example", "-", "ärt"]
)
def test_what_is_no_host_is_refused(written: str) -> None:
    with pytest.raises(UsageError, match=r"--allowed-hosts: expected names such as art\.example"):
        read_hosts("--allowed-hosts", written)


@pytest.mark.parametrize(
    ("written", "host"),
    [("a.example:80", "a.example"), ("[::1]:80", "::1"), ("A.example.", "a.example"), ("a:b:c", ""), ("a/b", "")],
)
def test_ports_are_no_part_of_a_host(written: str, host: str) -> None:
    assert host_of(written) == host


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::9", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
    ],
)
def test_who_has_a_network_is_one_client(address: str, client: str) -> None:
    assert client_of({"client": (address, 1)}) == client


def test_clients_without_an_address_are_one_too() -> None:
    assert client_of({}) == client_of({"client": None}) == ""
