"""How far a prompt is from what a generator draws, as CLIP sees both.

The score is the mean cosine similarity of the text's condition (as the prior sees it) and its nearest neighbours among
conditions of training images, both about the mean of these: a k-nearest-neighbour detector as Sun et al.
(arXiv:2204.06507), which needs no labels and, unlike Mahalanobis distance, no normal distribution. To this comes how
strange the text's wording is (`text2latent.inference.wording`), where that was learnt. Texts are further from images
than images from each other, so the score is given as a percentile among prompts known to be in domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from text2latent.common.errors import InputError, one_line
from text2latent.common.files import replacing
from text2latent.inference.prompts import parts_of
from text2latent.inference.wording import Wording, is_latin

if TYPE_CHECKING:
    from text2latent.models.clip.encoder import ClipEncoder

FILE = "domain.safetensors"
NEIGHBOURS = 8
SAMPLE_SIZE = 2048
OUTSIDE_PERCENTILE = 98.0
"""In-domain prompts whose percentile reaches this are one in fifty by definition."""
OUTSIDE_OF_IMAGES = 99.9
"""The same of pictures: a photograph is no image of the generator's, and stands further out than a text."""
EMPTY_SIMILARITY = 0.995
USUAL = 0.8
"""Quantile of in-domain prompts up to which a distance or a wording is nothing unusual."""
SMALLEST_SPREAD = 0.02
WORDING_PARTS = ("units", "evidence", "strangeness", "latin")


@dataclass(frozen=True)
class DomainScore:
    """Where a prompt stands.

    Attributes:
        percentile: share of in-domain prompts, in percent, that are nearer to the generator's images than this one.
        threshold: the percentile from which on a prompt counts as out of domain.
        is_outside: whether the prompt is out of domain. A text that says nothing, such as "a picture", can be as far
            from every image as a foreign one, but isn't outside, unless its wording is.
    """

    percentile: float
    threshold: float
    is_outside: bool


@dataclass(frozen=True)
class Domain:
    """What is known of a generator's domain; see `fit_domain`.

    Attributes:
        mean: `[E]`, mean of the conditions of the training pairs' images.
        sample: `[M, E]`, some of them.
        calibration: `[P]`, distances of prompts that are in the domain.
        threshold: percentile from which on a prompt counts as outside.
        wording: of the same P prompts; None where only distances count.
    """

    mean: Tensor
    sample: Tensor
    calibration: Tensor
    threshold: float = OUTSIDE_PERCENTILE
    wording: Wording | None = None

    def to(self, device: str | torch.device) -> Domain:
        """The same, with what conditions are compared with on a device."""
        return replace(self, mean=self.mean.to(device), sample=self.sample.to(device))

    def distances(self, conditions: Tensor) -> Tensor:
        """One minus the mean cosine similarity with the nearest of the sample, `[N]` in [0, 2], of `[N, E]`."""
        references = normalize(self.sample.to(conditions) - self.mean.to(conditions), dim=1)
        similarities = normalize(conditions - self.mean.to(conditions), dim=1) @ references.T
        return 1 - similarities.topk(min(NEIGHBOURS, len(references)), dim=1).values.mean(dim=1)

    def score_images(self, conditions: Tensor) -> list[DomainScore]:
        """Scores of pictures by their conditions `[N, E]`: percentiles among the training images of the sample.

        Each of these is compared with the others of the sample.
        """
        references = normalize(self.sample.float() - self.mean.float(), dim=1)
        nearest = (references @ references.T).topk(min(NEIGHBOURS + 1, len(references)), dim=1).values
        usual = 1 - nearest[:, 1:].mean(dim=1)
        percentiles = _percentiles(self.distances(conditions).to(usual), usual).tolist()
        return [DomainScore(round(one, 2), OUTSIDE_OF_IMAGES, one >= OUTSIDE_OF_IMAGES) for one in percentiles]

    def rate(self, clip: ClipEncoder, prompts: Sequence[str], conditions: Tensor) -> tuple[Tensor, Tensor]:
        """How strange prompts are, and where that lies among the in-domain ones.

        Args:
            clip: whose tokens wordings are made of.
            prompts: N prompts.
            conditions: `[N, E]`, theirs.

        Returns:
            Scores `[N]` >= 0: distances; with a wording, what distance and wording have beyond the median of in-domain
            prompts of the same kind of script, each over what the `USUAL` quantile has, added. And percentiles `[N]`
            in [0, 100]: the share of those prompts with lower scores.
        """
        distances = self.distances(conditions).cpu().float()
        if self.wording is None:
            return distances, _percentiles(distances, self.calibration)
        strangeness = self.wording.rate(clip, prompts)
        latin = torch.tensor([is_latin(prompt) for prompt in prompts], dtype=torch.bool)
        scores, percentiles = torch.zeros(len(prompts)), torch.zeros(len(prompts))
        for kind in (True, False):
            rows, known = latin == kind, self.wording.alike(kind)
            usual = self.calibration[known], self.wording.strangeness[known]
            found = _beyond_usual(distances[rows], usual[0]) + _beyond_usual(strangeness[rows], usual[1])
            known_scores = _beyond_usual(usual[0], usual[0]) + _beyond_usual(usual[1], usual[1])
            scores[rows], percentiles[rows] = found, _percentiles(found, known_scores)
        return scores, percentiles

    @torch.no_grad()
    def score(
        self, clip: ClipEncoder, prompts: Sequence[str], embeddings: Tensor, conditions: Tensor
    ) -> list[DomainScore]:
        """Scores of prompts, weighted ones included.

        Args:
            clip: whose tokens wordings are made of.
            prompts: N prompts.
            embeddings: `[N, E]`, CLIP's of these.
            conditions: `[N, E]`, what the prior takes for them.
        """
        percentiles = self.rate(clip, prompts, conditions)[1].tolist()
        vague = says_nothing(clip, prompts, embeddings)
        strange = iter(self.are_worded_strangely(clip, list(compress(prompts, vague))))
        excused = [is_vague and not next(strange) for is_vague in vague]
        return [
            DomainScore(round(percentile, 2), self.threshold, percentile >= self.threshold and not is_excused)
            for percentile, is_excused in zip(percentiles, excused, strict=True)
        ]

    def are_worded_strangely(self, clip: ClipEncoder, prompts: Sequence[str]) -> list[bool]:
        """Which prompts are outside by their wording alone, which speaks against them; none where none was learnt.

        A small CLIP may see nothing in a text that does say something, but not of the domain.
        """
        if self.wording is None:
            return [False] * len(prompts)
        usual = {latin: self.wording.strangeness[self.wording.alike(latin)] for latin in (True, False)}
        return [
            bool(strangeness > 0 and _percentiles(strangeness, usual[is_latin(prompt)]) >= self.threshold)
            for strangeness, prompt in zip(self.wording.rate(clip, prompts), prompts, strict=True)
        ]


def _beyond_usual(values: Tensor, usual: Tensor) -> Tensor:
    """What `values` `[N]` have beyond the median of `usual` `[P]`, over what the `USUAL` quantile of these has."""
    median, most = usual.quantile(0.5), usual.quantile(USUAL)
    return ((values - median) / (most - median).clamp(min=SMALLEST_SPREAD)).clamp(min=0)


def _percentiles(scores: Tensor, usual: Tensor) -> Tensor:
    """The share of `usual` `[P]` below each score, in percent, `[N]`."""
    return 100 * torch.searchsorted(usual.sort().values, scores) / len(usual)


def fit_domain(images: Tensor, prompt_conditions: Tensor, wording: Wording | None = None) -> Domain:
    """Learn a domain.

    Args:
        images: `[N, E]`, conditions of the images of training pairs, as the prior's `image_condition` gives them; the
            first `SAMPLE_SIZE` are kept.
        prompt_conditions: `[P, E]`, conditions of prompts that are in the domain, as `text_condition` gives them;
            a few hundred, since percentiles come in steps of 1 / P.
        wording: of the same prompts, see `text2latent.inference.wording.fit_wording`; None to go by distances alone.

    Raises:
        InputError: without images or prompts.
    """
    if not len(images) or not len(prompt_conditions):
        raise InputError("domain: expected conditions of images and in-domain prompts, got none")
    domain = Domain(images.float().mean(dim=0), images[:SAMPLE_SIZE].float(), torch.zeros(1))
    return replace(domain, calibration=domain.distances(prompt_conditions.float()), wording=wording)


def save_domain(folder: str | Path, domain: Domain) -> None:
    """Write `domain.safetensors` into a prior folder; the sample is kept in half precision."""
    tensors = {"mean": domain.mean, "sample": domain.sample.half(), "calibration": domain.calibration}
    if domain.wording is not None:
        tensors |= {name: getattr(domain.wording, name) for name in WORDING_PARTS}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(Path(folder) / FILE) as partial:
        save_file({**plain, "threshold": torch.tensor(domain.threshold)}, partial)


def load_domain(folder: str | Path, embedding_dim: int) -> Domain | None:
    """Read what `save_domain` wrote; None where there is no such file, and prompts can't be scored then.

    Raises:
        InputError: when the file is damaged or of another CLIP's size.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        tensors = load_file(path)
        mean, sample, calibration = (tensors[name].float() for name in ("mean", "sample", "calibration"))
        threshold = float(tensors["threshold"])
        wording = Wording(*(tensors[name] for name in WORDING_PARTS)) if WORDING_PARTS[0] in tensors else None
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: expected a prior's domain: {one_line(error)}") from error
    domain = Domain(mean, sample, calibration, threshold, wording)
    _require_sound(path, domain, embedding_dim)
    return domain


def _require_sound(path: Path, domain: Domain, embedding_dim: int) -> None:
    """Refuse a domain of another CLIP's size, or one that isn't finite."""
    shapes = [tuple(tensor.shape) for tensor in (domain.mean, domain.sample, domain.calibration)]
    fits = shapes[0] == (embedding_dim,) and shapes[1][1:] == (embedding_dim,) and len(shapes[2]) == 1
    if not (fits and len(domain.sample) and len(domain.calibration)):
        raise InputError(
            f"{path}: expected mean [{embedding_dim}], sample [M, {embedding_dim}] and calibration [P], got {shapes}"
        )
    numbers = [domain.mean, domain.sample, domain.calibration, torch.tensor(domain.threshold)]
    if domain.wording is not None:
        _require_whole(path, domain.wording, len(domain.calibration))
        numbers += [domain.wording.evidence, domain.wording.strangeness]
    if not all(tensor.isfinite().all() for tensor in numbers):
        raise InputError(f"{path}: expected finite numbers, got NaN or infinity")


def _require_whole(path: Path, wording: Wording, num_prompts: int) -> None:
    """Refuse a wording whose parts don't belong together, or not to so many prompts."""
    parts = [getattr(wording, name) for name in WORDING_PARTS]
    found = [(tensor.dtype, tuple(tensor.shape)) for tensor in parts]
    count = len(parts[0]) if parts[0].ndim == 1 else 0
    of_units = [(torch.int64, (count,)), (torch.float16, (count,))]
    of_prompts = [(torch.float32, (num_prompts,)), (torch.bool, (num_prompts,))]
    if not count or found != of_units + of_prompts:
        raise InputError(
            f"{path}: expected units with their evidence, and strangeness and latin of prompts, got {found}"
        )


def says_nothing(clip: ClipEncoder, prompts: Sequence[str], embeddings: Tensor) -> list[bool]:
    """Which prompts are, to this CLIP, as good as empty although it knows all their words.

    A CLIP of a closed vocabulary has zero token embeddings for words that it never learnt. A text of such words is
    as good as empty too, but asks for something that CLIP doesn't know.

    Args:
        prompts: N prompts.
        embeddings: `[N, E]`, their embeddings.
    """
    empty = clip.encode_checked([""])
    similar = ((embeddings @ empty.T)[:, 0] >= EMPTY_SIMILARITY).tolist()
    return [near and not has_unknown_words(clip, prompt) for near, prompt in zip(similar, prompts, strict=True)]


def has_unknown_words(clip: ClipEncoder, prompt: str) -> bool:
    """Whether a prompt has tokens of zero embedding; never so where CLIP's text tower hides its embeddings."""
    tower: Any = getattr(clip.model, "text", clip.model)
    if not hasattr(tower, "token_embedding"):
        return False
    tokens = clip.tokenize([part.text for part in parts_of(prompt)])
    before_end = torch.arange(tokens.shape[1], device=tokens.device) < tokens.argmax(dim=1, keepdim=True)
    return bool((tower.token_embedding(tokens).norm(dim=-1) < 1e-6)[before_end].any())
