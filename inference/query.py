"""What an image is to show: a text, an image, or both. Importing this is quick: it needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from text2latent.common.errors import UsageError
from text2latent.inference.prompts import Prompt, WeightedText, parts_of
from text2latent.inference.settings import DEFAULT_IMAGE_WEIGHT, require_fraction

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Query:
    """What an image is to show: a text, an image, or both, and perhaps a text that says what not.

    Texts are checked and taken apart here, and nowhere else on their way to the prior.

    Attributes:
        text: a prompt, see `text2latent.inference.prompts`, without surrounding whitespace; or None.
        image: a picture, a file, or a tensor `[3, H, W]` in [-1, 1]; or None.
        image_weight: share of the image in [0, 1] where there is a text too; the text has the rest.
        negative: a prompt for what the image is not to show; or None.
        name: what files and reports call the query; None takes text and file name.

    Raises:
        UsageError: for an unusable text, neither text nor image, or a weight out of range.
    """

    text: str | None = None
    image: Image.Image | Tensor | Path | None = None
    image_weight: float = DEFAULT_IMAGE_WEIGHT
    negative: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.text is None and self.image is None:
            raise UsageError("prompt: expected a text, an image or both, got neither")
        require_fraction("image_weight", self.image_weight)
        for name in ("text", "negative"):
            if (text := getattr(self, name)) is not None:
                object.__setattr__(self, name, Prompt(text))

    @property
    def parts(self) -> tuple[WeightedText, ...]:
        """What the text consists of; empty without one."""
        return () if self.text is None else parts_of(self.text)

    @property
    def negative_parts(self) -> tuple[WeightedText, ...]:
        """What `negative` consists of; empty without one."""
        return () if self.negative is None else parts_of(self.negative)

    @property
    def label(self) -> str:
        """What names of files, captions and reports call the query: its text and the file name of its image."""
        named = self.image.stem if isinstance(self.image, Path) else None
        return self.name or " + ".join(part for part in (self.text, named) if part) or "image"

    @property
    def text_weight(self) -> float:
        if self.text is None or self.image is None:
            return float(self.text is not None)
        return 1 - self.image_weight


def make_queries(
    prompts: Sequence[str] | None,
    images: Sequence[Image.Image | Tensor] | None,
    negatives: Sequence[str] | None,
    image_weight: float = DEFAULT_IMAGE_WEIGHT,
) -> list[Query]:
    """Pair prompts, images and negative prompts up; of each there may be one for all.

    Raises:
        UsageError: when their numbers don't fit, or a query is unusable.
    """
    count = max(len(part) for part in (prompts, images) if part is not None) if prompts or images else 0
    if not count:
        raise UsageError("prompt: expected at least one text or image, got none")
    columns = [
        _spread(name, part, count)
        for name, part in (("prompt", prompts), ("image", images), ("negative_prompt", negatives))
    ]
    return [Query(text, image, image_weight, negative) for text, image, negative in zip(*columns, strict=True)]


def _spread(name: str, values: Sequence | None, count: int) -> Sequence:
    if values is None:
        return [None] * count
    if len(values) not in (1, count):
        raise UsageError(f"{name}: expected one, or {count} as the prompts and images, got {len(values)}")
    return list(values) * (count // len(values))
