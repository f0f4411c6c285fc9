"""A diagnosis as a picture: where images and texts lie, as they are and as the prior sees them, and what fits texts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from text2latent.apps.evaluation.alignment import principal_components
from text2latent.apps.evaluation.diagnosis import Diagnosis, Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

Show = Callable[[NDArray[np.int64]], "list[Image.Image]"]
"""Gives the pictures of images by their numbers."""
SHOWN_TEXTS = 6
SHOWN_IMAGES = 4
MAX_POINTS = 2000


def save_picture(subject: Subject, diagnosis: Diagnosis, show: Show | None, output: Path) -> None:
    """Write the picture as PNG, whole or not at all.

    Args:
        subject, diagnosis: what was found of what.
        show: gives the pictures of the images that fit the first texts best; None leaves them out.
        output: where to; what is there is replaced.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = _draw(subject, diagnosis, show)
    FigureCanvasAgg(figure)
    partial = output.with_name(f"{output.name}.part")
    try:
        figure.savefig(partial, format="png", dpi=110)
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)


def _draw(subject: Subject, diagnosis: Diagnosis, show: Show | None) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5 if show is None else 9.5), layout="constrained")
    maps: Any = figure
    sheet: Any = None
    if show is not None:
        parts: Any = figure.subfigures(2, 1, height_ratios=[1.1, 1])
        maps, sheet = parts
    left, right = maps.subplots(1, 2)
    _map_gap(left, subject)
    _map_conditions(right, subject)
    if sheet is not None and show is not None:
        texts = min(SHOWN_TEXTS, len(subject.prompts))
        axes = sheet.subplots(SHOWN_IMAGES, texts, squeeze=False)
        sheet.suptitle(f"What fits texts 1 to {texts} best, as the prior sees them", fontsize=11)
        for column in range(texts):
            pictures = show(diagnosis.conditions.best[column, :SHOWN_IMAGES])
            axes[0, column].set_title(str(column + 1), fontsize=9)
            for axis in axes[:, column]:
                axis.set_axis_off()
            for axis, picture in zip(axes[:, column], pictures, strict=False):
                axis.imshow(np.asarray(picture))
    return figure


def _map_gap(axes: Axes, subject: Subject) -> None:
    """Across: from the mean image to the mean text. Up: what images differ in most, beside that."""
    images, general, texts = (part.astype(np.float64) for part in (subject.images, subject.general, subject.texts))
    across = general.mean(axis=0) - images.mean(axis=0)
    across /= max(float(np.linalg.norm(across)), 1e-12)
    up = _beside(principal_components(images)[1][:, 0], across)
    _scatter(axes, [part @ np.stack([across, up], axis=1) for part in (images, general, texts)])
    axes.set(title="As they are", xlabel="from the mean image to the mean text", ylabel="what images differ in most")


def _map_conditions(axes: Axes, subject: Subject) -> None:
    images, texts = subject.image_conditions.astype(np.float64), subject.text_conditions.astype(np.float64)
    plane = principal_components(images)[1][:, :2]
    _scatter(axes, [images @ plane, np.empty((0, 2)), texts @ plane])
    axes.set(title="As the prior sees them", xlabel="what images differ in most", ylabel="... and next")


def _beside(direction: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """The part of a direction that is orthogonal to another of unit length."""
    rest = direction - (direction @ other) * other
    return rest / max(float(np.linalg.norm(rest)), 1e-12)


def _scatter(axes: Axes, parts: list[NDArray[np.float64]]) -> None:
    styles: list[dict[str, Any]] = [
        {"label": "images", "s": 6, "color": "tab:blue", "alpha": 0.4},
        {"label": "general texts", "s": 6, "color": "tab:gray", "alpha": 0.4},
        {"label": "your texts", "s": 22, "color": "tab:red", "edgecolors": "white", "linewidths": 0.5},
    ]
    for points, style in zip(parts, styles, strict=True):
        if len(points):
            axes.scatter(*points[:MAX_POINTS].T, **style)
    for number, point in enumerate(parts[2][:SHOWN_TEXTS], start=1):
        axes.annotate(str(number), tuple(point), xytext=(4, 3), textcoords="offset points", fontsize=8)
    axes.legend(loc="best", fontsize=8)
