"""What can be changed of a picture while it is shown."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from text2latent.apps.serving.requests import check_length, check_number, check_seed, read_text
from text2latent.common.errors import UsageError
from text2latent.inference.settings import MAX_STRENGTH

if TYPE_CHECKING:
    from text2latent.apps.serving.limits import Limits

DEFAULT_EASE, MAX_EASE = 1.0, 60.0


@dataclass(frozen=True)
class Change:
    """New targets; None, and an edit that isn't named, leave things as they are.

    Attributes:
        prompt: the text, perhaps weighted.
        mix_prompt: a second text, which is shown as `mix` nears 1.
        mix: share of the second text in [0, 1].
        seed: of the starting noise.
        truncation: psi.
        edits: strengths of named edits; 1 moves by the difference between their two texts, -1 the other way.
        ease: seconds that this change and later ones take until they are through.
    """

    prompt: str | None = None
    mix_prompt: str | None = None
    mix: float | None = None
    seed: int | None = None
    truncation: float | None = None
    edits: Mapping[str, float] = field(default_factory=dict)
    ease: float | None = None

    def then(self, later: Change) -> Change:
        """This change and a later one as one."""
        latest = {one.name: getattr(later, one.name) for one in fields(later)}
        mine = {one.name: getattr(self, one.name) for one in fields(self)}
        merged = {name: mine[name] if value is None else value for name, value in latest.items()}
        return Change(**{**merged, "edits": {**self.edits, **later.edits}})

    def check(self, limits: Limits, edits: Collection[str]) -> None:
        """Refuse what is unusable or beyond the limits.

        Args:
            edits: the names of edits that there are.

        Raises:
            UsageError: naming the field, what came and what was expected.
        """
        for name in ("prompt", "mix_prompt"):
            if (text := getattr(self, name)) is not None:
                check_length(name, text, limits)
                read_text(name, text)
        check_seed(self.seed)
        for name, most in (("mix", 1.0), ("truncation", limits.max_truncation), ("ease", MAX_EASE)):
            if (value := getattr(self, name)) is not None:
                check_number(name, value, 0, most)
        for name, strength in self.edits.items():
            if name not in edits:
                known = f"one of {', '.join(edits)}" if edits else "none, as this model has none"
                raise UsageError(f"edits: expected {known}, got {name[:80]!r}")
            check_number(f"edits: {name}", strength, -MAX_STRENGTH, MAX_STRENGTH)
