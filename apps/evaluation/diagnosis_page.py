"""A diagnosis as a page of text."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence

from text2latent.apps.evaluation.diagnosis import BEST_IMAGES, Diagnosis, Subject

WIDTH = 100
NUMBER_COLUMN = 58
SHOWN_TEXTS = 24
SHOWN_CHARACTERS = 44
PHOTOGRAPHS = {
    "image_cosine": ".53 to .57",
    "text_cosine": ".52 to .74",
    "gap": ".85 to .96",
    "cosine": ".16 to .19",
    "cosine_std": ".014 to .043",
    "best_cosine": ".24 to .32",
    "components": "99 to 137 of 512",
    "spread_ratio": ".10 to .53",
}
"""OpenAI's ViT-B/32 on 1000 faces of CelebA and 1203 names of things, ViT-B/16 on 500 captioned photographs of COCO."""


def page(subject: Subject, diagnosis: Diagnosis) -> str:
    """All that was found, on one page."""
    parts = [_head(subject), _statistics(diagnosis), _landings(subject, diagnosis), _texts(subject, diagnosis)]
    return "\n\n".join([*parts, _advice(diagnosis)])


def _head(subject: Subject) -> str:
    looked_at = f"{len(subject.images)} of {subject.num_pairs} images"
    return f"{subject.name}\n{looked_at}, {len(subject.prompts)} texts of yours, {len(subject.general)} general ones"


def _statistics(diagnosis: Diagnosis) -> str:
    found = diagnosis.alignment
    rows = [
        ("cosine of two images", _number(found.image_cosine), "image_cosine"),
        ("cosine of two general texts", _number(found.text_cosine), "text_cosine"),
        ("distance of the mean image and the mean text", _number(found.gap), "gap"),
        ("cosine of a text and an image", _number(found.cosine), "cosine"),
        ("  how much that varies among images", _number(found.cosine_std), "cosine_std"),
        ("  of the image that fits best", _number(found.best_cosine), "best_cosine"),
        ("components that hold 90 % of the images' variance", _of(found.components, found.embedding_dim), "components"),
        ("spread of texts over images, main components", _number(found.spread_ratio), "spread_ratio"),
    ]
    return _table(
        ("How texts and images lie", "here", "photographs"),
        [(name, value, PHOTOGRAPHS[key]) for name, value, key in rows],
    )


def _landings(subject: Subject, diagnosis: Diagnosis) -> str:
    raw, seen, count = diagnosis.raw, diagnosis.conditions, len(subject.prompts)
    rows = [
        ("distance from the mean image (images: 1)", f"{raw.distance:.2f}", f"{seen.distance:.2f}"),
        ("different images that are nearest to a text", _of(raw.nearest, count), _of(seen.nearest, count)),
        ("most texts with one nearest image", _of(raw.crowd, count), _of(seen.crowd, count)),
        ("cosine of two of your texts", _number(raw.text_cosine), _number(seen.text_cosine)),
        (
            f"share of a text's {BEST_IMAGES} best images that prefer it",
            _number(raw.seen.mean()),
            _number(seen.seen.mean()),
        ),
    ]
    after = "as the prior sees them" if subject.corrected else "as the prior sees them (the same)"
    return _table(("Where your texts land among the images", "as they are", after), rows)


def _texts(subject: Subject, diagnosis: Diagnosis) -> str:
    rows = [
        (f"{number:3} {_cut(text)}", _number(before), _number(after))
        for number, (text, before, after) in enumerate(
            zip(subject.prompts, diagnosis.raw.seen, diagnosis.conditions.seen, strict=True), start=1
        )
    ]
    more = [(f"    ... and {len(rows) - SHOWN_TEXTS} more", "", "")] if len(rows) > SHOWN_TEXTS else []
    return _table(("Zero-shot: best images that prefer the text", "as they are", "seen"), rows[:SHOWN_TEXTS] + more)


def _advice(diagnosis: Diagnosis) -> str:
    lines = diagnosis.advice or ["Nothing that stands out."]
    wrapped = [textwrap.fill(line, WIDTH, initial_indent="  - ", subsequent_indent="    ") for line in lines]
    return "\n".join(["What to change", *wrapped])


def _table(head: tuple[str, str, str], rows: Sequence[tuple[str, str, str]]) -> str:
    lines = [(head[0], *head[1:]), *((f"  {name}", *values) for name, *values in rows)]
    return "\n".join(f"{_padded(name, NUMBER_COLUMN)}{values[0]:<14}{values[1]}".rstrip() for name, *values in lines)


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 0.1 else f"{value:.2f}"


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole}"


def _cut(text: str) -> str:
    while _columns(text) > SHOWN_CHARACTERS:
        text = text.removesuffix("...")[:-1] + "..."
    return text


def _padded(text: str, width: int) -> str:
    return text + " " * max(width - _columns(text), 1)


def _columns(text: str) -> int:
    """Width in a terminal, where most East Asian characters take two columns."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
