"""Optimisers compared: each draws the same goals with the same seeds; the table, curves and images that come of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from text2latent.evaluation.curves import PERCENT, save_curves
from text2latent.models.images import make_grid, save_png
from text2latent.models.optimization.job import PRIOR, Amortised, Drawn
from text2latent.models.optimization.run import Point
from text2latent.models.run_folder import write_text

TABLE, RESULTS, CURVES, GRID = "table.md", "results.json", "curves.png", "grid.png"


def mean_score(drawn: Sequence[Drawn]) -> float:
    """Mean CLIP similarity x 100."""
    return sum(PERCENT * one.score for one in drawn) / len(drawn)


def summarize(drawn: Sequence[Drawn], rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """A row per method, the best first: its learning rate, mean scores by prompt and in all, and mean seconds."""
    methods, prompts = (list(dict.fromkeys(getattr(one, name) for one in drawn)) for name in ("method", "prompt"))
    rows = []
    for method in methods:
        mine = [one for one in drawn if one.method == method]
        row: dict[str, Any] = {"method": method, "lr": rates.get(method), "mean": mean_score(mine)}
        row["seconds"] = sum(one.points[-1].seconds for one in mine) / len(mine)
        row["by_prompt"] = {prompt: mean_score([one for one in mine if one.prompt == prompt]) for prompt in prompts}
        rows.append(row)
    return sorted(rows, key=lambda row: row["mean"], reverse=True)


def to_markdown(rows: Sequence[Mapping[str, Any]], iterations: int, num_seeds: int) -> str:
    """The table of CLIP similarity x 100 by prompt and method."""
    prompts = list(rows[0]["by_prompt"])
    lines = [
        f"CLIP similarity x 100 after {iterations} iterations, means of {num_seeds} seed{'s' * (num_seeds > 1)}.",
        "",
        f"| method | learning rate | {' | '.join(prompt.replace('|', '/') for prompt in prompts)} | mean | seconds |",
        f"|---|---:|{'---:|' * len(prompts)}---:|---:|",
    ]
    for row in rows:
        scores = [*(row["by_prompt"][prompt] for prompt in prompts), row["mean"]]
        rate = "-" if row["lr"] is None else f"{row['lr']:g}"
        cells = " | ".join(f"{score:.2f}" for score in scores)
        lines.append(f"| {row['method']} | {rate} | {cells} | {row['seconds']:.3g} |")
    return "\n".join(lines) + "\n"


def save_study(
    drawn: Sequence[Drawn], rates: Mapping[str, float], description: Mapping[str, Any], folder: Path
) -> list[dict[str, Any]]:
    """Write the table, the results as JSON, the plot of the curves and the grid of images; returns the table's rows.

    Args:
        drawn: all images, each method's prompts and seeds in the same order.
        rates: learning rates of the optimisers.
        description: settings and identities, JSON-ready.
        folder: where; files that are there are replaced.
    """
    rows = summarize(drawn, rates)
    optimised = [one for one in drawn if one.method != PRIOR]
    num_seeds = len({one.seed for one in drawn})
    iterations = max(one.points[-1].iteration for one in optimised)
    write_text(folder / TABLE, to_markdown(rows, iterations, num_seeds))
    everything = {**description, "rows": rows, "images": [_to_dict(one) for one in drawn]}
    write_text(folder / RESULTS, json.dumps(everything, indent=1, ensure_ascii=False) + "\n")
    curves = {row["method"]: _curves(drawn, row["method"]) for row in rows if row["method"] != PRIOR}
    save_curves(curves, _amortised(drawn), folder / CURVES)
    order = [row["method"] for row in rows]
    ranked = sorted(drawn, key=lambda one: order.index(one.method))
    columns = len(drawn) // len(order)
    save_png(make_grid([one.picture for one in ranked], columns), folder / GRID, _caption(ranked), overwrite=True)
    return rows


def _curves(drawn: Sequence[Drawn], method: str) -> list[Sequence[Point]]:
    return [one.points for one in drawn if one.method == method]


def _amortised(drawn: Sequence[Drawn]) -> Amortised | None:
    points = [one.points[-1] for one in drawn if one.method == PRIOR]
    if not points:
        return None
    means = (sum(getattr(point, name) for point in points) / len(points) for name in ("clip_score", "seconds"))
    return Amortised(*means)


def _to_dict(one: Drawn) -> dict[str, Any]:
    """All but the picture and the way; fewer iterations than asked for tell that the numbers ran away."""
    last = one.points[-1]
    told = {"method": one.method, "prompt": one.prompt, "seed": one.seed, "score": PERCENT * one.score}
    return {**told, "iterations": last.iteration, "seconds": last.seconds}


def _caption(ranked: Sequence[Drawn]) -> dict[str, str]:
    rows = dict.fromkeys(one.method for one in ranked)
    return {"Description": f"rows: {', '.join(rows)}; columns: prompts and their seeds"}
