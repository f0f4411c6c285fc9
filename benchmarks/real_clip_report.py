"""The table of a bench on embeddings of a real CLIP."""

from __future__ import annotations

from pathlib import Path

from text2latent.apps.evaluation.metrics import Estimate
from text2latent.benchmarks.priors.report import Results
from text2latent.benchmarks.tables import with_table
from text2latent.common.errors import InputError
from text2latent.common.files import replacing

NAME = "real clip"
"""What the table's place on a page is marked with."""
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
    caption = "Shares in percent; in brackets the 95 % bootstrap interval over texts and seeds."
    return "\n".join([*lines, "", f"{caption} Measured on {results.machine}, {results.date}."])


def write_page(results: Results, page: Path) -> None:
    """Write the command and the table between a page's marked lines.

    Raises:
        InputError: when the page can't be read or has no such lines.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{page}: expected a page in UTF-8: {error}") from error
    written = with_table(text, NAME, f"`{results.command}`\n\n{table(results)}")
    with replacing(page) as partial:
        partial.write_text(written, encoding="utf-8")


def _cell(estimate: Estimate | None, is_share: bool) -> str:
    if estimate is None:
        return ""
    numbers = (estimate.value, estimate.low, estimate.high)
    value, low, high = (f"{100 * number:.0f}" if is_share else f"{number:.2f}" for number in numbers)
    return f"{value} ({low} to {high})"
