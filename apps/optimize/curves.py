"""CLIP scores of optimisation over iterations and over time, beside what the amortised prior needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from text2latent.apps.optimize.job import PERCENT, Amortised
from text2latent.apps.optimize.run import Point
from text2latent.common.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HIGH_LOSS = 3.0
"""Only the penalty can lift a loss above it, and may by powers of ten; these are drawn on a logarithmic scale."""


def has_plots() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def save_curves(curves: Mapping[str, Sequence[Sequence[Point]]], prior: Amortised | None, output: Path) -> None:
    """Write the plot of `plot_curves` as a PNG file; one that is there is replaced."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = plot_curves(curves, prior)
    FigureCanvasAgg(figure)
    _save(figure, output)


def plot_curves(curves: Mapping[str, Sequence[Sequence[Point]]], prior: Amortised | None) -> Figure:
    """Plot CLIP scores over iterations and over seconds, and losses, means of several runs; the prior on the same axes.

    Args:
        curves: by name, one or several runs; of runs of different lengths the shortest counts.
        prior: over iterations it is a line, over seconds a point; or None.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.2), layout="constrained")
    by_iteration, by_time, losses = figure.subplots(1, 3)
    by_time.sharey(by_iteration)
    for name, runs in curves.items():
        iterations, seconds, scores, loss = _means(runs)
        by_iteration.plot(iterations, scores, label=name)
        by_time.plot(seconds, scores, label=name)
        losses.plot(iterations, loss, label=name)
    if prior is not None:
        by_iteration.axhline(PERCENT * prior.clip_score, color="black", linestyle="--", label="amortised prior")
        by_time.plot([prior.seconds], [PERCENT * prior.clip_score], "k*", markersize=12, label="amortised prior")
    by_iteration.set(xlabel="iterations", ylabel="CLIP similarity x 100", title="Similarity by iterations")
    by_time.set(xlabel="seconds", title="Similarity by time", xscale="log")
    losses.set(xlabel="iterations", ylabel="loss", title="Loss on cutouts, penalty included")
    if losses.get_ylim()[1] > HIGH_LOSS:
        losses.set_yscale("symlog", linthresh=HIGH_LOSS)
    for axes in (by_iteration, by_time):
        axes.legend()
    return figure


def _means(runs: Sequence[Sequence[Point]]) -> tuple[list[float], ...]:
    """Iterations, seconds, CLIP scores x 100 and losses, each the mean of several runs."""
    rows = list(zip(*runs, strict=False))

    def mean(name: str) -> list[float]:
        return [sum(getattr(point, name) for point in row) / len(row) for row in rows]

    return mean("iteration"), mean("seconds"), [PERCENT * score for score in mean("clip_score")], mean("loss")


def _save(figure: Figure, output: Path) -> None:
    with replacing(output) as partial:
        figure.savefig(partial, format="png", dpi=100)
