"""`hf://` addresses against a small hub on this machine, in a process of their own, as its settings are environment."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from text2latent.common.errors import UsageError
from text2latent.models.sources.hub import HubAddress, parse_hub_address
from text2latent.tests.hub_server import serve_hub

FILES = {
    "net.pkl": b"a pickle",
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "code.py": b"raise SystemExit",
    "clip/open_clip_config.json": b"[]",
}

FETCH = """
import json, sys
from text2latent.models.sources.fetching import fetch
for address in sys.argv[1:]:
    try:
        path = fetch(address)
        found = sorted(str(p.relative_to(path)) for p in path.rglob("*")) if path.is_dir() else path.read_text()
        print(json.dumps([found, None]))
    except Exception as error:
        print(json.dumps([str(error), type(error).__name__]))
"""


class Hub:
    def __init__(self, environment: dict[str, str], home: Path) -> None:
        self.address, self.home = environment["HF_ENDPOINT"], home
        self.environment = {**environment, "HF_HOME": str(home)}

    def fetch(self, *addresses: str, **environment: str) -> list[list[str | None]]:
        """What each address gives: [text of the file or names in the folder, None] or [message, kind of error]."""
        settings = {**self.environment, **environment}
        done = subprocess.run(
            [sys.executable, "-c", FETCH, *addresses],
            env={**os.environ, **settings}, capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serve_hub(FILES) as environment:
        yield Hub(environment, tmp_path)


def test_files_and_folders_come_from_the_hub_and_then_from_its_cache(hub: Hub) -> None:
    addresses = ["hf://org/net/net.pkl", "hf://org/net/net.pkl@v1", "hf://org/net@v1/net.pkl", "hf://org/net/clip"]
    expected = [*[["a pickle", None]] * 3, [["open_clip_config.json"], None]]
    assert hub.fetch(*addresses) == expected
    assert hub.fetch(*addresses, HF_HUB_OFFLINE="1") == expected


def test_a_whole_repository_comes_without_its_code(hub: Hub) -> None:
    [[names, error]] = hub.fetch("hf://org/net")
    assert error is None
    assert names == ["clip", "clip/open_clip_config.json", "config.json", "model.safetensors"]


def test_a_checksum_is_compared(hub: Hub) -> None:
    digest = hashlib.sha256(FILES["net.pkl"]).hexdigest()
    good, bad, folder = hub.fetch(
        f"hf://org/net/net.pkl#sha256={digest}", f"hf://org/net/net.pkl#sha256={'0' * 64}",
        f"hf://org/net#sha256={digest}",
    )  # fmt: skip
    assert good == ["a pickle", None]
    assert (bad[1], bad[0].endswith(f"expected the SHA-256 {'0' * 64}, got {digest}")) == ("InputError", True)
    assert (folder[1], "expected a file" in folder[0]) == ("UsageError", True)


def test_what_the_hub_refuses_is_said_in_one_line(hub: Hub) -> None:
    wanted = {
        "hf://org/net/none.pkl": "the repository has no such file",
        "hf://org/net/net.pkl@v9": "the repository has no such revision (branch, tag or commit)",
        "hf://org/none": f"{hub.address} has no such repository, or a private one (then log in: hf auth login)",
        "hf://org/none/net.pkl": f"{hub.address} has no such repository, or a private one (then log in: hf auth login)",
        "hf://org/gated/net.pkl": "the repository asks for its terms to be accepted on its page",
        "hf://org/net/none": "expected a folder with files *.json",
    }
    for (address, message), (found, error) in zip(wanted.items(), hub.fetch(*wanted), strict=True):
        assert error == ("NotInRepository" if "no such file" in message else "InputError")
        assert found.startswith(f"{address}: {message}")
        assert "\n" not in found


def test_offline_says_what_was_looked_for_and_where(hub: Hub) -> None:
    for found, error in hub.fetch("hf://org/net/net.pkl", "hf://org/net", HF_HUB_OFFLINE="1"):
        assert error == "InputError"
        assert (
            f"not in the cache {hub.home / 'hub'}, and HF_HUB_OFFLINE is set; without a network, give a local" in found
        )


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("hf://org/repo", HubAddress("org/repo")),
        ("hf://org/repo/", HubAddress("org/repo")),
        ("hf://org/repo@v1.0", HubAddress("org/repo", "", "v1.0")),
        ("hf://org/repo/a/b.pkl", HubAddress("org/repo", "a/b.pkl")),
        ("hf://org/repo@v1/a/b.pkl", HubAddress("org/repo", "a/b.pkl", "v1")),
        ("hf://org/repo/a/b.pkl@refs/pr/3", HubAddress("org/repo", "a/b.pkl", "refs/pr/3")),
    ],
)
def test_addresses_are_read(address: str, expected: HubAddress) -> None:
    assert parse_hub_address(address) == expected


@pytest.mark.parametrize(
    "address",
    [
        "hf://",
        "hf://org",
        "hf://org/",
        "hf:///repo",
        "hf://org/repo@",
        "hf://org/repo@a/b@c",
        "hf://../x",
        "hf://o/r/../x",
    ],
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(UsageError, match=r"expected hf://ORG/REPO\[/PATH\]\[@REVISION\]$"):
        parse_hub_address(address)
