"""The table of a bench on embeddings of a real CLIP."""

from __future__ import annotations

from text2latent.apps.evaluation.metrics import Estimate
from text2latent.benchmarks.priors.report import Results

COLUMNS = {
    "right_sign": "right way",
    "top5": "top 5",
    "worst": "worst",
    "lift": "lift",
    "pairs_cosine": "pairs: cosine",
    "pairs_r_at_1": "pairs: R@1",
    "text_cosine": "text to image: cosine",
    "text_r_at_1": "text to image: R@1",
}
"""Figures of the table, and how it calls them."""
SHARES = {"right_sign", "top5", "pairs_r_at_1", "text_r_at_1"}


def table(results: Results) -> str:
    """A line per recipe, each figure with its 95 % interval; shares in percent."""
    names = [name for name in COLUMNS if any(name in row.figures for row in results.rows)]
    lines = ["| " + " | ".join(["recipe", *(COLUMNS[name] for name in names)]) + " |", "|---" * (len(names) + 1) + "|"]
    for group in dict.fromkeys(row.group for row in results.rows):
        lines.append(f"| **{group}** " + "| " * len(names) + "|")
        for row in results.rows:
            if row.group == group:
                cells = [_cell(row.figures.get(name), name in SHARES) for name in names]
                lines.append("| " + " | ".join([row.name, *cells]) + " |")
    told = "Shares in percent; in brackets the 95 % bootstrap interval over texts and seeds."
    return "\n".join([*lines, "", f"{told} Measured on {results.machine}, {results.date}."])


def _cell(estimate: Estimate | None, is_share: bool) -> str:
    if estimate is None:
        return ""
    numbers = (estimate.value, estimate.low, estimate.high)
    value, low, high = (f"{100 * number:.0f}" if is_share else f"{number:.2f}" for number in numbers)
    return f"{value} ({low} to {high})"
