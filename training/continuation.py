"""What a session of training goes on from: the run's own last state, a checkpoint file, and pairs that have grown."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from text2latent.common.errors import InputError
from text2latent.configs.schema import RESUME_MODES, TrainConfig
from text2latent.models.sources.identity import sha256_of
from text2latent.training.checkpoints import Resumed, find_checkpoint, read_progress, read_record
from text2latent.training.run_folder import RunFolder, require_same_training


@dataclass(frozen=True)
class Start:
    """A checkpoint file to begin a run with, by `--resume FILE`.

    Attributes:
        state: where it is and how far it has come.
        record: what it was trained as.
        sha256: of the file.
    """

    state: Resumed
    record: Mapping[str, Any]
    sha256: str

    @classmethod
    def read(cls, file: str) -> Start:
        """Read what a checkpoint file says of itself.

        Raises:
            InputError: when it is no whole checkpoint of a training.
        """
        path = Path(file).absolute()
        return cls(Resumed(path, *read_progress(path)), read_record(path), sha256_of(path))

    def to_dict(self) -> dict[str, Any]:
        return {"path": str(self.state.path), "step": self.state.step, "sha256": self.sha256}


def read_start(config: TrainConfig) -> Start | None:
    """The checkpoint file of `--resume`, if it names one.

    Raises:
        InputError: see `Start.read`.
    """
    return None if config.resume in RESUME_MODES else Start.read(config.resume)


def keep_val_pairs(config: TrainConfig, run: RunFolder, start: Start | None) -> TrainConfig:
    """The configuration with as many pairs held out as so far, where that is left to a dataset that may have grown."""
    if config.data.val_pairs is not None:
        return config
    before = run.read_config() or ({} if start is None else start.record["training"])
    return dataclasses.replace(
        config, data=dataclasses.replace(config.data, val_pairs=before.get("data", {}).get("val_pairs"))
    )


def choose_state(
    run: RunFolder, start: Start | None, record: Mapping[str, Any], report: Callable[[str], None]
) -> tuple[Resumed | None, dict[str, Any]]:
    """The state that a session goes on from, and the record of a run that does.

    Args:
        run: the folder; its own newest state comes first.
        start: of `--resume FILE`.
        record: what the session would train without either.
        report: gets a line for each damaged checkpoint that is passed over.

    Raises:
        InputError: when the folder has states that don't come from `start`, or `start` is of another training.
    """
    newest, begun = find_checkpoint(run.checkpoints, report), run.read_description() or {}
    origin = begun.get("resumed_from")
    if start is None:
        return newest, _record(record, begun, newest, origin)
    if newest is not None and (origin or {}).get("sha256") != start.sha256:
        raise InputError(
            f"--output {run.root}: holds a run at step {newest.step}, which didn't begin with --resume "
            f"{start.state.path}; name another folder"
        )
    require_same_training(
        f"--resume {start.state.path}", start.record["training"], start.record, record["training"], record
    )
    if newest is not None:
        return newest, _record(record, begun, newest, origin)
    return start.state, _record(record, start.record, start.state, start.to_dict())


def _record(
    record: Mapping[str, Any], begun: Mapping[str, Any], state: Resumed | None, origin: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The record of a run, with the pairs that it was trained on before and the file that it began with."""
    dataset = dict(record["dataset"])
    there = begun.get("dataset")
    if state is not None and there is not None:
        dataset |= history(there, dataset, state.step)
    return {**record, "dataset": dataset, **({} if origin is None else {"resumed_from": dict(origin)})}


def history(there: Mapping[str, Any], asked: Mapping[str, Any], step: int) -> dict[str, Any]:
    """What a run's record says of its pairs before `step`, as ``before``; nothing where they are the same ones still.

    Args:
        there: section ``dataset`` of the record so far.
        asked: that of the session which goes on at `step`.
    """
    before = list(there.get("before", ()))
    if there["sha256"] != asked["sha256"]:
        before.append({"sha256": there["sha256"], "num_pairs": there["num_pairs"], "until_step": step})
    return {"before": before} if before else {}
