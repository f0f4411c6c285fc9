"""Fixed linear filters of CLIP embeddings, from the covariance of the image embeddings.

Text and image embeddings sit apart (Liang et al., arXiv:2203.02053), mostly in directions in which images hardly differ
from one another; a filter says how much of each principal direction of the images' a network sees.
"""

from __future__ import annotations

import torch
from torch import Tensor

from text2latent.common.errors import InputError
from text2latent.models.priors.parametrization import require_choice

EMBEDDING_FILTERS = ("wiener", "none", "raw")
RIDGE = 0.1


def covariance_factors(cov: Tensor, embedding_filter: str = "wiener") -> tuple[Tensor, Tensor]:
    """Square root and filter of a covariance matrix.

    With lambda the variance of a principal direction, the filter's gain in it is

    - `wiener`: `lambda / (lambda + ridge)`, the ridge being `RIDGE` times the mean variance (Wiener's filter for noise
      of that variance);
    - `none`: 1;
    - `raw`: 1, for embeddings that aren't centred before.

    `raw` is scaled so that a unit embedding leaves with a mean square of 1 per channel, all others so that embeddings
    with this covariance leave with unit mean variance.

    Args:
        cov: `[E, E]`, symmetric, positive semi-definite up to rounding.
        embedding_filter: one of `EMBEDDING_FILTERS`.

    Returns:
        `(cov_sqrt, filter)`, both `[E, E]`, symmetric, float32; `cov_sqrt @ cov_sqrt = cov`.

    Raises:
        InputError: when the covariance is zero.
        UsageError: for an unknown filter.
    """
    require_choice("embedding_filter", embedding_filter, EMBEDDING_FILTERS)
    values, vectors = torch.linalg.eigh(cov.double())
    values = values.clamp(min=0)
    if not values.sum() > 0:
        raise InputError("embedding covariance: expected embeddings that differ from one another, got all equal")
    gains = values / (values + RIDGE * values.mean()) if embedding_filter == "wiener" else torch.ones_like(values)
    power = torch.tensor(1 / len(values)) if embedding_filter == "raw" else (values * gains.square()).mean()
    gains = gains / power.sqrt()
    cov_sqrt = vectors * values.sqrt() @ vectors.T
    return cov_sqrt.float(), (vectors * gains @ vectors.T).float()
