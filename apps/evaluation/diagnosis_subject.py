"""What a diagnosis looks at: pairs on disk, and the CLIP, prior and generator that go with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from text2latent.apps.evaluation.diagnosis import Subject, centred
from text2latent.common.errors import InputError
from text2latent.data.manifest import Manifest
from text2latent.data.records import MANIFEST, read_manifest
from text2latent.data.shards import Pairs, iterate_shards
from text2latent.data.storage import is_address
from text2latent.data.streaming import finite_rows
from text2latent.inference.images import to_pil
from text2latent.inference.prompt_lists import AUTO, embed_prompt_list
from text2latent.models.clip.recorded import load_clip
from text2latent.models.generators import load_generator
from text2latent.models.generators.layouts import to_w
from text2latent.models.priors.folder import TrainedPrior, load_prior
from text2latent.models.priors.prior import Prior
from text2latent.models.sources.identity import require_same

if TYPE_CHECKING:
    from PIL import Image

    from text2latent.apps.evaluation.diagnosis_picture import Show

MAX_IMAGES = 4000
FEWEST_IMAGES = 20
SHOWN_PIXELS = 192


@dataclass(frozen=True)
class Sources:
    """Where everything is.

    Attributes:
        source: a folder or address of pairs, or a trained prior as `load_prior` takes it.
        pairs: the prior's pairs; None where they were when it was trained.
        clip: the pairs' CLIP; None where it was when they were drawn.
    """

    source: str
    pairs: str | None = None
    clip: str | Mapping[str, Any] | None = None


def gather(sources: Sources, prompts: Sequence[str]) -> tuple[Subject, Show | None]:
    """Read pairs and embed texts.

    Returns:
        What a diagnosis looks at, and what gives pictures of its images; None where the generator can't be had.

    Raises:
        UsageError: when the source is neither pairs nor a prior.
        InputError: when pairs, prior or CLIP are missing, damaged or don't belong together, or the pairs are too few.
    """
    place, trained = _find_pairs(sources)
    manifest = read_manifest(place)
    latents, images = _read_some(place, manifest)
    clip = load_clip(sources.clip, manifest.clip)
    assert clip.identity is not None
    require_same(manifest.clip, clip.identity, "CLIP")
    if trained is not None:
        require_same(trained.clip, manifest.clip, f"CLIP of the pairs {place}")
    texts, general = clip.encode_text(prompts).numpy(), embed_prompt_list(clip, AUTO).numpy()
    seen = _conditions(None if trained is None else trained.prior, images, texts, general)
    of = f"{manifest.num_pairs} pairs of {manifest.generator} and CLIP {manifest.clip}"
    subject = Subject(
        name=f"{sources.source}: {of}",
        num_pairs=manifest.num_pairs,
        truncation=manifest.truncation,
        prompts=list(prompts),
        images=images,
        texts=texts,
        general=general,
        image_conditions=seen[0],
        text_conditions=seen[1],
        corrected=not (np.allclose(seen[0], images, atol=1e-4) and np.allclose(seen[1], texts, atol=1e-4)),
    )
    return subject, _find_show(manifest, latents)


def _find_pairs(sources: Sources) -> tuple[str, TrainedPrior | None]:
    if is_address(sources.source) or (Path(sources.source) / MANIFEST).is_file():
        return sources.source, None
    trained = load_prior(sources.source)
    place = sources.pairs or str(trained.record.get("dataset", {}).get("path", ""))
    if not is_address(place) and not (Path(place) / MANIFEST).is_file():
        raise InputError(f"--pairs: the pairs of {sources.source} aren't in {place!r}; expected the folder they are in")
    return place, trained


def _read_some(place: str, manifest: Manifest) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """Latents `[N, L, D]` and float32 embeddings `[N, E]` of the first pairs, at most `MAX_IMAGES`."""
    parts: list[Pairs] = []
    for pairs in iterate_shards(place, manifest, sorted(manifest.finished())):
        rows = finite_rows(pairs)
        parts.append((pairs[0][rows], pairs[1][rows]))
        if sum(len(part[0]) for part in parts) >= MAX_IMAGES:
            break
    found = sum(len(part[0]) for part in parts)
    if found < FEWEST_IMAGES:
        raise InputError(f"{place}: expected at least {FEWEST_IMAGES} pairs to look at, got {found}")
    latents, embeddings = (np.concatenate(arrays)[:MAX_IMAGES] for arrays in zip(*parts, strict=True))
    return latents, centred(embeddings.astype(np.float32), np.zeros(1, np.float32))


def _conditions(
    prior: Prior | None, images: NDArray[np.float32], texts: NDArray[np.float32], general: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What a prior sees of images and texts; without one, what one would see that is trained by default."""
    if prior is None:
        return centred(images, images.mean(axis=0)), centred(texts, general.mean(axis=0))
    with torch.no_grad():
        seen = prior.image_condition(torch.from_numpy(images)), prior.text_condition(torch.from_numpy(texts))
    return seen[0].numpy(), seen[1].numpy()


def _find_show(manifest: Manifest, latents: NDArray[np.float16]) -> Show | None:
    """What draws pairs' images again; None where their generator isn't where it was, or is a class of one's own."""
    try:
        generator = load_generator(manifest.generator.source, allow_import=False).eval()
        assert generator.identity is not None
        require_same(manifest.generator, generator.identity, "generator")
    except InputError:
        return None

    @torch.inference_mode()
    def show(rows: NDArray[np.int64]) -> list[Image.Image]:
        w = to_w(torch.from_numpy(latents[rows]).float(), manifest.latent_layout, generator)
        return [_small(picture) for picture in to_pil(generator.synthesize(w))]

    return show


def _small(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGB")
    picture.thumbnail((SHOWN_PIXELS, SHOWN_PIXELS))
    return picture
