"""From the configuration of a training to what is trained: the prior, its record and its objective."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from text2latent.common.errors import InputError
from text2latent.configs.schema import KEPT_BY_DISTILLATION, DiffusionConfig, TrainConfig
from text2latent.data.datamodule import PairDataModule
from text2latent.data.manifest import Manifest
from text2latent.data.stats import PairStatistics
from text2latent.inference.prompt_lists import embed_prompt_list
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.clip.recorded import load_clip
from text2latent.models.generators import load_generator
from text2latent.models.generators.base import Generator
from text2latent.models.generators.layouts import layout_shape
from text2latent.models.network import CLASS_NAME
from text2latent.models.priors.folder import TrainedPrior, load_prior
from text2latent.models.priors.prior import Prior
from text2latent.models.priors.registry import create_prior
from text2latent.models.priors.schedulers import SchedulerConfig, build_scheduler
from text2latent.models.sources.identity import Identity, require_same
from text2latent.models.sources.whereabouts import load_recorded, to_record
from text2latent.training.distillation import Reflow
from text2latent.training.initialization import start_from
from text2latent.training.module import Objective
from text2latent.training.objectives import DenoisingObjective
from text2latent.training.pseudo_text import PseudoText
from text2latent.training.run_folder import plain

LIBRARIES = ("text2latent", "torch", "lightning", "diffusers")


def new_prior(config: TrainConfig, data: PairDataModule) -> Prior:
    """A prior of the configured kind and size, which knows the statistics of the pairs and where texts lie."""
    manifest = data.manifest
    layout, shape = choose_layout(config, manifest)
    prior = create_prior(
        **dataclasses.asdict(config.prior) | {"latent_layout": layout},
        latent_shape=shape,
        embedding_dim=manifest.embedding_dim,
        objective=config.diffusion.objective,
    )
    set_statistics(prior, data.statistics, find_text_mean(config, data))
    return prior


def set_statistics(prior: Prior, statistics: PairStatistics, text_mean: Tensor | None) -> None:
    """Set what a prior knows of its pairs, and of where texts `[E]` lie, if anything.

    Raises:
        InputError: when the embeddings are all equal.
    """
    if not statistics.embedding_std.any():
        raise InputError("the pairs' embeddings: expected embeddings that differ from one another, got all equal")
    prior.set_statistics(
        statistics.latent_mean,
        statistics.latent_std,
        None if text_mean is None else statistics.embedding_mean,
        text_mean,
    )


def choose_layout(config: TrainConfig, manifest: Manifest) -> tuple[str, tuple[int, ...]]:
    """Layout and shape of the prior's latents; pairs of w also train priors of groups or layers.

    Raises:
        InputError: when the pairs' latents can't be brought into the wanted layout.
    """
    there = manifest.latent_layout
    wanted = config.prior.latent_layout or there
    if wanted == there:
        return there, manifest.latent_shape
    if there != "w" or wanted == "z":
        raise InputError(f"--prior.latent-layout {wanted}: the pairs in {config.data.path} are latents {there}")
    return wanted, layout_shape(wanted, load_the_generator(config, manifest.generator))


def load_the_generator(config: TrainConfig, recorded: Identity) -> Generator:
    """The generator that the configuration names, else the pairs' own, for which no code is imported."""
    named = config.generator or config.model
    if named is not None:
        return load_generator(named)
    return load_recorded(partial(load_generator, allow_import=False), recorded, "generator", "--generator")


def load_the_clip(config: TrainConfig, recorded: Identity) -> ClipEncoder:
    """The CLIP that the configuration names, by itself or as its model's, else the pairs' own; no code is imported."""
    if config.clip is None and config.model is not None:
        return ClipEncoder.from_pretrained(config.model)
    return load_clip(config.clip, recorded, "--clip")


def find_text_mean(config: TrainConfig, data: PairDataModule) -> Tensor | None:
    """Mean embedding `[E]` of the configured prompts, which stand for texts of all kinds; None without prompts."""
    if config.text.prompts is None:
        return None
    return embed_prompt_list(ask_where_texts_lie(config, data.manifest.clip), config.text.prompts).mean(dim=0)


def ask_where_texts_lie(config: TrainConfig, recorded: Identity) -> ClipEncoder:
    """The pairs' own CLIP, to embed prompts that have no images.

    Raises:
        InputError: when it can't be had, or is another than the pairs'.
    """
    try:
        clip = load_the_clip(config, recorded)
    except InputError as error:
        raise type(error)(f"{error}; --text.prompts null trains without asking it where texts lie") from error
    assert clip.identity is not None
    of_model = config.clip is None and config.model is not None
    what = f"--model {config.model}: CLIP of the pairs {config.data.path}" if of_model else "CLIP"
    require_same(recorded, clip.identity, what)
    return clip


def build_prior(
    config: TrainConfig, data: PairDataModule, report: Callable[[str], None] = lambda line: None
) -> TrainedPrior:
    """The prior to train, and the record of what it is made with; `report` gets a line on weights of --init-from."""
    prior, scheduler, ancestor = _distilled(config, data) if config.distill else _begun(config, data, report)
    manifest = data.manifest
    record = {
        "generator": to_record(manifest.generator, Path(config.output)),
        "clip": to_record(manifest.clip, Path(config.output)),
        "dataset": {
            "path": str(data.path),
            "sha256": manifest.sha256,
            "num_pairs": manifest.num_pairs,
            "origin": manifest.origin,
        },
        "training": describe_training(config),
        **ancestor,
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "prior": {CLASS_NAME: type(prior).__name__, **prior.config},
        "scheduler": {CLASS_NAME: scheduler.name, **scheduler.config},
    }
    return TrainedPrior(prior, scheduler, plain(record))


def _begun(
    config: TrainConfig, data: PairDataModule, report: Callable[[str], None]
) -> tuple[Prior, SchedulerConfig, dict[str, Any]]:
    """A prior at random weights or with those of --init-from, its sampler, and what its record says of that."""
    prior, ancestor = new_prior(config, data), {}
    if config.init_from is not None:
        start = load_prior(config.init_from)
        start_from(prior, start, config.init_from, report)
        ancestor = _identified("init_from", start)
    return prior, build_scheduler(config.diffusion.sampler, config.diffusion.objective), ancestor


def _distilled(config: TrainConfig, data: PairDataModule) -> tuple[Prior, SchedulerConfig, dict[str, Any]]:
    """The teacher itself, to go on with, its sampler, and what the record says of that."""
    assert config.distill is not None
    start = load_prior(config.distill)
    require_same(start.generator, data.manifest.generator, "generator")
    require_same(start.clip, data.manifest.clip, "CLIP")
    return start.prior.requires_grad_(True).train(), start.scheduler, _identified("teacher", start)


def _identified(part: str, prior: TrainedPrior) -> dict[str, Any]:
    return {} if prior.identity is None else {part: prior.identity.to_dict()}


def describe_training(config: TrainConfig) -> dict[str, Any]:
    """The configuration, nested plain data, without what a distillation has of its teacher."""
    tree = dataclasses.asdict(config)
    for section, _, name in (key.partition(".") for key in KEPT_BY_DISTILLATION if config.distill is not None):
        del tree[section][name]
    return plain({key: value for key, value in tree.items() if value != {}})


def build_pseudo_text(how: DiffusionConfig) -> PseudoText:
    """What makes conditions like texts' of a prior's conditions of images."""
    return PseudoText(how.noise_scale, how.random_noise)


def build_objective(config: TrainConfig, data: PairDataModule, prior: Prior) -> Objective:
    """The loss of a prior: reflow of a teacher with `distill`, else denoising of latents under pseudo-text."""
    how = config.diffusion
    if config.distill is not None:
        return Reflow(load_prior(config.distill).prior, build_pseudo_text(how), how.condition_dropout)
    return build_denoising(how)


def build_denoising(how: DiffusionConfig) -> DenoisingObjective:
    """Denoising of latents under pseudo-text."""
    return DenoisingObjective(build_pseudo_text(how), how.condition_dropout, how.time_sampling, how.loss_weighting)
