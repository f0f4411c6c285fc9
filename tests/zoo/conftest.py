"""Fixtures for the tests of the faces world: the shipped judge, and renders that no fitting has seen."""

from __future__ import annotations

import numpy as np
import pytest
from torch import Tensor

from text2latent.zoo.evaluation import held_out_renders
from text2latent.zoo.judge import Judge, load_judge
from text2latent.zoo.world import load_world

FACES = load_world("faces")


@pytest.fixture(scope="session")
def judge() -> Judge:
    return load_judge(FACES)


@pytest.fixture(scope="session")
def renders() -> tuple[Tensor, np.ndarray]:
    """300 held-out renders and their value indices; read only."""
    return held_out_renders(FACES, 300)
