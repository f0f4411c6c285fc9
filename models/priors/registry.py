"""The classes of priors by the name in their config; each is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from text2latent.common.errors import InputError, UsageError
from text2latent.models.priors.parametrization import require_choice
from text2latent.models.priors.prior import HEAD_CHANNELS, Prior

PRIOR_MODULES = {
    "ResidualMLPPrior": "residual_mlp",
    "DiTPrior": "dit",
    "TransformerPrior": "transformer",
}
DEFAULT_PRIOR = "ResidualMLPPrior"
NETWORKS = {"residual_mlp": "ResidualMLPPrior", "dit": "DiTPrior", "transformer": "TransformerPrior"}
"""Classes by the name that a configuration calls them."""
ATTENTION = ("dit", "transformer")
"""Networks whose width is made up of heads."""


def prior_class(name: str) -> type[Prior]:
    """The class of a name.

    Raises:
        InputError: for an unknown name.
    """
    if name not in PRIOR_MODULES:
        raise InputError(f"prior {name!r}: expected one of {', '.join(PRIOR_MODULES)}")
    found: type[Prior] = getattr(import_module(f"text2latent.models.priors.{PRIOR_MODULES[name]}"), name)
    return found


def create_prior(
    network: str,
    latent_shape: Sequence[int],
    embedding_dim: int,
    width: int,
    depth: int,
    num_heads: int | None = None,
    **options: Any,
) -> Prior:
    """A new prior.

    Args:
        network: one of `NETWORKS`.
        num_heads: of clip2latent's transformer; None is as many as make up the width.

    Raises:
        UsageError: for an unknown network, a width that doesn't fit its heads, or heads where the width decides.
    """
    require_choice("network", network, tuple(NETWORKS))
    if network in ATTENTION and width % HEAD_CHANNELS:
        raise UsageError(f"width: expected a multiple of {HEAD_CHANNELS} for network {network}, got {width}")
    if network != "transformer" and num_heads is not None:
        raise UsageError(f"num_heads: expected null for network {network}, got {num_heads}")
    if network in ATTENTION:
        options["num_heads"] = num_heads or width // HEAD_CHANNELS
    options |= {"latent_shape": latent_shape, "embedding_dim": embedding_dim, "width": width, "depth": depth}
    return prior_class(NETWORKS[network])(**options)
