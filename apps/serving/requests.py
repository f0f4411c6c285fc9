"""What can be asked of the engine. Every value is checked against the server's limits before anything is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from text2latent.common.errors import UsageError
from text2latent.inference.prompts import Prompt
from text2latent.inference.query import Query
from text2latent.inference.settings import (
    DEFAULT_IMAGE_WEIGHT,
    DEFAULT_STEPS,
    MAX_SEED,
    Settings,
    choose_guidance_scale,
    require_count,
    require_fraction,
)

if TYPE_CHECKING:
    from PIL import Image

    from text2latent.apps.serving.limits import Limits


@dataclass(frozen=True, eq=False)
class DrawRequest:
    """Images of a text, variations of an image, or both mixed.

    Attributes:
        prompt: a text, perhaps weighted, see `text2latent.inference.prompts`; None with an image alone.
        model: a name that the engine lists; None takes its first.
        n: images.
        seed: of the first image, the next ones count up; None draws one, which the result has.
        guidance_scale: None takes the default, which depends on whether there is a negative prompt.
        steps: sampling steps.
        truncation: psi; below 1 moves images towards the generator's average one.
        negative_prompt: what not to show; None or blank is none.
        rerank: candidates per image, of which CLIP's favourite is kept.
        image: a picture to vary; None is none.
        image_weight: share of the image in [0, 1] where there is a prompt too.
        image_name: what labels, file names and commands call the image.
    """

    prompt: str | None = None
    model: str | None = None
    n: int = 1
    seed: int | None = None
    guidance_scale: float | None = None
    steps: int = DEFAULT_STEPS
    truncation: float = 1.0
    negative_prompt: str | None = None
    rerank: int = 1
    image: Image.Image | None = None
    image_weight: float = DEFAULT_IMAGE_WEIGHT
    image_name: str = "image"

    @property
    def negative(self) -> str | None:
        return self.negative_prompt if self.negative_prompt and self.negative_prompt.strip() else None

    @property
    def label(self) -> str:
        named = None if self.image is None else self.image_name
        return " + ".join(part for part in (self.prompt and self.prompt.strip(), named) if part)

    @cached_property
    def query(self) -> Query:
        """What an image is to show, as the pipeline takes it; made, and its texts checked, when it is first asked for.

        Raises:
            UsageError: naming the field, what came and what was expected.
        """
        if self.prompt is None and self.image is None:
            raise UsageError("prompt: expected a text, got none")
        text = None if self.prompt is None else read_text("prompt", self.prompt)
        return Query(text, self.image, self.image_weight, self.read_negative(), self.label)

    def read_negative(self) -> Prompt | None:
        """The negative prompt, checked, if there is one; errors are as for `query`."""
        return None if self.negative is None else read_text("negative_prompt", self.negative)

    def settings(self, batch_size: int) -> Settings:
        """How an image is drawn, as the pipeline takes it."""
        scale = choose_guidance_scale(self.guidance_scale, self.negative is not None)
        return Settings(self.steps, scale, self.truncation, self.rerank, batch_size)

    def check(self, limits: Limits) -> None:
        """Refuse what is unusable or beyond the limits.

        Raises:
            UsageError: naming the field, what came and what was expected.
        """
        check_length("prompt", self.prompt, limits)
        check_length("negative_prompt", self.negative, limits)
        _ = self.query
        self.check_numbers(limits)

    def check_numbers(self, limits: Limits) -> None:
        """As `check`, without the texts."""
        check_whole("n", self.n, 1, limits.max_images)
        check_whole("steps", self.steps, 1, limits.max_steps)
        check_whole("rerank", self.rerank, 1, limits.max_rerank)
        check_seed(self.seed, self.n)
        if self.guidance_scale is not None:
            check_number("guidance_scale", self.guidance_scale, 0, limits.max_guidance_scale)
        check_number("truncation", self.truncation, 0, limits.max_truncation)
        require_fraction("image_weight", self.image_weight)
        if self.negative is not None and self.guidance_scale == 1:
            raise UsageError("guidance_scale: expected other than 1 with a negative prompt, which has no effect at 1")


def check_length(name: str, text: str | None, limits: Limits) -> None:
    """Refuse a text that is too long; None passes."""
    if text is not None and len(text) > limits.max_prompt_characters:
        raise UsageError(f"{name}: expected at most {limits.max_prompt_characters} characters, got {len(text)}")


def read_text(name: str, text: str) -> Prompt:
    """A field's text as a prompt; UsageError, naming the field, for one that no prompt can be."""
    try:
        return Prompt(text)
    except UsageError as error:
        raise UsageError(str(error) if name == "prompt" else f"{name}: {error}") from None


def check_whole(name: str, value: int, least: int, most: int) -> None:
    """Refuse all but whole numbers within bounds, both included."""
    require_count(name, value, at_least=least)
    if value > most:
        raise UsageError(f"{name}: expected at most {most}, got {value}")


def check_number(name: str, value: float, least: float, most: float) -> None:
    """Refuse all but finite numbers within bounds, both included."""
    if not (math.isfinite(value) and least <= value <= most):
        raise UsageError(f"{name}: expected a number in [{least:g}, {most:g}], got {value}")


def check_seed(seed: int | None, n: int = 1) -> None:
    """Refuse a first seed of `n` images unless all of theirs are whole numbers in [0, 2^63); None passes."""
    if seed is not None:
        require_count("seed", seed, at_least=0)
        if seed + n - 1 >= MAX_SEED:
            bound = "2^63" if n == 1 else f"2^63 - {n - 1} for {n} images"
            raise UsageError(f"seed: expected less than {bound}, got {seed}")
