"""Draw the pairs of one shard: seeds -> z -> w -> images -> CLIP embeddings."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from text2latent.common.errors import InputError
from text2latent.data.shards import encode_shard
from text2latent.models.colours import to_rgb
from text2latent.models.generators.layouts import to_w

if TYPE_CHECKING:
    from text2latent.models.clip.encoder import ClipEncoder
    from text2latent.models.generators.base import Generator

# Rows that the mapping network sees at once. A matrix product may round a row differently in another number of rows,
# and stored latents mustn't depend on the batch size.
MAPPING_ROWS = 50
JPEG_QUALITY = 95

T = TypeVar("T")


def draw_latents(generator: Generator, seed: int, samples: range, truncation: float, layout: str = "w") -> torch.Tensor:
    """Latents of `samples`, each from its own seed.

    Args:
        generator: draws z, and maps it to w for the other layouts.
        seed: of the dataset; sample i is drawn from ``seed + i``.
        samples: sample numbers, consecutive.
        truncation: psi, 1 for none; z isn't truncated.
        layout: ``w`` for generators that broadcast one w to all their layers, ``w_plus`` or ``z``.

    Returns:
        ``[N, 1, w_dim]``, ``[N, num_ws, w_dim]`` or ``[N, 1, z_dim]``, float16 on the generator's device.
    """
    z = generator.sample_latents(len(samples), seed + samples.start).to(generator.device)
    if layout == "z":
        return z[:, None].half()
    labels = generator.sample_labels(len(samples), seed + samples.start)
    rows = _padded(z).split(MAPPING_ROWS)
    rows_of_labels = [None] * len(rows) if labels is None else _padded(labels.to(z.device)).split(MAPPING_ROWS)
    layers = slice(None) if layout == "w_plus" else slice(0, 1)
    mapped = [
        generator.map(part, label, truncation_psi=truncation)[:, layers]
        for part, label in zip(rows, rows_of_labels, strict=True)
    ]
    return torch.cat(mapped)[: len(z)].half()


def _padded(rows: torch.Tensor) -> torch.Tensor:
    """Rows, and zeros up to whole batches of `MAPPING_ROWS`."""
    return torch.nn.functional.pad(rows, (0, 0, 0, -len(rows) % MAPPING_ROWS))


def _jpegs(images: torch.Tensor) -> list[bytes]:
    """Encode images ``[N, C, H, W]`` in [-1, 1] as JPEG files, in RGB as CLIP sees them."""
    pixels = to_rgb(images.float()).mul(127.5).add(128).clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    files = []
    for image in pixels:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
        files.append(buffer.getvalue())
    return files


@contextmanager
def _side_by_side(function: Callable[[torch.Tensor], T], batches: Sequence[torch.Tensor]) -> Iterator[Iterator[T]]:
    """Context of the results of `function` on each batch, in order, computed on as many threads as PyTorch may use.

    On a CPU a thread per batch is half as fast again as all threads on one batch: PyTorch lets go of the interpreter
    while it computes, and many of the operations on small images are too short to be split. Leaving the context
    early, by an error or Ctrl-C, drops the batches that haven't begun. Elsewhere the batches come one after another.
    """
    threads = min(torch.get_num_threads(), len(batches))
    if batches[0].device.type != "cpu" or threads == 1:
        yield map(function, batches)
        return
    allowed = torch.get_num_threads()
    workers = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield workers.map(function, batches)
    finally:
        workers.shutdown(cancel_futures=True)
        torch.set_num_threads(allowed)  # a thread's setting is also that of the threads that begin after it


def _embed(
    generator: Generator,
    clip: ClipEncoder,
    latents: torch.Tensor,
    batch_size: int,
    precision: str,
    on_batch: Callable[[int], object],
    keep_images: bool,
    layout: str,
) -> tuple[torch.Tensor, list[bytes] | None]:
    """Embeddings ``[N, E]`` float16 and JPEG files of the images that `latents` of a layout stand for."""

    @torch.inference_mode()  # this and autocast hold for one thread only
    def embed_batch(batch: torch.Tensor) -> tuple[torch.Tensor, list[bytes]]:
        with torch.autocast(latents.device.type, torch.bfloat16, enabled=precision == "bf16"):
            images = generator.synthesize(to_w(batch.float(), layout, generator), **generator.rough_options)
            embeddings = clip.encode_image(images).half()
        return embeddings, _jpegs(images) if keep_images else []

    embeddings, files = [], []
    with _side_by_side(embed_batch, latents.split(batch_size)) as results:
        for batch_embeddings, batch_files in results:
            embeddings.append(batch_embeddings)
            files += batch_files
            on_batch(len(batch_embeddings))
    return torch.cat(embeddings), files if keep_images else None


def _require_finite(values: NDArray[np.float16], samples: range, seed: int, what: str) -> None:
    finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if not finite.all():
        sample = samples[int(np.argmin(finite))]
        raise InputError(f"sample {sample} (seed {seed + sample}): {what} is not finite in float16")


@torch.inference_mode()
def draw_shard(
    generator: Generator,
    clip: ClipEncoder,
    samples: range,
    seed: int = 0,
    truncation: float = 1.0,
    batch_size: int = 32,
    precision: str = "32",
    keep_images: bool = False,
    on_batch: Callable[[int], object] = lambda count: None,
    layout: str = "w",
) -> bytes:
    """Bytes of the shard that holds `samples`.

    Images are drawn from the latents as stored, rounded to float16, so that a pair is true to itself. The batch size
    doesn't change the latents at all, and the embeddings by no more than float16 rounding.

    Args:
        generator, clip: on the same device.
        samples: sample numbers, consecutive.
        seed: sample i is drawn from ``seed + i``.
        truncation: psi of the truncation trick, 1 for none.
        batch_size: images at once.
        precision: ``32``, or ``bf16`` for autocast of synthesis, roughly, and embedding.
        keep_images: whether the shard also holds the images as JPEG.
        on_batch: called with the number of pairs after each batch.
        layout: of the latents, see `draw_latents`.

    Raises:
        InputError: when a latent or an embedding isn't finite.
    """
    latents = draw_latents(generator, seed, samples, truncation, layout)
    embeddings, files = _embed(generator, clip, latents, batch_size, precision, on_batch, keep_images, layout)
    latent_values, embedding_values = latents.cpu().numpy(), embeddings.cpu().numpy()
    _require_finite(latent_values, samples, seed, "latent")
    _require_finite(embedding_values, samples, seed, "embedding")
    return encode_shard(samples.start, latent_values, embedding_values, files, generator.identity, clip.identity)
