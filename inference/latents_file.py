"""Latents in files that StyleGAN's tools read and write: `w` `[N, num_ws, w_dim]`, float32, in an `.npz`.

It is what StyleGAN2-ADA's projector writes and `gen_images.py --projected-w` reads.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from text2latent.common.errors import InputError, one_line
from text2latent.common.files import replacing

KEY = "w"


def latents_bytes(latents: Sequence[Tensor], num_ws: int) -> bytes:
    """Such a file in memory; arguments are as for `save_latents`."""
    w = torch.stack([latent.detach().float().expand(num_ws, -1) for latent in latents]).cpu().numpy()
    file = io.BytesIO()
    np.savez(file, w=w)
    return file.getvalue()


def save_latents(path: str | Path, latents: Sequence[Tensor], num_ws: int, overwrite: bool = False) -> None:
    """Write latents, whole or not at all.

    Args:
        path: the file; its folder is made if it is missing.
        latents: N of `[num_ws, w_dim]`, or `[1, w_dim]` for one w in all layers.
        num_ws: layers to write.
        overwrite: replace a file that is there.

    Raises:
        InputError: when the file exists and isn't to be replaced.
        OSError: when the disk refuses.
    """
    with replacing(Path(path), overwrite) as partial:
        partial.write_bytes(latents_bytes(latents, num_ws))


def count_latents(path: str | Path, flag: str = "--latents") -> int:
    """Number of images in a file of latents.

    Raises:
        InputError: as `load_latents`, for any generator.
    """
    return len(_read(path, flag, "[N, num_ws, w_dim]"))


def load_latents(path: str | Path, latent_shape: tuple[int, int], flag: str = "--latents") -> Tensor:
    """Read latents for a generator, float32 `[N, num_ws, w_dim]` on the CPU.

    Args:
        path: an `.npz` with `w` `[N, num_ws, w_dim]`, or with one w for all layers `[N, 1, w_dim]`.
        latent_shape: `(num_ws, w_dim)` of the generator.
        flag: what named the file, for messages.

    Raises:
        InputError: when the file can't be read, has no `w`, or one that doesn't fit or isn't finite.
    """
    layers, channels = latent_shape
    shape = f"[N, {layers}, {channels}]"
    w = _read(path, flag, shape)
    if w.shape[1] not in (1, layers) or w.shape[2] != channels:
        raise InputError(f"{flag}: {path}: expected an .npz with w {shape} of finite numbers, got {list(w.shape)}")
    return torch.from_numpy(w).expand(-1, layers, -1)


def _read(path: str | Path, flag: str, shape: str) -> np.ndarray:
    expected = f"{flag}: {path}: expected an .npz with w {shape} of finite numbers"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            w = arrays[KEY]
    except Exception as error:
        # Missing, foreign and damaged files make numpy raise zipfile, value, key, memory and end-of-file errors.
        raise InputError(f"{expected}: {one_line(error, 120)}") from error
    if w.ndim != 3 or not len(w) or w.dtype.kind not in "fiu":
        raise InputError(f"{expected}, got {w.dtype} {list(w.shape)}")
    if not np.isfinite(w := w.astype(np.float32)).all():
        raise InputError(f"{expected}, got NaN or infinity")
    return w
