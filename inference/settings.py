"""How images are drawn: the defaults of every flag and argument, and their ranges. Needs no torch, so it loads fast."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from text2latent.common.errors import UsageError

DEFAULT_MODEL = "faces"
DEFAULT_STEPS = 8
DEFAULT_GUIDANCE_SCALE = 1.0
DEFAULT_NEGATIVE_GUIDANCE_SCALE = 2.0
"""Guidance scale when there is a negative text and no scale is given: at 1, a negative text would change nothing."""
DEFAULT_IMAGE_WEIGHT = 0.5
DEFAULT_FRAMES = 9
DEFAULT_STRENGTH = 1.0
MAX_STRENGTH = 10.0
DEFAULT_BATCH_SIZE = 16
MAX_SEED = 2**63
MAX_TRUNCATION = 2.0


@dataclass(frozen=True)
class Settings:
    """How images are drawn from a prompt; see `Text2LatentPipeline.__call__`.

    Raises:
        UsageError: for a value out of range.
    """

    num_inference_steps: int = DEFAULT_STEPS
    guidance_scale: float = DEFAULT_GUIDANCE_SCALE
    truncation: float = 1.0
    rerank: int = 1
    batch_size: int = DEFAULT_BATCH_SIZE
    return_scores: bool = True
    refine: int = 0

    def __post_init__(self) -> None:
        for name in ("num_inference_steps", "rerank", "batch_size"):
            require_count(name, getattr(self, name))
        require_count("refine", self.refine, at_least=0)
        if not (math.isfinite(self.guidance_scale) and self.guidance_scale >= 0):
            raise UsageError(f"guidance_scale: expected a finite number >= 0, got {self.guidance_scale}")
        if not 0 <= self.truncation <= MAX_TRUNCATION:
            raise UsageError(f"truncation: expected a number in [0, {MAX_TRUNCATION:g}], got {self.truncation}")

    @property
    def group_size(self) -> int:
        """Images whose candidates make a batch."""
        return max(1, self.batch_size // self.rerank)


def choose_guidance_scale(guidance_scale: float | None, negative: bool) -> float:
    """The given guidance scale, or the default one for prompts with or without a negative text."""
    if guidance_scale is not None:
        return guidance_scale
    return DEFAULT_NEGATIVE_GUIDANCE_SCALE if negative else DEFAULT_GUIDANCE_SCALE


def require_count(name: str, value: Any, at_least: int = 1) -> None:
    """Refuse all but whole numbers of at least `at_least`.

    Raises:
        UsageError: naming the argument and the value.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise UsageError(f"{name}: expected a whole number >= {at_least}, got {value!r}")


def require_fraction(name: str, value: float) -> None:
    """Refuse all but numbers in [0, 1].

    Raises:
        UsageError: naming the argument and the value.
    """
    if not 0 <= value <= 1:
        raise UsageError(f"{name}: expected a number in [0, 1], got {value}")
