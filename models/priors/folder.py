"""Trained priors on disk: folders that describe themselves, and Lightning checkpoints of a run.

A prior folder holds `config.json` and `diffusion_pytorch_model.safetensors` (network and statistics, in diffusers'
layout), `scheduler/scheduler_config.json`, and `text2latent.json`: the record of what the prior was made with.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from text2latent.common.errors import InputError, named_line
from text2latent.common.files import read_object, replacing
from text2latent.models.network import CLASS_NAME, CONFIG, WEIGHTS, Unfilled
from text2latent.models.priors.prior import Prior
from text2latent.models.priors.registry import DEFAULT_PRIOR, prior_class
from text2latent.models.priors.schedulers import CONFIG_FILE, SchedulerConfig, load_scheduler
from text2latent.models.sources import exported as exported_folder
from text2latent.models.sources.identity import Identity, sha256_of
from text2latent.models.sources.location import Location, locate
from text2latent.models.sources.whereabouts import from_record

RECORD = "text2latent.json"
RUN_RECORD = "run.json"
SCHEDULER = "scheduler"
KIND = "a prior folder"
STATE_PREFIX = "prior."


@dataclass(frozen=True)
class TrainedPrior:
    """A prior, the scheduler that it is sampled with, and the record of what it was made with.

    `record` has at least `generator` and `clip`, `Identity` dictionaries. `identity` is the prior's own, once loaded.
    """

    prior: Prior
    scheduler: SchedulerConfig
    record: dict[str, Any]
    identity: Identity | None = None

    @property
    def generator(self) -> Identity:
        """Identity of the generator whose latents the prior gives."""
        return self._identity("generator")

    @property
    def clip(self) -> Identity:
        """Identity of the CLIP whose embeddings the prior takes."""
        return self._identity("clip")

    def paired_with(self, generator: Identity | None, clip: Identity | None) -> TrainedPrior:
        """This prior, to be used with other networks than it was trained with, if they are others; warns of each.

        The record keeps the ones that it was trained with as `trained_with`.
        """
        others = {
            part: found.to_dict()
            for part, found in (("generator", generator), ("clip", clip))
            if found is not None and self._identity(part).differences(found)
        }
        for part, found in others.items():
            mismatch = f"{part}: the prior was trained with {self._identity(part)}, and is used with"
            warnings.warn(f"{mismatch} {Identity.from_dict(found)}: images may not follow the text", stacklevel=2)
        trained_with = {part: self.record[part] for part in others}
        return replace(self, record={**self.record, **others, "trained_with": trained_with}) if others else self

    def _identity(self, part: str) -> Identity:
        found = self.record.get(part)
        if not isinstance(found, Mapping):
            raise InputError(f"prior: its record has no identity of the {part}: expected one under {part!r}")
        return Identity.from_dict(found)


def save_prior(folder: str | Path, trained: TrainedPrior) -> None:
    """Write a prior folder, whole or not at all; one that is there is replaced.

    Raises:
        OSError: when the disk refuses; what was there before stays.
    """
    with replacing(Path(folder)) as partial:
        trained.prior.save_pretrained(partial)
        trained.scheduler.save_pretrained(partial / SCHEDULER)
        text = json.dumps(trained.record, indent=2, ensure_ascii=False, sort_keys=True)
        (partial / RECORD).write_text(text + "\n", encoding="utf-8")


def load_prior(source: str | Path | Location) -> TrainedPrior:
    """Load a trained prior in eval mode, float32, on the CPU.

    Args:
        source: name of a zoo world, a prior folder, a run folder or an exported folder that holds one as `prior`, or a
            Lightning checkpoint of a training run (whose averaged weights are taken); or an address of one of these; or
            where `locate` has found one.

    Raises:
        UsageError: when the source is none of these.
        InputError: when a file is missing, truncated, foreign, doesn't fit the others or cannot be downloaded.
    """
    found = source if isinstance(source, Location) else locate(source, "prior")
    return _load_checkpoint(found.path) if found.kind == "checkpoint" else _load_folder(found)


def _load_folder(found: Location) -> TrainedPrior:
    folder = found.path
    exported = folder.parent if found.kind == "exported" else None
    missing = [name for name in ((CONFIG,) if exported else (RECORD, CONFIG)) if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder}: expected a trained prior here or in its folder prior; {', '.join(missing)} missing"
        )
    record = exported_folder.read_record(exported) if exported else read_object(folder / RECORD, KIND)
    config = read_object(folder / CONFIG, KIND)
    scheduler = read_object((exported or folder) / SCHEDULER / CONFIG_FILE, KIND)
    try:
        state = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{folder / WEIGHTS}: expected safetensors weights: {named_line(error)}") from error
    prior = _build(config, state, folder / WEIGHTS)
    record = _with_parts_found(record, folder)
    return TrainedPrior(prior, _build_scheduler(scheduler, folder), record, _identify(found.source, folder / WEIGHTS))


def _identify(source: str | Path, weights: Path) -> Identity:
    return Identity(Path(source).resolve().name, str(source), sha256_of(weights))


def _load_checkpoint(path: Path) -> TrainedPrior:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        record = dict(checkpoint["text2latent"])
        config, scheduler = dict(record["prior"]), dict(record["scheduler"])
        state = checkpoint["state_dict"].items()
    except Exception as error:
        # Foreign and damaged pickles raise many kinds; with weights_only none of their code has run.
        raise InputError(f"{path}: expected a checkpoint of text2latent train: {named_line(error)}") from error
    weights = {key.removeprefix(STATE_PREFIX): value for key, value in state if key.startswith(STATE_PREFIX)}
    prior = _build(config, weights, path)
    record = _with_parts_found(record, path)
    return TrainedPrior(prior, _build_scheduler(scheduler, path), record, _identify(path, path))


def _with_parts_found(record: dict[str, Any], path: Path) -> dict[str, Any]:
    """A run's record, with generator and CLIP where they lie now; `path` is the run's prior folder or checkpoint."""
    run = next((folder for folder in path.parents[:2] if (folder / RUN_RECORD).is_file()), path.parent)
    return {**record, **{part: from_record(record[part], run) for part in ("generator", "clip") if part in record}}


def _build(config: dict[str, Any], state: Mapping[str, Tensor], path: Path) -> Prior:
    """The network of a config with the weights of a file; nothing is allocated beyond what the file holds."""
    try:
        with Unfilled(state):
            prior = prior_class(config.get(CLASS_NAME, DEFAULT_PRIOR)).from_config(config)
        prior.load_state_dict({key: value.float() for key, value in state.items()}, strict=True, assign=True)
    except Exception as error:
        # A config is anyone's JSON: a wrong type or an absurd size can fail anywhere in the constructor.
        raise InputError(f"{path}: the weights don't fit the prior's config: {named_line(error)}") from error
    if not all(value.isfinite().all() for value in prior.state_dict().values()):
        raise InputError(f"{path}: expected finite weights, got NaN or infinity")
    return prior.eval().requires_grad_(False)


def _build_scheduler(config: dict[str, Any], path: Path) -> SchedulerConfig:
    try:
        return load_scheduler(config)
    except Exception as error:
        # As with the prior's config.
        raise InputError(f"{path}: not the config of a scheduler for priors: {named_line(error)}") from error
