"""The recipe of clip2latent: that it is written out whole, and that it is the paper's."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from text2latent import train
from text2latent.configs import schema
from text2latent.configs.schema import (
    DataConfig,
    DiffusionConfig,
    OptimizerConfig,
    PriorConfig,
    TextConfig,
    TrainConfig,
)

FILE = Path(schema.__file__).parent / "clip2latent.yaml"
PLACES = {"path", "val_pairs", "num_workers", "in_memory"}
"""Of the pairs, what says where they are and how they are read."""
SECTIONS = {
    "data": DataConfig,
    "prior": PriorConfig,
    "diffusion": DiffusionConfig,
    "text": TextConfig,
    "optimizer": OptimizerConfig,
}
NEEDED = ["--data.path", "pairs", "--output", "run"]
OFF = {
    "diffusion": {"random_noise": False},
    "text": {"prompts": None},
}
"""What clip2latent doesn't do."""
PAPER = {
    "prior": {"network": "transformer", "width": 512, "depth": 12, "num_heads": 12},
    "diffusion": {
        "objective": "sample",
        "sampler": "ddpm",
        "time_sampling": "ddpm",
        "loss_weighting": "none",
        "condition_dropout": 0.2,
        "noise_scale": 1.0,
    },
    "optimizer": {"lr": 1e-4, "weight_decay": 0.01, "schedule": "constant", "ema_decay": 0.9999, "ema_every_steps": 10},
    "data": {"batch_size": 512},
}


def written() -> dict[str, Any]:
    tree = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert isinstance(tree, dict)
    return tree


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_named(section: str) -> None:
    fields = {field.name for field in dataclasses.fields(SECTIONS[section])}
    assert set(written()[section]) == fields - (PLACES if section == "data" else set())


@pytest.mark.parametrize("settings", [OFF, PAPER])
def test_recipe_is_the_papers(settings: dict[str, dict[str, Any]]) -> None:
    for section, values in settings.items():
        assert {key: float_of(written()[section][key]) for key in values} == values
    assert (written()["max_steps"], written()["precision"]) == (1_000_000, "32-true")


def float_of(value: Any) -> Any:
    """YAML 1.1 reads `1e-4` without a point as text; jsonargparse doesn't."""
    return float(value) if isinstance(value, str) and value[0].isdigit() else value


def test_name_on_the_command_line_gives_the_recipe() -> None:
    words = train.with_packaged_configs(["--config", "clip2latent", *NEEDED])
    assert words[1] == str(FILE)
    config = train.build_parser().parse(words)
    assert isinstance(config, TrainConfig)
    for section, values in ((name, written()[name]) for name in SECTIONS):
        found = dataclasses.asdict(getattr(config, section))
        assert {key: found[key] for key in values} == {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }


def test_other_defaults_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the defaults of every setting that is a number or a name replaced, the recipe stays what it is."""
    words = train.with_packaged_configs(["--config", "clip2latent", *NEEDED])
    before = train.build_parser().parse(words)
    others = {
        "diffusion": dataclasses.make_dataclass(
            "OtherDiffusion",
            [
                ("noise_scale", float, dataclasses.field(default=0.7)),
                ("random_noise", bool, dataclasses.field(default=True)),
                ("time_sampling", str, dataclasses.field(default="log_normal")),
            ],
            bases=(DiffusionConfig,),
            frozen=True,
        )
    }
    other = dataclasses.make_dataclass(
        "OtherTrain",
        [("diffusion", others["diffusion"], dataclasses.field(default_factory=others["diffusion"]))],
        bases=(TrainConfig,),
        frozen=True,
    )
    monkeypatch.setattr(train, "TrainConfig", other)
    after = train.build_parser().parse(words)
    assert other(output="o", data=DataConfig("p")).diffusion.noise_scale == 0.7
    assert dataclasses.asdict(after) == dataclasses.asdict(before)
