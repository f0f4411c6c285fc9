"""How a CLIP's texts lie to its images, in figures: the modality gap (Liang et al., arXiv:2203.02053) and the like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAIN_COMPONENTS = 5
VARIANCE_SHARE = 0.9


@dataclass(frozen=True)
class Alignment:
    """Figures of image embeddings and of text embeddings, which need not belong to each other.

    Attributes:
        image_cosine: mean cosine of two images.
        text_cosine: mean cosine of two texts.
        gap: distance of the mean image embedding and the mean text embedding.
        cosine: mean cosine of a text and an image.
        cosine_std: standard deviation of a text's cosines with the images, averaged over texts.
        best_cosine: cosine of a text with the image that fits it best, averaged over texts.
        components: principal components of the images that hold `VARIANCE_SHARE` of their variance.
        embedding_dim: E, how many there are in all.
        spread_ratio: standard deviation of the texts over that of the images, averaged over the images'
            `MAIN_COMPONENTS` largest components.
    """

    image_cosine: float
    text_cosine: float
    gap: float
    cosine: float
    cosine_std: float
    best_cosine: float
    components: int
    embedding_dim: int
    spread_ratio: float


def measure_alignment(images: NDArray[np.floating], texts: NDArray[np.floating]) -> Alignment:
    """Measure embeddings of images `[N, E]` and of texts `[M, E]`, all L2-normalised; N and M are at least 2."""
    return _measure(images.astype(np.float64), texts.astype(np.float64))


def _measure(images: NDArray[np.float64], texts: NDArray[np.float64]) -> Alignment:
    cosines = texts @ images.T
    variances, directions = principal_components(images)
    held = np.cumsum(variances) / max(variances.sum(), 1e-300)
    main = slice(0, MAIN_COMPONENTS)
    spread = ((texts - texts.mean(axis=0)) @ directions[:, main]).std(axis=0, ddof=1)
    return Alignment(
        image_cosine=mean_cosine(images),
        text_cosine=mean_cosine(texts),
        gap=float(np.linalg.norm(images.mean(axis=0) - texts.mean(axis=0))),
        cosine=float(cosines.mean()),
        cosine_std=float(cosines.std(axis=1).mean()),
        best_cosine=float(cosines.max(axis=1).mean()),
        components=int((held < VARIANCE_SHARE).sum()) + 1,
        embedding_dim=images.shape[1],
        spread_ratio=float((spread / np.sqrt(np.maximum(variances[main], 1e-12))).mean()),
    )


def mean_cosine(embeddings: NDArray[np.float64]) -> float:
    """Mean cosine of two different rows of `[N, E]`, L2-normalised."""
    n = len(embeddings)
    return float((np.square(embeddings.sum(axis=0)).sum() - np.square(embeddings).sum()) / (n * (n - 1)))


def principal_components(embeddings: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variances `[E]`, the largest first, and directions `[E, E]`, a column each, of `[N, E]`."""
    values, vectors = np.linalg.eigh(np.cov(embeddings.T))
    return np.maximum(values[::-1], 0), vectors[:, ::-1]
