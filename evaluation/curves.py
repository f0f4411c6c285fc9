"""CLIP scores of optimisation over iterations and over time, beside what the amortised prior needs."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from text2latent.models.optimization.job import Amortised
from text2latent.models.optimization.run import Point

PERCENT = 100.0


def has_plots() -> bool:
    """Whether matplotlib is there to plot with."""
    return importlib.util.find_spec("matplotlib") is not None


def save_curves(curves: Mapping[str, Sequence[Sequence[Point]]], prior: Amortised | None, output: Path) -> None:
    """Plot CLIP scores over iterations and over seconds, means of several runs, and the prior on the same axes.

    Args:
        curves: by name, one or several runs of as many iterations each.
        prior: over iterations it is a line, over seconds a point; or None.
        output: a PNG file; one that is there is replaced.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    by_iteration, by_time = figure.subplots(1, 2, sharey=True)
    for name, runs in curves.items():
        rows = list(zip(*runs, strict=False))
        scores = [PERCENT * sum(point.clip_score for point in row) / len(row) for row in rows]
        by_iteration.plot([row[0].iteration for row in rows], scores, label=name)
        by_time.plot([sum(point.seconds for point in row) / len(row) for row in rows], scores, label=name)
    if prior is not None:
        by_iteration.axhline(PERCENT * prior.clip_score, color="black", linestyle="--", label="amortised prior")
        by_time.plot([prior.seconds], [PERCENT * prior.clip_score], "k*", markersize=12, label="amortised prior")
    by_iteration.set(xlabel="iterations", ylabel="CLIP similarity x 100", title="by iterations")
    by_time.set(xlabel="seconds", title="by time")
    by_iteration.legend()
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    try:
        figure.savefig(partial, format="png", dpi=100)
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)
