"""Files and folders of the Hugging Face hub by their `hf://` address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from text2latent.common.errors import InputError, UsageError, one_line

FORM = "hf://ORG/REPO[/PATH][@REVISION]"
FOLDER_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.yaml", "*.yml")
"""What is taken of a folder: configs, weights and tokenizers that hold no code; a pickle is named by its path."""

_NAME = r"[A-Za-z0-9][\w.-]*"
_ADDRESS = re.compile(
    rf"hf://(?P<repo>{_NAME}/{_NAME})(?:@(?P<before>[^/@]+))?(?P<path>(?:/[^/@]+)*)/?(?:@(?P<after>[^@]+))?"
)


class NotInRepository(InputError):
    """The repository is there, and has no such file."""


@dataclass(frozen=True)
class HubAddress:
    """A file or folder on the hub.

    Attributes:
        repo: `ORG/REPO`.
        path: inside the repository; empty for all of it.
        revision: branch, tag or commit; None for the default branch.
    """

    repo: str
    path: str = ""
    revision: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether the path names a file: one with a suffix."""
        return bool(PurePosixPath(self.path).suffix)


def parse_hub_address(address: str) -> HubAddress:
    """Read an `hf://` address, with its revision at the end or, as huggingface_hub writes it, behind the repository.

    Raises:
        UsageError: for another form.
    """
    match = _ADDRESS.fullmatch(address)
    path = match["path"].strip("/") if match else ""
    if match is None or ".." in path.split("/") or (match["before"] and match["after"]):
        raise UsageError(f"{address!r}: expected {FORM}")
    return HubAddress(match["repo"], path, match["before"] or match["after"])


def fetch_from_hub(address: str) -> Path:
    """Path in huggingface_hub's cache of the file or folder that an address names; downloads what is not there.

    Raises:
        UsageError: for an address of another form.
        NotInRepository: when the repository has no such file.
        InputError: when the hub has no such repository, does not give it, or cannot be reached and it is not cached.
    """
    wanted = parse_hub_address(address)
    try:
        found = _fetch_file(wanted) if wanted.is_file else _fetch_folder(wanted)
    except Exception as error:
        # huggingface_hub's errors, and those of the HTTP client below it, share no base class.
        raise _explained(address, error) from error
    if not found.exists():
        raise InputError(f"{address}: expected a folder with files {', '.join(FOLDER_FILES)}, the repository has none")
    return found


def _fetch_file(wanted: HubAddress) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(wanted.repo, wanted.path, revision=wanted.revision))


def _fetch_folder(wanted: HubAddress) -> Path:
    from huggingface_hub import snapshot_download

    patterns = [f"{wanted.path}/{name}" if wanted.path else name for name in FOLDER_FILES]
    return Path(snapshot_download(wanted.repo, revision=wanted.revision, allow_patterns=patterns)) / wanted.path


def _explained(address: str, error: Exception) -> InputError:
    from huggingface_hub import errors

    missing = isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError)
    return (NotInRepository if missing else InputError)(f"{address}: {_reason(error)}")


def _reason(error: Exception) -> str:
    from huggingface_hub import constants, errors

    if isinstance(error, errors.GatedRepoError):
        return "the repository asks for its terms to be accepted on its page, and then for a login: hf auth login"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{constants.ENDPOINT} has no such repository, or a private one (then log in: hf auth login)"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the repository has no such revision (branch, tag or commit)"
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} cannot be reached"
        return f"not in the cache {constants.HF_HUB_CACHE}, and {why}; without a network, give a local path"
    if isinstance(error, errors.EntryNotFoundError):
        return "the repository has no such file"
    return f"cannot be had from {constants.ENDPOINT}: {one_line(error)}"
