"""The plot of curves shows the prior too."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from text2latent.evaluation import curves
from text2latent.evaluation.curves import save_curves
from text2latent.models.optimization.job import Amortised
from text2latent.models.optimization.run import Point


def test_curves_show_the_prior_too(tmp_path: Path) -> None:
    runs = [[Point(i, 0.1 * i, 0.1 * i, 0.5) for i in range(5)]] * 2
    save_curves({"adam": runs}, None, tmp_path / "one.png")
    save_curves({"adam": runs}, Amortised(0.9, 0.05), tmp_path / "two.png")
    one, two = (np.asarray(Image.open(tmp_path / name)) for name in ("one.png", "two.png"))
    assert one.shape == two.shape
    assert (one != two).any()


def test_means_are_of_all_runs_as_far_as_the_shortest_goes() -> None:
    runs = [[Point(i, 2.0 * i, 0.1 * i, 4.0) for i in range(3)], [Point(i, 4.0 * i, 0.3 * i, 8.0) for i in range(2)]]
    iterations, seconds, scores, losses = curves._means(runs)
    assert (iterations, seconds, losses) == ([0, 1], [0, 3], [6, 6])
    assert scores == pytest.approx([0, 20])
