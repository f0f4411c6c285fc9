"""Optimisers compared: each draws the same goals with the same seeds; the table, curves and images that come of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from text2latent.apps.contact_sheet import contact_sheet
from text2latent.apps.optimize.curves import save_curves
from text2latent.apps.optimize.job import PERCENT, PRIOR, Amortised, Drawn
from text2latent.apps.optimize.run import Point
from text2latent.common.files import write_text
from text2latent.inference.images import save_png

TABLE, RESULTS, CURVES, GRID = "table.md", "results.json", "curves.png", "grid.png"


def mean_score(drawn: Sequence[Drawn]) -> float:
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
    """The table of CLIP similarity x 100: a row per prompt, a column per method, the best method first."""
    prompts = list(rows[0]["by_prompt"])
    lines = [
        f"CLIP similarity x 100 after {iterations} iterations, means of {num_seeds} seed{'s' * (num_seeds > 1)}.",
        "",
        f"| | prompt | {' | '.join(row['method'] for row in rows)} |",
        f"|---|---|{'---:|' * len(rows)}",
    ]
    for number, prompt in enumerate(prompts, start=1):
        cells = [f"{row['by_prompt'][prompt]:.2f}" for row in rows]
        lines.append(_line(str(number), prompt.replace("|", "\\|"), *cells))
    lines.append(_line("", "**mean**", *(f"**{row['mean']:.2f}**" for row in rows)))
    lines.append(_line("", "learning rate", *("-" if row["lr"] is None else f"{row['lr']:g}" for row in rows)))
    lines.append(_line("", "seconds per image", *(f"{row['seconds']:.3g}" for row in rows)))
    return "\n".join(lines) + "\n"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


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
    save_png(_grid(drawn, order), folder / GRID, {"Description": ", ".join(order)}, overwrite=True)
    return rows


def _grid(drawn: Sequence[Drawn], methods: Sequence[str]) -> Image.Image:
    """A row of images per method; under each the number of its prompt, its seed and its CLIP similarity x 100."""
    ranked = sorted(drawn, key=lambda one: methods.index(one.method))
    prompts = list(dict.fromkeys(one.prompt for one in drawn))
    captions = [f"{prompts.index(one.prompt) + 1}, seed {one.seed}: {PERCENT * one.score:.1f}" for one in ranked]
    return contact_sheet([one.picture for one in ranked], captions, len(drawn) // len(methods), methods)


def _curves(drawn: Sequence[Drawn], method: str) -> list[Sequence[Point]]:
    return [one.points for one in drawn if one.method == method]


def _amortised(drawn: Sequence[Drawn]) -> Amortised | None:
    points = [one.points[-1] for one in drawn if one.method == PRIOR]
    if not points:
        return None
    means = (sum(getattr(point, name) for point in points) / len(points) for name in ("clip_score", "seconds"))
    return Amortised(*means)


def _to_dict(one: Drawn) -> dict[str, Any]:
    """All but the picture and the way; fewer iterations than asked for mean that the numbers diverged."""
    last = one.points[-1]
    outcome = {"method": one.method, "prompt": one.prompt, "seed": one.seed, "score": PERCENT * one.score}
    folder = None if one.folder is None else one.folder.as_posix()
    return {**outcome, "iterations": last.iteration, "seconds": last.seconds, "folder": folder}
