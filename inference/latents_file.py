"""Latents in files that StyleGAN's tools read and write: `w` `[N, num_ws, w_dim]`, float32.

`.npz` is what StyleGAN2-ADA's projector writes and `gen_images.py --projected-w` reads, `dlatents.npz` the same of
TensorFlow's; `.npy` holds one array. `.pt` is what PTI, e4e and the projector of stylegan2-pytorch write; it is read as
data, none of what it names is run.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from text2latent.common.errors import InputError, UsageError, one_line
from text2latent.common.files import replacing

KEYS = ("w", "dlatents", "latents", "w_plus")
"""Names of the array in an `.npz`, the first that is there."""
IMAGE_KEY = "latent"
"""Name of an image's latents in files of stylegan2-pytorch's projector."""
SUFFIXES = (".npz", ".npy", ".pt")
NPY_PREFIX = b"\x93NUMPY"
MAX_UNPACKED = 1 << 32
"""Bytes that a packed array may have: latents of 100,000 images of 18 layers of 512 channels have as many."""


def check_suffix(path: str | Path, flag: str = "--save-latents") -> None:
    """Raise a UsageError for a file whose suffix is none of `SUFFIXES`."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise UsageError(f"{flag}: expected a file name that ends in {', '.join(SUFFIXES)}, got {path}")


def latents_bytes(latents: Sequence[Tensor], num_ws: int, suffix: str = ".npz") -> bytes:
    """Such a file in memory, of a suffix of `SUFFIXES`; other arguments are as for `save_latents`."""
    w = torch.stack([latent.detach().float().expand(num_ws, -1) for latent in latents]).cpu()
    file = io.BytesIO()
    if suffix == ".pt":
        torch.save(w, file)
    elif suffix == ".npy":
        np.save(file, w.numpy())
    else:
        np.savez(file, w=w.numpy())
    return file.getvalue()


def save_latents(path: str | Path, latents: Sequence[Tensor], num_ws: int, overwrite: bool = False) -> None:
    """Write latents, whole or not at all.

    Args:
        path: the file, whose suffix says its kind; its folder is made if it is missing.
        latents: N of `[num_ws, w_dim]`, or `[1, w_dim]` for one w in all layers.
        num_ws: layers to write.
        overwrite: replace a file that is there.

    Raises:
        InputError: when the file exists and isn't to be replaced.
        OSError: when the disk refuses.
    """
    with replacing(Path(path), overwrite) as partial:
        partial.write_bytes(latents_bytes(latents, num_ws, Path(path).suffix.lower()))


def count_latents(path: str | Path, flag: str = "--latents") -> int:
    """Number of images in a file of latents.

    Raises:
        InputError: as `load_latents`, for any generator.
    """
    return len(_read(path, flag, "[N, num_ws, w_dim]"))


def load_latents(path: str | Path, latent_shape: tuple[int, int], flag: str = "--latents") -> Tensor:
    """Read latents for a generator, float32 `[N, num_ws, w_dim]` on the CPU.

    Args:
        path: a file of `[N, num_ws, w_dim]`, or with one w for all layers `[N, 1, w_dim]`; or of one image,
            `[num_ws, w_dim]`, `[1, w_dim]` or `[w_dim]`. See the module for its kinds.
        latent_shape: `(num_ws, w_dim)` of the generator.
        flag: what named the file, for messages.

    Raises:
        InputError: when the file can't be read, has no latents, or such that don't fit or aren't finite.
    """
    layers, channels = latent_shape
    shape = f"[N, {layers}, {channels}]"
    w = _read(path, flag, shape)
    if w.shape[1] not in (1, layers) or w.shape[2] != channels:
        raise InputError(f"{_expected(path, flag, shape)}, got {list(w.shape)}")
    return torch.from_numpy(w).expand(-1, layers, -1)


def _expected(path: str | Path, flag: str, shape: str) -> str:
    return f"{flag}: {path}: expected latents w {shape} of finite numbers, in an .npz, .npy or .pt"


def _read(path: str | Path, flag: str, shape: str) -> np.ndarray:
    expected = _expected(path, flag, shape)
    try:
        w = _array(Path(path))
    except Exception as error:
        # Missing, foreign and damaged files make numpy raise zipfile, value, key, memory and end-of-file errors.
        raise InputError(f"{expected}: {one_line(error, 120)}") from error
    if not 1 <= w.ndim <= 3 or not w.size or w.dtype.kind not in "fiu":
        raise InputError(f"{expected}, got {w.dtype} {list(w.shape)}")
    w = w.reshape(-1, *w.shape[-2:]) if w.ndim > 1 else w.reshape(1, 1, -1)
    if not np.isfinite(w := w.astype(np.float32)).all():
        raise InputError(f"{expected}, got NaN or infinity")
    return w


def _array(path: Path) -> np.ndarray:
    with open(path, "rb") as file:
        head = file.read(len(NPY_PREFIX))
    if head == NPY_PREFIX:
        # Mapped, a file that claims more than it holds is refused before any memory is taken.
        return np.load(path, mmap_mode="r", allow_pickle=False)
    return _from_npz(path) if head[:2] == b"PK" and not _is_torch_zip(path) else _from_torch(path)


def _is_torch_zip(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.rpartition("/")[2] == "data.pkl" for name in archive.namelist())


def _from_npz(path: Path) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        if sum(info.file_size for info in archive.infolist()) > MAX_UNPACKED:
            raise ValueError(f"its arrays claim more than {MAX_UNPACKED} bytes")
    with np.load(path, allow_pickle=False) as arrays:
        name = next((key for key in KEYS if key in arrays.files), None)
        if name is None:
            raise ValueError(f"no array {' or '.join(KEYS)}, only {', '.join(arrays.files[:3])}")
        return np.asarray(arrays[name])


def _from_torch(path: Path) -> np.ndarray:
    from text2latent.models.generators.formats.torch_files import is_torch_file, read_torch_objects
    from text2latent.models.generators.formats.unpickling import load_tensors, map_file, network_globals

    data = map_file(path)
    if not is_torch_file(data):
        raise ValueError("neither an array nor what torch.save writes")
    records = _records(read_torch_objects(path, data, network_globals))
    tensors = list(load_tensors({str(i): record for i, record in enumerate(records)}, len(data)).values())
    return (torch.stack(tensors) if len(tensors) > 1 else tensors[0]).numpy()


def _records(value: Any) -> list[Any]:
    """The tensors of a file: one, in dictionaries or lists of one item, or one under `latent` for each image."""
    for _ in range(8):
        if isinstance(value, dict) and value and all(isinstance(part, dict) for part in value.values()):
            images = [part.get(IMAGE_KEY) for part in value.values()]
            if all(hasattr(image, "load") for image in images):
                return images
        if isinstance(value, dict):
            named = [value[key] for key in (*KEYS, IMAGE_KEY) if key in value]
            value = named or list(value.values())
        if isinstance(value, (list, tuple)) and len(value) == 1:
            value = value[0]
    if not hasattr(value, "load"):
        raise ValueError("expected one tensor, alone or in a dictionary")
    return [value]
