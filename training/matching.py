"""Matching: a pseudo-text is to be answered by an image that fits it well, not only by the one that it was made of."""

from __future__ import annotations

import torch
from torch import Tensor

from text2latent.common.errors import UsageError


class Matching:
    """Gives a pseudo-text the latent of the image that fits it best among some training pairs.

    Pseudo-text says less than the image that it was made of, and some of what it says is noise. So that image fits it
    no better than others may: the more pairs one looks through, the better the best of them fits, as in retrieval. A
    prior that learns what is found so answers with what looking through as many pairs would find, but without them, and
    with as much variety as different pairs give.

    Args:
        latents: `[P, L, D]`, of the pairs to look through.
        embeddings: `[P, E]`, L2-normalised, of their images.
        candidates: pairs that are looked through for a batch, a random run of successive ones; all if there are fewer.

    Raises:
        UsageError: for no candidates.
    """

    def __init__(self, latents: Tensor, embeddings: Tensor, candidates: int) -> None:
        if candidates < 1 or not len(latents):
            raise UsageError(f"match_among: expected a count >= 1, got {min(candidates, len(latents))}")
        self.latents, self.embeddings = latents, embeddings
        self.candidates = min(candidates, len(latents))

    def __call__(
        self, condition: Tensor, latents: Tensor, embeddings: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Latents `[N, L, D]` of the images that fit best, by cosine.

        Args:
            condition: `[N, E]`, pseudo-text, L2-normalised.
            latents: `[N, L, D]`, of the pairs that it was made of, which are candidates too, each for its own.
            embeddings: `[N, E]`, of their images.
            generator: chooses the candidates, on the condition's device; None means torch's global one.
        """
        device = condition.device
        self.latents, self.embeddings = self.latents.to(device), self.embeddings.to(device)
        start = torch.randint(len(self.latents) - self.candidates + 1, (1,), generator=generator, device=device)
        run = start + torch.arange(self.candidates, device=device)
        found, best = (condition @ self.embeddings[run].to(condition.dtype).T).max(dim=1)
        better = found > (condition * embeddings).sum(dim=1)
        return torch.where(better[:, None, None], self.latents[run[best]].to(latents.dtype), latents)
