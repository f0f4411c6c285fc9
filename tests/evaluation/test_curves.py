"""The plot of curves shows the prior too."""

from pathlib import Path

import numpy as np
from PIL import Image

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
