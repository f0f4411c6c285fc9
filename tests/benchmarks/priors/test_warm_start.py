"""The curves of a prior that begins with another's weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from text2latent.benchmarks.priors.warm_start import SCRATCH, WARM, in_another_style, main
from text2latent.benchmarks.report import read_parts


def test_style_keeps_range_and_darkens_the_edges() -> None:
    images = torch.rand(2, 3, 16, 12) * 2 - 1
    styled = in_another_style(images)
    assert styled.shape == images.shape
    assert -1 <= styled.min() <= styled.max() <= 1
    white = in_another_style(torch.ones(1, 3, 16, 12))[0, 0]
    assert white[8, 6] > white[0, 0]


@pytest.mark.slow
def test_the_prior_of_the_faces_is_ahead_at_the_start(tmp_path: Path) -> None:
    few = ["--tune-steps", "2", "--num-pairs", "100", "--minutes", "0.02", "--num-prompts", "4"]
    file = tmp_path / "figures.json"
    assert main([*few, "--work", str(tmp_path / "work"), "--json", str(file)]) == 0
    figures = {figure.name: figure.value for figure in read_parts(file)["warm_start"]["figures"]}
    assert figures[f"{WARM}, 1 s"] > figures[f"{SCRATCH}, 1 s"] + 0.3
    assert figures["attributes that the tuned generator shows as the old one"] > 0.9
