"""Components of image embeddings: directions that vary by themselves, and which of them belong together.

The images of a generator differ in few things at a time that have nothing to do with one another, such as glasses and
background. Embeddings hold each of these things in a direction or a few, which independent component analysis finds
without labels; principal components mix them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from text2latent.common.errors import InputError
from text2latent.common.progress import progress
from text2latent.models.priors.parametrization import require_choice

KINDS = ("independent", "principal")
SMALLEST_VARIANCE = 1e-3
"""Principal directions of less than this share of the largest variance are left out."""
MAX_ITERATIONS, TOLERANCE = 300, 1e-5
QUIET_SECONDS = 5.0
"""Analyses that take longer show their progress."""
SMALLEST_ENERGY_SPREAD = 0.1
"""A Gaussian's square has a standard deviation of 1.4."""
LEAST_DEPENDENCE = 0.1
"""Components that depend on one another by less, on average, are in different groups."""


@dataclass(frozen=True)
class Components:
    """K directions of embeddings of E channels.

    Attributes:
        centre: `[E]`, the mean embedding.
        analysis: `[E, K]`; `(embedding - centre) @ analysis` are the components, of mean 0 and variance 1.
        synthesis: `[K, E]`, back from components to differences from the centre.
        groups: `[K]` int64 from 0, which components belong together.
    """

    centre: Tensor
    analysis: Tensor
    synthesis: Tensor
    groups: Tensor

    @property
    def num_groups(self) -> int:
        """Number of groups of components that are hidden or multiplied together."""
        return int(self.groups.max()) + 1

    def to(self, device: torch.device) -> Components:
        """The same tensors on a device; itself where they are there already."""
        parts = (self.centre, self.analysis, self.synthesis, self.groups)
        return self if self.centre.device == device else Components(*(part.to(device) for part in parts))


def find_components(embeddings: Tensor, kind: str = "independent", shows: bool = True) -> Components:
    """Find the components of image embeddings; the same embeddings always give the same ones.

    Args:
        embeddings: `[N, E]`, float32, N some thousands.
        kind: `independent`, grouped by their dependence on one another; or `principal`, each a group of its own.
        shows: whether to show progress, where that takes more than seconds.

    Raises:
        InputError: when the embeddings are all equal.
        UsageError: for an unknown kind.
    """
    require_choice("components", kind, KINDS)
    centre = embeddings.mean(dim=0)
    variances, directions = torch.linalg.eigh(torch.cov(embeddings.double().T))
    if not variances[-1] > 0:
        raise InputError("embeddings: expected embeddings that differ from one another, got all equal")
    kept = variances > SMALLEST_VARIANCE * variances[-1]
    scale, directions = variances[kept].sqrt(), directions[:, kept]
    analysis, synthesis = (directions / scale).float(), (directions * scale).float().T
    if kind == "principal":
        return Components(centre, analysis, synthesis, torch.arange(len(scale)))
    rotation = independent_rotation((embeddings - centre) @ analysis, shows)
    groups = group_by_dependence(dependence((embeddings - centre) @ analysis @ rotation.T))
    return Components(centre, analysis @ rotation.T, rotation @ synthesis, groups)


def independent_rotation(whitened: Tensor, shows: bool = True) -> Tensor:
    """Rotation whose rows are independent directions of whitened data: FastICA, all directions at once.

    Hyvarinen 1999 (IEEE Transactions on Neural Networks 10(3)), eq. 20 with g = tanh and symmetric orthogonalisation
    (eq. 22), from a fixed random start.

    Args:
        whitened: `[N, K]` of mean 0 and covariance 1.
        shows: see `find_components`.

    Returns:
        `[K, K]`, orthogonal.
    """
    n, size = whitened.shape
    rotation = _orthogonalize(torch.randn(size, size, generator=torch.Generator().manual_seed(0)))
    delay = QUIET_SECONDS if shows else float("inf")
    for _ in progress(range(MAX_ITERATIONS), unit="iterations", description="independent components", delay=delay):
        bounded = (whitened @ rotation.T).tanh()
        slope = (1 - bounded.square()).mean(dim=0)
        updated = _orthogonalize(bounded.T @ whitened / n - slope[:, None] * rotation)
        change = (1 - (updated * rotation).sum(dim=1).abs()).max()
        rotation = updated
        if change < TOLERANCE:
            break
    return rotation


def _orthogonalize(matrix: Tensor) -> Tensor:
    left, _, right = torch.linalg.svd(matrix)
    return left @ right


def dependence(components: Tensor) -> Tensor:
    """How much components `[N, K]` depend on one another: `[K, K]`, correlations of their squares, without sign.

    Independent components are uncorrelated by construction; those that hold values of one thing, of which an image can
    have one only, still show in their squares (Hyvarinen and Hoyer 2000, Neural Computation 12(7), "energies").
    """
    energies = components.square()
    spread = energies.std(dim=0).clamp(min=SMALLEST_ENERGY_SPREAD)
    return (torch.cov(energies.T) / (spread[:, None] * spread)).abs()


def group_by_dependence(dependences: Tensor, least: float = LEAST_DEPENDENCE) -> Tensor:
    """Join the two groups that depend on one another most, on average, until no two do by `least`.

    Args:
        dependences: `[K, K]`, symmetric, in [0, 1].
        least: where to stop.

    Returns:
        `[K]` int64, the number of each one's group, from 0.
    """
    between, members = dependences.clone().fill_diagonal_(0), [[index] for index in range(len(dependences))]
    while len(members) > 1 and between.max() >= least:
        one, other = sorted(divmod(int(between.argmax()), len(members)))
        sizes = len(members[one]), len(members[other])
        average = (sizes[0] * between[one] + sizes[1] * between[other]) / sum(sizes)
        between[one], between[:, one] = average, average
        between[one, one] = 0
        members[one] += members.pop(other)
        rest = torch.arange(len(between)) != other
        between = between[rest][:, rest]
    groups = torch.empty(len(dependences), dtype=torch.long)
    for number, group in enumerate(members):
        groups[group] = number
    return groups
