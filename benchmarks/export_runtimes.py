"""The tools that draw from an exported folder, each loaded and timed in a process of its own."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Draw = Callable[[str, int], np.ndarray]
"""A text and a seed to a picture, uint8 `[H, W, 3]`."""
PARTS = ("prior/*.safetensors", "generator/*.safetensors", "clip/*.safetensors")
WARM_UP = 3


@dataclass(frozen=True)
class Runtime:
    """A tool.

    Attributes:
        load: gets it ready to draw from a folder; its imports are made there.
        files: patterns of the files that it reads.
    """

    load: Callable[[Path], Draw]
    files: Sequence[str]

    def is_in(self, folder: Path) -> bool:
        return all(any(folder.glob(pattern)) for pattern in self.files)

    def size(self, folder: Path) -> int:
        """Bytes of the files that it reads."""
        return sum(path.stat().st_size for pattern in self.files for path in folder.glob(pattern))


@dataclass(frozen=True)
class Timing:
    """What a runtime took.

    Attributes:
        load_seconds: imports and loading, once the interpreter runs.
        image_seconds: median of one image from a text, when it has drawn before.
        picture: the image of the first seed, `[H, W, 3]`.
    """

    load_seconds: float
    image_seconds: float
    picture: np.ndarray


def load_own(folder: Path) -> Draw:
    from text2latent.inference.pipeline import Text2LatentPipeline

    pipeline = Text2LatentPipeline.from_pretrained(str(folder))
    return lambda text, seed: np.asarray(pipeline(text, seeds=[seed], return_scores=False).images[0])


def load_diffusers(folder: Path) -> Draw:
    import torch
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(str(folder), custom_pipeline=str(folder), trust_remote_code=True)
    return lambda text, seed: np.asarray(pipeline(text, generator=torch.Generator().manual_seed(seed)).images[0])


def load_onnx(folder: Path, int8: bool = False) -> Draw:
    from text2latent.apps.exports.runtime.infer_onnx import OnnxPipeline

    pipeline = OnnxPipeline(folder, int8)
    return lambda text, seed: pipeline([text], [seed])[0]


def load_onnx_int8(folder: Path) -> Draw:
    return load_onnx(folder, int8=True)


def load_pt2(folder: Path, compiled: bool = False) -> Draw:
    """Plain torch, or the package that AOTInductor compiled."""
    import json

    import torch

    from text2latent.apps.exports.runtime.clip_text import ClipText

    tokenize = ClipText(folder / "tokenizer")
    shape = json.loads((folder / "pt2/settings.json").read_text(encoding="utf-8"))["noise_shape"]
    if compiled:
        program: Any = torch._inductor.aoti_load_package(str(folder / "pt2/text2latent.aoti.pt2"))
    else:
        program = torch.export.load(folder / "pt2/text2latent.pt2").module()

    def draw(text: str, seed: int) -> np.ndarray:
        noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            image = program(tokens=torch.from_numpy(tokenize([text])), noise=noise)[0]
        return ((image + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()

    return draw


def load_compiled(folder: Path) -> Draw:
    return load_pt2(folder, compiled=True)


RUNTIMES = {
    "text2latent": Runtime(load_own, PARTS),
    "diffusers": Runtime(load_diffusers, PARTS),
    "onnxruntime": Runtime(load_onnx, ("onnx/*[!8].onnx", "tokenizer/*.json")),
    "onnxruntime, int8": Runtime(load_onnx_int8, ("onnx/*.int8.onnx", "onnx/sampler.onnx", "tokenizer/*.json")),
    "torch.export": Runtime(load_pt2, ("pt2/text2latent.pt2", "tokenizer/*.json")),
    "AOTInductor": Runtime(load_compiled, ("pt2/text2latent.aoti.pt2", "tokenizer/*.json")),
}


def measure(name: str, folder: Path, text: str, repeats: int) -> Timing:
    """Load a runtime and draw `repeats` images after `WARM_UP` ones, in a new process."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        return pool.submit(_measure_here, name, folder, text, repeats).result()


def _measure_here(name: str, folder: Path, text: str, repeats: int) -> Timing:
    started = time.perf_counter()
    draw = RUNTIMES[name].load(folder)
    loaded = time.perf_counter() - started
    picture, seconds = draw(text, 0), []
    for seed in range(WARM_UP + repeats):
        started = time.perf_counter()
        draw(text, seed)
        seconds.append(time.perf_counter() - started)
    return Timing(loaded, statistics.median(seconds[WARM_UP:]), picture)
