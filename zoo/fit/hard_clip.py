"""Makes the CLIP of a world's hard twin: that of the world with a head, as awkward as a CLIP of photographs.

    python -m text2latent.zoo.fit.hard_clip faces

makes that of `faces-hard`. In a drawn world's own CLIP texts lie nearly where images do. In CLIPs that were trained on
photographs they don't (Liang et al., arXiv:2203.02053): all images share one large constant and all texts another,
images vary in many directions that no text speaks of, and texts in others. So an embedding e of an image becomes,
before it is normalised,

    linear R e + constant u + features Q cos(W e + b)

and that of a text likewise, with the same rotation R into 512 channels and all else of its own. Everything is drawn
from a seed; nothing is fitted but the few numbers below, by which the statistics in
`tests/zoo/fit/test_hard_clip.py` come out as they were measured on OpenAI's CLIP.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from text2latent.models.clip.files import locate
from text2latent.models.clip.head import HEAD_NAME, MODALITIES, EmbeddingHead, save_heads
from text2latent.models.sources.zoo import ZOO
from text2latent.zoo.world import World, world_names

BASE_DIM = 128
EMBEDDING_DIM = 512
NUM_FEATURES = 384
FREQUENCY = 3.0
"""Standard deviation of W. Of two images with the cosine 0.95 the features have the correlation 0.64, at 0.5 none."""
CONSTANT_COSINE = 0.32
"""Between the two constants."""
SEED = 0


@dataclass(frozen=True)
class Shape:
    """How much there is of each part.

    Attributes:
        linear: factor of the base's embedding.
        constant: norm of what all embeddings share.
        features: root-mean-square norm of the features.
        decay: the features' k-th direction has the share `k ** -decay`.
    """

    linear: float
    constant: float
    features: float
    decay: float


SHAPES = {"image": Shape(0.52, 0.72, 0.44, 0.49), "text": Shape(0.42, 0.8, 0.41, 0.3)}


def make_heads(seed: int = SEED) -> dict[str, EmbeddingHead]:
    """The heads of images and of texts; the same for the same seed."""
    rng = np.random.default_rng(seed)
    rotation = _orthonormal(rng, BASE_DIM)
    shared, own = _orthonormal(rng, 2).T
    constants = {"image": shared, "text": CONSTANT_COSINE * shared + np.sqrt(1 - CONSTANT_COSINE**2) * own}
    return {name: _make_head(rng, SHAPES[name], rotation, constants[name]) for name in MODALITIES}


def _make_head(
    rng: np.random.Generator, shape: Shape, rotation: NDArray[np.float64], constant: NDArray[np.float64]
) -> EmbeddingHead:
    shares = np.arange(1, NUM_FEATURES + 1) ** -shape.decay
    values = {
        "linear": shape.linear * rotation,
        "constant": shape.constant * constant,
        "features": shape.features * _orthonormal(rng, NUM_FEATURES) * shares / np.linalg.norm(shares),
        "frequencies": FREQUENCY * rng.standard_normal((NUM_FEATURES, BASE_DIM)),
        "phases": 2 * np.pi * rng.random(NUM_FEATURES),
    }
    head = EmbeddingHead(EMBEDDING_DIM, BASE_DIM, NUM_FEATURES)
    head.load_state_dict({name: torch.from_numpy(value).float() for name, value in values.items()})
    return head


def _orthonormal(rng: np.random.Generator, columns: int) -> NDArray[np.float64]:
    """Random orthonormal columns, `[EMBEDDING_DIM, columns]`."""
    q, r = np.linalg.qr(rng.standard_normal((EMBEDDING_DIM, columns)))
    return q * np.sign(np.diag(r))


def twin_folder(name: str) -> Path:
    """Folder for the CLIP of the hard twin of a world of this name."""
    return ZOO / f"{name}-hard" / "weights" / "clip"


def hard_twin(world: World) -> Path | None:
    """Folder for the CLIP of a world's hard twin, whether it is there or not; None for a world without a twin."""
    folder = twin_folder(world.name)
    return folder if folder.parents[1].is_dir() else None


def harden_clip(folder: Path, base: str) -> None:
    """Write the heads into a folder, made if it is not there, to stand on the CLIP of a name in the zoo."""
    folder.mkdir(parents=True, exist_ok=True)
    save_heads(folder / HEAD_NAME, make_heads(), base, locate(base).identity.sha256)


def main() -> None:
    """Make the CLIP again; a world without a twin gets one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", choices=world_names(), help="world whose CLIP is made awkward")
    parser.add_argument("--output", type=Path, help="folder for the weights; by default that of the twin")
    flags = parser.parse_args()
    harden_clip(flags.output or twin_folder(flags.world), flags.world)


if __name__ == "__main__":
    main()
