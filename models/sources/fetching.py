"""Where a network's files come from: a local path, an `https://` address, or an `hf://` id of the Hugging Face hub.

Downloads go to `cache_folder()` and are never asked for again, so that what was used once works without a network.
Files of the hub go to huggingface_hub's own cache, which honours `HF_HOME`, `HF_ENDPOINT` and `HF_HUB_OFFLINE`.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from text2latent.common.errors import InputError, UsageError
from text2latent.models.sources.identity import sha256_of

CACHE_VARIABLE = "TEXT2LATENT_CACHE"
HUB_SCHEME = "hf://"
WEB_SCHEMES = ("https://", "http://")
KINDS = "a local path, https://ADDRESS or hf://ORG/REPO[/PATH][@REVISION]"

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_FRAGMENT = re.compile(r"#sha256=([0-9a-fA-F]*)$")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def is_remote(source: str | Path) -> bool:
    """Whether a source is an address, of any scheme, rather than a path of this machine."""
    return _SCHEME.match(str(source)) is not None


def fetch(source: str | Path, sha256: str | None = None) -> Path:
    """Path, on this machine, of the file or folder that a source names; downloads it where that was not done before.

    Args:
        source: one of

            - a local path, which is returned as it is;
            - `https://ADDRESS` of a file; `http://` too, for this machine itself or with a checksum;
            - `hf://ORG/REPO/PATH` of a file, or `hf://ORG/REPO` and `hf://ORG/REPO/FOLDER` of a folder, each with an
              optional `@REVISION` (branch, tag or commit) at its end or behind REPO.

            An address may end with `#sha256=HEX`, the checksum that its file must have.
        sha256: the same checksum as an argument, which is good for local files too.

    Raises:
        UsageError: for an address of another scheme or form, and for a checksum that is none.
        InputError: when there is no such file, it cannot be downloaded, or its checksum is another.
    """
    address, sha256 = split_checksum(source, sha256)
    if address.startswith(WEB_SCHEMES):
        from text2latent.models.sources.downloads import download

        return download(address, cache_folder() / "downloads", sha256)
    if address.startswith(HUB_SCHEME):
        from text2latent.models.sources.hub import fetch_from_hub

        return _verified(fetch_from_hub(address), source, sha256)
    if is_remote(address):
        raise UsageError(f"{address!r}: expected {KINDS}")
    if not Path(source).exists():
        raise InputError(f"{source}: expected {KINDS}; there is no such file or folder")
    return _verified(Path(source), source, sha256)


def split_checksum(source: str | Path, sha256: str | None = None) -> tuple[str, str | None]:
    """An address without its fragment `#sha256=HEX`, and the checksum of fragment or argument in lower case.

    Raises:
        UsageError: when it isn't 64 hexadecimal digits, or fragment and argument differ.
    """
    address = str(source)
    match = _FRAGMENT.search(address) if is_remote(address) else None
    if match:
        address = address[: match.start()]
        if sha256 is not None and sha256.lower() != match[1].lower():
            raise UsageError(f"{source}: sha256: expected one checksum, got another as argument: {sha256}")
        sha256 = match[1]
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise UsageError(f"{address}: sha256: expected 64 hexadecimal digits, got {sha256!r}")
    return address, None if sha256 is None else sha256.lower()


def cache_folder() -> Path:
    """Where downloads are kept.

    `TEXT2LATENT_CACHE` if that is set, else the folder `text2latent` in the platform's place for caches:
    `XDG_CACHE_HOME` or `~/.cache`, `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows.
    """
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own).expanduser()
    return _platform_cache() / "text2latent"


def _platform_cache() -> Path:
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    if Path(xdg).is_absolute():
        return Path(xdg)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")


def _verified(path: Path, source: str | Path, sha256: str | None) -> Path:
    if sha256 is None:
        return path
    if path.is_dir():
        raise UsageError(f"{source}: sha256: expected a file to compare with, got a folder")
    found = sha256_of(path)
    if found != sha256:
        raise InputError(f"{source}: expected the SHA-256 {sha256}, got {found}")
    return path
