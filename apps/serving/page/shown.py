"""Results as Gradio's components take them: pictures with captions, files, lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradio.utils import get_upload_folder

from text2latent.apps.serving import visitor_files
from text2latent.apps.serving.page.texts import both

if TYPE_CHECKING:
    from text2latent.apps.serving.results import ServedImage
    from text2latent.inference.domain import DomainScore

MISSING = "–"


def cards(images: Sequence[ServedImage]) -> list[tuple[str, str]]:
    """A gallery's items: PNG files that say how they were made, and captions."""
    return [(png_file(image), caption(image)) for image in images]


def caption(image: ServedImage) -> str:
    """CLIP score, seed and time of an image."""
    return f"CLIP {score(image)} · seed {image.seed} · {duration(image.seconds)}"


def score(image: ServedImage) -> str:
    """An image's CLIP score to two digits."""
    return MISSING if image.clip_score is None else f"{image.clip_score:.2f}"


def duration(seconds: float) -> str:
    """A time in milliseconds below a second, else in seconds."""
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def png_file(image: ServedImage) -> str:
    """Path of an image's PNG file, metadata included."""
    return keep(image.png(), f"{image.stem}.png")


def keep(data: bytes, name: str) -> str:
    """Write a file into Gradio's folder, where it is removed when it is old; returns its path."""
    return str(visitor_files.keep(data, name, get_upload_folder()))


def notice(text: str = "", outside: DomainScore | None = None) -> str:
    """HTML of what is said of a result; a warning where the prompt is out of the model's domain."""
    if outside is not None and outside.is_outside:
        numbers = f"{outside.percentile:.1f} / {outside.threshold:.1f}"
        return _notice(f"{both('outside')} <small>{both('domain_score')} {numbers}</small>", "t2l-warning")
    return _notice(text)


def _notice(content: str, further: str = "") -> str:
    return f'<div class="t2l-notice {further}" role="status" aria-live="polite">{content}</div>'


def took(count: int, seconds: float) -> str:
    """How many pictures came in what time."""
    return f"{count} {both('pictures' if count != 1 else 'one_picture')}, {duration(seconds)}"
