"""Zero-shot classification by CLIP (arXiv:2103.00020, section 3.1.2): which of many labels an image is next to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from text2latent.common.errors import InputError, UsageError

if TYPE_CHECKING:
    from text2latent.models.clip.encoder import ClipEncoder

LABELS = Path(__file__).resolve().parent / "labels"
DEFAULT_TEMPLATE = "a photo of a {}"
PLACE = "{}"


def known_labels() -> list[str]:
    return sorted(path.stem for path in LABELS.glob("*.txt"))


def read_labels(source: str | Path) -> list[str]:
    """Labels of a list that ships with the package, or of a text file with one per line; empty lines don't count.

    Raises:
        UsageError: for neither.
        InputError: when the file can't be read or holds fewer than two labels, or one of them twice.
    """
    path = LABELS / f"{source}.txt" if source in known_labels() else Path(source)
    if not path.exists():
        raise UsageError(
            f"--labels: expected {', '.join(known_labels())}, or a file with a label per line, got {str(source)[:80]!r}"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(f"--labels: cannot read {path}: {reason}; expected a file with a label per line") from error
    labels = [line.strip() for line in lines if line.strip()]
    repeated = [label for label in labels if labels.count(label) > 1]
    if len(labels) < 2 or repeated:
        got = f"{repeated[0]!r} twice" if repeated else str(len(labels))
        raise InputError(f"--labels: {path}: expected at least two different labels, got {got}")
    return labels


def fill_template(template: str, label: str) -> str:
    """The prompt of a label.

    Raises:
        UsageError: for a template without `{}`.
    """
    if PLACE not in template:
        raise UsageError(f"--template: expected {PLACE} where the label goes, got {template[:60]!r}")
    return template.replace(PLACE, label)


@torch.no_grad()
def embed_labels(clip: ClipEncoder, labels: Sequence[str], templates: Sequence[str] = (DEFAULT_TEMPLATE,)) -> Tensor:
    """Embeddings `[C, E]` of labels, L2-normalised; of several templates the mean direction is taken.

    Raises:
        UsageError: for a template without `{}`, or a prompt that CLIP can't take.
    """
    prompts = [fill_template(template, label) for label in labels for template in templates]
    embedded = clip.encode_text(prompts).unflatten(0, (len(labels), len(templates)))
    return normalize(embedded.mean(dim=1), dim=1)


@torch.no_grad()
def classify(clip: ClipEncoder, images: Tensor, labels: Tensor) -> Tensor:
    """Probabilities `[N, C]` of labels: the softmax of cosines times CLIP's own logit scale.

    Args:
        images: `[N, 3, H, W]` in [-1, 1].
        labels: `[C, E]`, of `embed_labels`.
    """
    return (clip.model.logit_scale.exp() * clip.encode_image(images) @ labels.T).softmax(dim=-1)
