"""How familiar the wording of a prompt is: how many of its runs of tokens stand in prompts known to be in a domain.

A small CLIP may see a picture in any words, those of a language without spaces above all. What its domain is talked of
in says more then. This is the likelihood of a text under texts of the domain (Arora et al., arXiv:2109.06827) in its
plainest form: the share of its trigrams that were never met.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from text2latent.inference.prompts import parts_of

if TYPE_CHECKING:
    from text2latent.models.clip.encoder import ClipEncoder

RUN_LENGTH = 3
MIN_ALIKE = 50
ID_BITS = 21
"""Three ids of tokens make an int64; vocabularies have less than a million."""


def is_latin(text: str) -> bool:
    """Whether all letters of a text are Latin ones, full-width ones included."""
    letters = [char for char in unicodedata.normalize("NFKC", text) if char.isalpha()]
    return all(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)


def token_runs(clip: ClipEncoder, prompt: str) -> Tensor:
    """The runs of `RUN_LENGTH` tokens in the parts of a prompt, from before its first token to its end.

    Returns:
        int64 `[K]`, a number for each run; K is at least 1.
    """
    rows = clip.read_tokens([part.text for part in parts_of(prompt)])
    return torch.cat([_runs_of(row, clip.padding_token) for row in rows])


def _runs_of(tokens: Tensor, padding_token: int) -> Tensor:
    """Runs of one text's tokens `[context_length]`; the first token counts twice, so that short texts have runs too."""
    length = int(tokens.ne(padding_token).nonzero().max()) + 1
    padded = torch.cat([tokens[:1], tokens[:length]])
    runs = padded.unfold(0, RUN_LENGTH, 1) if len(padded) >= RUN_LENGTH else padded.new_zeros(1, RUN_LENGTH)
    return (runs << torch.arange(RUN_LENGTH) * ID_BITS).sum(dim=1)


@dataclass(frozen=True)
class Wording:
    """What prompts of a domain are worded like; see `fit_wording`.

    Attributes:
        runs: int64 `[R]`, ascending, the runs of tokens that stand in them.
        shares: `[P]` in [0, 1], of each prompt the share of its runs that stand in no other.
        latin: `[P]` bool, whether each is in Latin letters. Prompts are held against those of their own kind, since a
            text in other scripts has more tokens.
    """

    runs: Tensor
    shares: Tensor
    latin: Tensor

    def unfamiliar(self, clip: ClipEncoder, prompts: Sequence[str]) -> Tensor:
        """Share of each prompt's runs that stand in no prompt of the domain, `[N]` in [0, 1]."""
        shares = [(~torch.isin(token_runs(clip, prompt), self.runs)).float().mean() for prompt in prompts]
        return torch.stack(shares) if shares else torch.empty(0)

    def alike(self, latin: bool) -> Tensor:
        """The domain's prompts of one kind of script, `[P]` bool; all of them where these are too few."""
        found = self.latin == latin
        return found if found.sum() >= MIN_ALIKE else torch.ones_like(found)


def fit_wording(clip: ClipEncoder, prompts: Sequence[str]) -> Wording:
    """Learn how a domain is talked of, from at least one prompt."""
    runs = [token_runs(clip, prompt) for prompt in prompts]
    known, counts = torch.cat([part.unique() for part in runs]).unique(return_counts=True)
    once = known[counts == 1]  # whoever has such a run is the only one
    shares = torch.stack([torch.isin(part, once).float().mean() for part in runs])
    return Wording(known, shares, torch.tensor([is_latin(prompt) for prompt in prompts]))
