"""Begin a prior with the weights of another, as far as they fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from text2latent.common.errors import InputError
from text2latent.models.priors.folder import TrainedPrior
from text2latent.models.priors.prior import Prior

SHOWN_WEIGHTS = 6


@dataclass(frozen=True)
class Taken:
    """What a prior has taken over from another.

    Attributes:
        names: of the weights that fitted.
        left: a line for each of the prior's others, which begin at random, with its shape and the one there.
    """

    names: tuple[str, ...]
    left: tuple[str, ...]

    def __str__(self) -> str:
        taken = f"{len(self.names)} of {len(self.names) + len(self.left)} weights taken"
        if not self.left:
            return taken
        shown = "; ".join(self.left[:SHOWN_WEIGHTS]) + ("; ..." if len(self.left) > SHOWN_WEIGHTS else "")
        return f"{taken}, these begin anew: {shown}"


@torch.no_grad()
def take_weights(prior: Prior, other: Prior) -> Taken:
    """Give a prior the weights of another that have the same name and shape; its statistics stay its own.

    Networks of one kind differ in few shapes: in the first layer for another length of embeddings, in the first and the
    last for another size of latents, in all for another width, in how many blocks there are for another depth.
    """
    there = dict(other.named_parameters())
    names, left = [], []
    for name, weight in prior.named_parameters():
        found = there.get(name)
        if found is not None and found.shape == weight.shape:
            weight.copy_(found)
            names.append(name)
        else:
            left.append(f"{name} {_size(weight)} ({'none' if found is None else _size(found)} there)")
    return Taken(tuple(names), tuple(left))


def _size(weight: Tensor) -> str:
    return "x".join(map(str, weight.shape)) or "1"


def start_from(prior: Prior, start: TrainedPrior, source: str, report: Callable[[str], None]) -> None:
    """Begin `prior` with what fits of a trained one from `source`; `report` gets a line with what doesn't.

    Raises:
        InputError: when no weight with a direction of its own, one of two dimensions or more, fits.
    """
    taken = take_weights(prior, start.prior)
    weights = dict(prior.named_parameters())
    if not any(weights[name].ndim >= 2 for name in taken.names):
        raise InputError(
            f"--init-from {source}: expected a {type(prior).__name__} like this one ({_describe(prior)}), "
            f"got a {type(start.prior).__name__} ({_describe(start.prior)}), of which nothing fits; --prior.width and "
            "--prior.depth make it like that"
        )
    report(f"--init-from {source}: {taken}")


def _describe(prior: Prior) -> str:
    shown = {
        key: prior.config[key] for key in ("width", "depth", "latent_shape", "embedding_dim") if key in prior.config
    }
    return ", ".join(f"{key} {value}" for key, value in shown.items())
