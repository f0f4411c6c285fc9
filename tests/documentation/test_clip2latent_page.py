"""The table of settings in docs/clip2latent.md: all of clip2latent's YAML file, and keys of ours that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from text2latent.common.validation import leaves
from text2latent.configs.schema import TrainConfig
from text2latent.tests.documentation.pages import ROOT

PAGE = (ROOT / "docs/clip2latent.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (`.+?) \| (.+) \|$", PAGE[PAGE.index("## Settings") :], re.MULTILINE)
CODE = re.compile(r"`([\w.]+)[^`]*`")
VALUES = {"sample", "epsilon", "convert", "w", "w_k", "w_plus", "WANDB_ENTITY", "WANDB_NAME"}


def keys(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def test_all_that_its_yaml_says_is_told() -> None:
    tree = yaml.safe_load((ROOT / "tests/data/clip2latent/small-w.yaml").read_text(encoding="utf-8"))
    documented = [name for there, _ in ROWS for name in CODE.findall(there)]
    assert sorted(documented) == sorted(keys(tree))


def test_what_is_named_of_ours_is_there() -> None:
    named = {name for _, here in ROWS for name in CODE.findall(here)} - VALUES
    assert len(named) > 20
    assert named <= set(leaves(TrainConfig))
