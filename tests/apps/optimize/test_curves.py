"""The plot of curves, by what stands on its axes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from text2latent.apps.optimize import curves
from text2latent.apps.optimize.curves import plot_curves, save_curves
from text2latent.apps.optimize.job import Amortised
from text2latent.apps.optimize.run import Point

RUN = [Point(i, 0.1 * i + 0.2, 0.1 * i, 0.5) for i in range(5)]


def test_the_prior_is_one_point_at_its_time_on_the_axes_of_the_curves() -> None:
    by_iteration, by_time, losses = plot_curves({"adam": [RUN] * 2}, Amortised(0.9, 0.05)).axes
    curve, point = (line.get_xydata() for line in by_time.lines)
    np.testing.assert_allclose(curve, [(0.1 * i + 0.2, 10 * i) for i in range(5)])
    np.testing.assert_allclose(point, [(0.05, 90)])
    assert [line.get_label() for line in by_iteration.lines] == ["adam", "amortised prior"]
    assert set(by_iteration.lines[1].get_ydata()) == {90}
    assert len(losses.lines) == 1
    assert [len(axes.lines) for axes in plot_curves({"adam": [RUN]}, None).axes] == [1, 1, 1]


def test_losses_that_run_away_leave_the_others_to_be_seen() -> None:
    far = [Point(i, 1.0, 0.0, 10.0**i) for i in range(20)]
    plain, mixed = (plot_curves(runs, None).axes[2] for runs in ({"adam": [RUN]}, {"adam": [RUN], "sgd": [far]}))
    assert plain.get_yscale() == "linear"
    bottom, middle, top = (mixed.transData.transform((0, loss))[1] for loss in (0.0, 0.5, 1e19))
    assert middle - bottom > 0.002 * (top - bottom)


def test_plots_are_pictures(tmp_path: Path) -> None:
    (tmp_path / "curves.png").write_text("old")
    save_curves({"adam": [RUN]}, Amortised(0.9, 0.05), tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").size == (1500, 420)
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]


def test_means_are_of_all_runs_as_far_as_the_shortest_goes() -> None:
    runs = [[Point(i, 2.0 * i, 0.1 * i, 4.0) for i in range(3)], [Point(i, 4.0 * i, 0.3 * i, 8.0) for i in range(2)]]
    iterations, seconds, scores, losses = curves._means(runs)
    assert (iterations, seconds, losses) == ([0, 1], [0, 3], [6, 6])
    assert scores == pytest.approx([0, 20])
