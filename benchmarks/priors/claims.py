"""What a comparison of priors is to show, each as a figure beside its target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from text2latent.benchmarks.priors.report import Row
from text2latent.benchmarks.report import Figure
from text2latent.inference.settings import DEFAULT_STEPS

RERANK, REFINE, FEW_STEPS, MANY_STEPS, COMPARED_STEPS = 8, 20, 2, 32, 100
RANDOM = "random latents"
SIMPLE, WITHOUT_DIFFUSION, OPTIMISATION, PAPER = (
    "without training",
    "without diffusion",
    "optimisation",
    "clip2latent's recipe",
)
"""Groups of rivals."""

Curve = Sequence[Mapping[str, float]]


def count_steps(steps: int) -> str:
    """A number of steps in words."""
    return f"{steps} step{'s' if steps > 1 else ''}"


OURS = f"ours, {count_steps(DEFAULT_STEPS)}"
REFINED = f"{OURS}, refine {REFINE}"
TIME_OF_REFINING = f"time of refine {REFINE} over that of"
PAPER_SLOW = f"paper's recipe, {count_steps(COMPARED_STEPS)}"


def claims(rows: Sequence[Row], curves: Mapping[str, Curve], alone: Mapping[str, float]) -> list[Figure]:
    """All that is promised of our prior.

    Args:
        rows: of the comparison.
        curves: accuracy by seconds trained, of `ours` and of the `paper's recipe`.
        alone: seconds for an image that is drawn alone, by the rows' names.
    """
    by_name = {row.name: row for row in rows}
    return [
        *_accuracy(rows, by_name[OURS]),
        _ratio("diversity over that of the paper's recipe", by_name[OURS], by_name[PAPER_SLOW], "diversity", 0.9),
        *_few_steps(by_name),
        *_speed(by_name, alone),
        *(claim for row in _longest(rows) for claim in _refining(by_name[REFINED], row)),
        Figure(
            "training time to the paper's recipe's final accuracy, over its own", _time_share(curves), "", 0.1, True
        ),
    ]


def _accuracy(rows: Sequence[Row], ours: Row) -> list[Figure]:
    """How far our interval of named attributes lies above those of the rivals, in points."""
    groups = (SIMPLE, WITHOUT_DIFFUSION, PAPER)
    return [lead(ours, row) for row in rows if row.group in groups and row.name != RANDOM]


def lead(ours: Row, rival: Row) -> Figure:
    """How far our interval of named attributes lies above a rival's, in points; above 0 where they don't overlap."""
    points = 100 * (ours.figures["named"].low - rival.figures["named"].high)
    return Figure(f"named attributes, the low end of ours less the high end of {rival.name}", points, "points", 0.0)


def _few_steps(by_name: Mapping[str, Row]) -> list[Figure]:
    many = by_name[f"ours, {count_steps(MANY_STEPS)}"].figures["named"].value
    few = [by_name[f"{kind}, {count_steps(FEW_STEPS)}"] for kind in ("ours", "distilled")]
    name = f"named attributes, ours in {MANY_STEPS} steps less"
    return [
        Figure(f"{name} {row.name}", 100 * (many - row.figures["named"].value), "points", 1.0, at_most=True)
        for row in few
    ]


def _speed(by_name: Mapping[str, Row], alone: Mapping[str, float]) -> list[Figure]:
    what = f"speed over the paper's recipe in {COMPARED_STEPS} steps"
    ours, paper = by_name[OURS], by_name[PAPER_SLOW]
    return [
        _ratio(f"{what}, from the text's embedding to the latent", paper, ours, "latent_seconds", 20.0),
        Figure(f"{what}, from text to image, one alone", alone[PAPER_SLOW] / alone[OURS], target=20.0),
        _ratio(f"{what}, from text to image, many together", paper, ours, "seconds", 20.0),
    ]


def _ratio(name: str, one: Row, other: Row, figure: str, target: float) -> Figure:
    return Figure(name, one.figures[figure].value / other.figures[figure].value, target=target)


def _longest(rows: Sequence[Row]) -> Sequence[Row]:
    """Optimisation in most steps, with one start and with several."""
    return [row for row in rows if row.group == OPTIMISATION][-2:]


def _refining(refined: Row, row: Row) -> list[Figure]:
    """Our refined prior against optimisation, on the prompts that both drew."""
    gained = refined.subset["named"].value - row.figures["named"].value
    share = refined.figures["seconds"].value / row.figures["seconds"].value
    return [
        Figure(f"named attributes, refine {REFINE} less {row.name}", 100 * gained, "points", target=0.0),
        Figure(f"{TIME_OF_REFINING} {row.name}", share, "", 0.05, at_most=True),
    ]


def _time_share(curves: Mapping[str, Curve]) -> float:
    """Our seconds until the paper's recipe's final accuracy, over its seconds; infinite if that isn't reached."""
    final = curves["paper's recipe"][-1]
    reached = [point["seconds"] for point in curves["ours"] if point["value"] >= final["value"]]
    return reached[0] / final["seconds"] if reached else math.inf
