"""The presets of training: each is found by its name and is a whole, valid configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from text2latent import train
from text2latent.configs import schema
from text2latent.configs.schema import TrainConfig

FOLDER = Path(schema.__file__).parent
PRESETS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
NEEDED = ("--data.path", "pairs", "--output", "out")


def parsed(name: str) -> TrainConfig:
    config = train.build_parser().parse(train.with_packaged_configs(["--config", name, *NEEDED]))
    assert isinstance(config, TrainConfig)
    return config


def test_all_presets_are_there() -> None:
    assert {"faces", "clip2latent", "ffhq", "lhq"} <= set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_found_by_its_name_and_parsed(name: str) -> None:
    assert train.with_packaged_configs(["--config", name])[1] == str(FOLDER / f"{name}.yaml")
    assert parsed(name) != train.build_parser().parse(NEEDED)  # which has the defaults
    assert f"--config {name}" in (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["ffhq", "lhq"])
def test_presets_of_stylegans_have_the_sizes_of_clip2latent_and_the_default_treatment_of_texts(name: str) -> None:
    config, paper = parsed(name), parsed("clip2latent")
    assert (config.prior.width, config.prior.depth) == (paper.prior.width, paper.prior.depth)
    assert (config.data.batch_size, config.max_steps) == (paper.data.batch_size, paper.max_steps)
    assert (config.optimizer.lr, config.optimizer.ema_decay) == (paper.optimizer.lr, paper.optimizer.ema_decay)
    assert config.prior.latent_layout == "w"
    assert (config.diffusion, config.text) == (schema.DiffusionConfig(), schema.TextConfig())
    assert "Not measured" in (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
