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


class RunFolder:
    """Paths of a run's files, which are listed above."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config, self.description, self.lock = root / "config.yaml", root / "run.json", root / ".lock"
        self.checkpoints, self.prior = root / "checkpoints", root / "prior"
        self.grids, self.logs = root / "grids", root / "logs"
        self.metrics = self.checkpoints / "metrics.json"

    def read_config(self) -> dict[str, Any] | None:
        """The configuration of the latest session; None where there was none.

        Raises:
            InputError: when it is damaged.
        """
        return _read(self.config, yaml.safe_load) if self.config.is_file() else None

    def read_description(self) -> dict[str, Any] | None:
        """What the run is; None where none was begun.

        Raises:
            InputError: when it is damaged.
        """
        return _read(self.description, json.loads) if self.description.is_file() else None


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
        config: the whole configuration, nested plain data.
        description: plain data with a section ``dataset`` that has ``path``, ``sha256``, ``num_pairs`` and ``origin``,
            see `Manifest.origin`.
        resume: whether going on is wanted.

    Raises:
        InputError: when the folder holds something else, a run of another configuration or dataset (naming both), or
            a run although `resume` is false. Nothing is written then.
    """
    if _require_run(run):
        there, begun = run.read_config(), run.read_description()
        assert there is not None
        assert begun is not None
        require_same_training(f"--output {run.root}", there, begun, config, description)
        if not resume:
            raise InputError(f"--output {run.root}: holds a run already and --resume is never; name another folder")
    run.root.mkdir(parents=True, exist_ok=True)
    for folder in (run.root, run.checkpoints):
        remove_unfinished(folder, is_alone=True)
    write_text(run.config, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
    write_text(run.description, json.dumps(description, indent=1, ensure_ascii=False) + "\n")


def require_same_training(
    place: str,
    there: Mapping[str, Any],
    begun: Mapping[str, Any],
    asked: Mapping[str, Any],
    description: Mapping[str, Any],
) -> None:
    """Refuse to go on with a training under another configuration, or on other pairs than its own, grown or not.

    Args:
        place: flag and name of what holds the training.
        there, begun: its configuration and description.
        asked, description: those of the session that wants to go on.

    Raises:
        InputError: naming both.
    """
    old, new = begun["dataset"], description["dataset"]
    if not _is_continued_by(old, new):
        raise InputError(
            f"{place}: holds a run on the pairs of {old['path']} ({old['sha256'][:12]}), "
            f"asked for {new['path']} ({new['sha256'][:12]}); name another folder"
        )
    before, now = (dict(flatten(part)) for part in (there, asked))
    differing = [
        f"{key}: {before.get(key)!r} there, {now.get(key)!r} asked"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not _is_free(key)
    ]
    if differing:
        raise InputError(f"{place}: holds a run of another configuration ({'; '.join(differing)})")


def _is_continued_by(there: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether pairs are those of a run, or those and more: each follows from what made it and from its number."""
    if there["sha256"] == asked["sha256"]:
        return True
    known = there.get("origin") is not None and there["origin"] == asked.get("origin")
    return known and asked["num_pairs"] > there["num_pairs"]


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
