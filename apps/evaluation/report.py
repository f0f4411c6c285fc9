"""The numbers of an evaluation as a Markdown table and as plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from text2latent.common.extras import require_extra
from text2latent.common.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEANINGS = {
    "attribute_accuracy": "wanted attributes that are there",
    "prompt_accuracy": "images with all that is wanted",
    "clip_score": "cosine of image and prompt",
    "r_precision_1": "images whose prompt is CLIP's first choice",
    "r_precision_10": "images whose prompt is among CLIP's first ten",
    "diversity": "mean cosine distance of a prompt's images",
    "frechet_distance": "to the generator's own images, in CLIP space; lower is better",
    "precision": "images near the generator's own",
    "recall": "of the generator's own, those near an image",
    "density": "how crowded the images' places are with the generator's own",
    "coverage": "of the generator's own, those with an image near",
    "out_of_domain_rate": "prompts beyond what the model draws",
    "seconds_per_image": "time to draw, CLIP included",
}
NONE = "-"


def to_markdown(metrics: Mapping[str, Any]) -> str:
    """A table of all averages with their intervals, and one of attributes where there are any."""
    settings = ", ".join(f"{name} {value}" for name, value in metrics["settings"].items())
    lines = [
        f"# {metrics['model']['name'] if metrics['model'] else 'model'}",
        "",
        f"{metrics['num_prompts']} prompts, {metrics['num_images_per_prompt']} images of each; {settings}. In brackets "
        "95 % bootstrap intervals, prompts (of recall and coverage the generator's own images) being drawn anew.",
        "",
        "| measure | value | | what it is |",
        "|---|---:|---|---|",
    ]
    for name, meaning in MEANINGS.items():
        shown = _range(metrics["intervals"].get(name))
        lines.append(f"| {name} | {_shown(metrics[name])} | {shown} | {meaning} |")
    if metrics["by_attribute"]:
        lines += ["", "| attribute | share of images in which it is as wanted | |", "|---|---:|---|"]
        intervals = metrics["attribute_intervals"]
        lines += [
            f"| {name} | {_shown(x)} | {_range(intervals.get(name))} |" for name, x in metrics["by_attribute"].items()
        ]
    return "\n".join(lines) + "\n"


def _range(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"[{interval[0]:.4g}, {interval[1]:.4g}]"


def _shown(value: float | None) -> str:
    return NONE if value is None else f"{value:.4g}"


def require_plots(what: str = "evaluate") -> None:
    """Refuse to go on without matplotlib, which a verb or flag needs.

    Raises:
        InputError: with what to install.
    """
    require_extra(what, "evaluate", ["matplotlib"])


def save_plots(metrics: Mapping[str, Any], drawn: ArrayLike, own: ArrayLike, file: Path) -> None:
    """Write a PNG with what is found of each attribute, the CLIP scores, and both kinds of images in CLIP space.

    Args:
        metrics: see `summary.summarize`.
        drawn: `[N, E]`, embeddings of the drawn images.
        own: `[M, E]`, embeddings of the generator's own.
        file: where; a file that is there is replaced.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    shares, scores, places = figure.subplots(1, 3)
    _plot_shares(shares, metrics)
    _plot_scores(scores, metrics)
    _plot_places(places, np.asarray(drawn, dtype=np.float64), np.asarray(own, dtype=np.float64))
    with replacing(file) as partial:
        figure.savefig(partial, format="png", dpi=100)


def _plot_shares(axes: Axes, metrics: Mapping[str, Any]) -> None:
    """Shares with their intervals, and those of attributes."""
    shares = ("attribute_accuracy", "prompt_accuracy", "r_precision_1", "r_precision_10")
    means = {name: metrics[name] for name in shares if metrics[name] is not None}
    _plot_bars(axes, means, metrics["intervals"], "tab:blue")
    _plot_bars(axes, metrics["by_attribute"], metrics["attribute_intervals"], "tab:green")
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share of images", title="What is asked for and there")


def _plot_bars(axes: Axes, means: Mapping[str, float], intervals: Mapping[str, Sequence[float]], color: str) -> None:
    ends = np.array([intervals[name] for name in means]).reshape(-1, 2).T
    errors = np.abs(ends - np.array(list(means.values())))
    names = [name.replace("_", " ") for name in means]
    axes.barh(names, list(means.values()), xerr=errors, color=color, capsize=3)


def _plot_scores(axes: Axes, metrics: Mapping[str, Any]) -> None:
    axes.hist([image["clip_score"] for image in metrics["images"]], bins=30, color="tab:blue")
    axes.locator_params(axis="x", nbins=6)
    axes.axvline(metrics["clip_score"], color="black", linestyle="--", label="mean")
    axes.legend()
    axes.set(xlabel="cosine of image and prompt", ylabel="images", title="CLIP scores")


def _plot_places(axes: Axes, drawn: np.ndarray, own: np.ndarray) -> None:
    """Both sets along the two directions in which the generator's own images differ most."""
    mean = own.mean(axis=0)
    directions = np.linalg.svd(own - mean, full_matrices=False)[2][:2]
    for name, rows, color in (("the generator's own", own, "tab:gray"), ("of the prompts", drawn, "tab:blue")):
        across, up = ((rows - mean) @ directions.T).T
        axes.scatter(across, up, s=6, alpha=0.5, color=color, label=name)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, -0.3), ncols=2, frameon=False)
    axes.set(xlabel="first principal component", ylabel="second", title="Images in CLIP space")
