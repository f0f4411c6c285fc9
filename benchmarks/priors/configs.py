"""Settings of the priors that a comparison trains: ours, and clip2latent's as its file has them."""

from __future__ import annotations

import dataclasses
import json
from argparse import Namespace
from functools import cache
from typing import Any

from text2latent.configs.schema import TrainConfig
from text2latent.data.datamodule import default_val_pairs
from text2latent.data.records import read_manifest
from text2latent.train import build_parser, with_packaged_configs

SECTIONS = ("prior", "diffusion", "optimizer", "text")
OTHER_KEYS = ("data.batch_size", "data.val_pairs", "max_minutes", "precision", "seed")
OURS, PLAIN = "faces", "clip2latent"
"""Names of the configurations of our prior and of clip2latent's."""
SHORT_BATCH = 256
SHORT_OPTIMIZER: dict[str, Any] = {"lr": 5e-4, "warmup_steps": 100, "schedule": "cosine"}
"""What the paper's recipe is changed to, beside the size of its network, to be trained in minutes."""


def our_config(config: Namespace) -> TrainConfig:
    ours = read_config(config, config.minutes_ours)
    return dataclasses.replace(ours, precision=config.precision or ours.precision)


def paper_config(config: Namespace) -> TrainConfig:
    """clip2latent's recipe (arXiv:2210.02347), `configs/clip2latent.yaml`, but for what minutes ask for.

    That is the size of the network, which there is made for 512 channels; smaller batches; and a larger learning rate
    that falls to zero, since weights that are learned in a thousandth of the steps would be nowhere near otherwise.
    What is learned, of what, and how it is drawn is the recipe's own.
    """
    paper = read_config(config, config.minutes_paper, PLAIN)
    size = {"width": config.paper_width, "depth": config.paper_depth, "num_heads": config.paper_heads}
    return dataclasses.replace(
        paper,
        prior=dataclasses.replace(paper.prior, **size),
        data=dataclasses.replace(paper.data, batch_size=SHORT_BATCH),
        optimizer=dataclasses.replace(paper.optimizer, **SHORT_OPTIMIZER),
        precision=config.precision or paper.precision,
    )


def read_config(flags: Namespace, minutes: float, name: str = OURS) -> TrainConfig:
    """The settings of `configs/NAME.yaml`, on the pairs of `add_flags` and for some minutes."""
    parsed = packaged_config(name, "--model", flags.model)
    val_pairs = flags.val_pairs or default_val_pairs(read_manifest(flags.pairs).num_pairs)
    data = dataclasses.replace(parsed.data, path=flags.pairs, val_pairs=val_pairs)
    return dataclasses.replace(parsed, data=data, output=flags.work, max_minutes=minutes)


def packaged_config(name: str, *words: str) -> TrainConfig:
    """What `text2latent train --config NAME` and further words make, with places that are yet to be named."""
    needed = ["--data.path", "pairs", "--output", "run"]
    config: TrainConfig = build_parser().parse(with_packaged_configs(["--config", name, *needed, *words]))
    return config


def decisive(config: TrainConfig) -> dict[str, Any]:
    """What decides what a training gives, beside its pairs, as plain data by dotted key."""
    tree = dataclasses.asdict(config)
    flat = {f"{section}.{key}": value for section in SECTIONS for key, value in tree[section].items()}
    for key in OTHER_KEYS:
        section, _, name = key.rpartition(".")
        flat[key] = tree[section][name] if section else tree[name]
    found: dict[str, Any] = json.loads(json.dumps(flat))
    return found


@cache
def plain_settings() -> dict[str, Any]:
    """`decisive` of clip2latent's recipe."""
    return decisive(packaged_config(PLAIN))
