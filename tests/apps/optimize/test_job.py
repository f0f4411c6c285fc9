"""Configurations turned into descents: the penalty's weight is that of the space unless one is given."""

import dataclasses
from pathlib import Path

import pytest
import torch

from text2latent.apps.optimize.job import Job
from text2latent.configs.optimization import CutoutsConfig, OptimizeConfig
from text2latent.inference.optimization.refine import Optimization

DATA = Path(__file__).resolve().parents[2] / "data"


@pytest.mark.parametrize(
    ("generator", "weight"),
    [("generators/sg3r-64.pkl", Optimization(1).distribution_weight), ("biggan", 1.0), ("dalle/decoder.pkl", 0.0)],
)
def test_each_space_has_a_weight_of_its_own(tiny_world: Path, generator: str, weight: float) -> None:
    config = OptimizeConfig(
        text="a man", generator=str(DATA / generator), clip=str(tiny_world), cutouts=CutoutsConfig(count=1)
    )
    job = Job(config)
    job.load(torch.device("cpu"))
    descent = job.make_descent(job.goals[0], 0, "adam")
    assert descent.settings.penalty_weight == weight
    job.config = dataclasses.replace(config, distribution_weight=0.5)
    assert job.make_descent(job.goals[0], 0, "adam").settings.penalty_weight == 0.5
    assert descent.step().isfinite().all()
