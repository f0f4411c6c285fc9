"""A training run's folder: what lies where, and whether a new session may go on in it.

::

    RUN/config.yaml            the configuration of the latest session
    RUN/run.json               what the run is: dataset, generator, CLIP, versions
    RUN/checkpoints/           the last few states step-*.ckpt, the newest as last.ckpt, best.ckpt, metrics.json
    RUN/prior/                 the prior of the latest validation, ready to use
    RUN/grids/step-*.png       the prompts' images after each validation
    RUN/logs/                  CSV (a version per session) and TensorBoard
    RUN/.lock                  held by the process that trains
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from text2latent.common.errors import InputError, one_line
from text2latent.common.files import is_unfinished, remove_unfinished, write_text
from text2latent.common.litter import files_of, name_files

LOCK_SECONDS = 10.0  # for one that is at its end, such as a run that was asked to stop

# What a later session may change: it decides where, how long and how visibly to train, not what is trained.
FREE_KEYS = frozenset(
    (
        *("output", "resume", "device", "model", "generator", "clip"),
        *("data.path", "data.num_workers", "data.in_memory"),
        *("max_steps", "max_minutes", "checkpoint_every_steps", "keep_checkpoints", "log_every_steps"),
        *("csv", "tensorboard", "wandb", "validation", "devices", "num_nodes", "strategy", "on_non_finite"),
        "launch_timeout",
    )
)


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run's files."""

    root: Path

    @property
    def config(self) -> Path:
        """The configuration as YAML."""
        return self.root / "config.yaml"

    @property
    def description(self) -> Path:
        """What the run is, as JSON."""
        return self.root / "run.json"

    @property
    def lock(self) -> Path:
        """What the process that trains holds."""
        return self.root / ".lock"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.root / "checkpoints"

    @property
    def metrics(self) -> Path:
        """What the run has come to, as JSON."""
        return self.checkpoints / "metrics.json"

    @property
    def prior(self) -> Path:
        """The usable prior."""
        return self.root / "prior"

    @property
    def grids(self) -> Path:
        """Pictures of the validations."""
        return self.root / "grids"

    @property
    def logs(self) -> Path:
        """Logs of all sessions."""
        return self.root / "logs"


@contextmanager
def occupied(run: RunFolder) -> Iterator[None]:
    """Context in which no other process trains in this folder, which is made where there is none.

    Raises:
        InputError: when one does, or when the folder holds something else than a run.
    """
    _require_run(run)
    try:
        run.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run.lock, timeout=LOCK_SECONDS)
        lock.acquire()
    except Timeout:
        raise InputError(
            f"--output {run.root}: another process trains in it (it holds {run.lock}); "
            "expected one at a time, wait until it ends or name another folder"
        ) from None
    except OSError as error:
        raise InputError(f"cannot write {run.lock}: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


def _require_run(run: RunFolder) -> bool:
    """Whether the folder holds a run, rather than nothing; refuses other files."""
    found = [name for name in files_of(run.root) if name != run.lock.name and not is_unfinished(name)]
    if found and not (run.config.is_file() and run.description.is_file()):
        raise InputError(
            f"--output {run.root}: expected a new folder or one of a training run, found {name_files(found)}"
        )
    return bool(found)


def open_run(run: RunFolder, config: Mapping[str, Any], description: Mapping[str, Any], resume: bool) -> None:
    """Start a run in a new or empty folder, or go on with one of the same configuration and dataset.

    What a process that was killed has left unfinished there goes, as nobody else trains there (see `occupied`).

    Args:
        run: the folder.
        config: the whole configuration, nested plain data.
        description: plain data with a section ``dataset`` that has ``path`` and ``sha256``.
        resume: whether going on is wanted.

    Raises:
        InputError: when the folder holds something else, a run of another configuration or dataset (naming both), or
            a run although `resume` is false. Nothing is written then.
    """
    if _require_run(run):
        _require_same_run(run, config, description)
        if not resume:
            raise InputError(f"--output {run.root}: holds a run already and --resume is never; name another folder")
    run.root.mkdir(parents=True, exist_ok=True)
    for folder in (run.root, run.checkpoints):
        remove_unfinished(folder, is_alone=True)
    write_text(run.config, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
    write_text(run.description, json.dumps(description, indent=1, ensure_ascii=False) + "\n")


def _require_same_run(run: RunFolder, config: Mapping[str, Any], description: Mapping[str, Any]) -> None:
    there, asked = _read(run.description, json.loads)["dataset"], description["dataset"]
    if there["sha256"] != asked["sha256"]:
        raise InputError(
            f"--output {run.root}: holds a run on the pairs of {there['path']} ({there['sha256'][:12]}), "
            f"asked for {asked['path']} ({asked['sha256'][:12]}); name another folder"
        )
    old, new = (dict(flatten(part)) for part in (_read(run.config, yaml.safe_load), config))
    differing = [
        f"{key}: {old.get(key)!r} there, {new.get(key)!r} asked"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not _is_free(key)
    ]
    if differing:
        raise InputError(f"--output {run.root}: holds a run of another configuration ({'; '.join(differing)})")


def _is_free(key: str) -> bool:
    return key in FREE_KEYS or key.split(".")[0] in FREE_KEYS


def _read(path: Path, parse: Callable[[str], Any]) -> Any:
    try:
        data = parse(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path}: damaged: {one_line(error)}") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: damaged: expected keys and values")
    return data


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested mappings."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def plain(value: Any) -> Any:
    """`value` with tuples as lists, as YAML and JSON read it back."""
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value
