"""Draw images from texts with ONNX Runtime: python infer_onnx.py "blonde woman with glasses" --seed 0."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from text2latent.apps.exports.runtime.clip_text import ClipText
from text2latent.apps.exports.runtime.torch_noise import torch_randn


class OnnxPipeline:
    """The networks of an exported folder; `int8` takes those with weights in eight bits, where there are such.

    Raises:
        FileNotFoundError: with `int8`, when the folder was exported without.
    """

    def __init__(self, folder: Path, int8: bool = False) -> None:
        settings = json.loads((folder / "onnx" / "settings.json").read_text(encoding="utf-8"))
        if int8 and not settings["int8"]:
            raise FileNotFoundError(f"{folder}: expected weights in eight bits, which an export with --int8 has")
        self.noise_shape: list[int] = settings["noise_shape"]
        self.tokenize = ClipText(folder / "tokenizer")
        packed = settings["int8"] if int8 else []
        self.text_encoder, self.sampler, self.generator = (
            self.load(folder / "onnx" / f"{name}{'.int8' if name in packed else ''}.onnx")
            for name in ("text_encoder", "sampler", "generator")
        )

    def load(self, path: Path) -> onnxruntime.InferenceSession:
        """A graph on the CPU, whose weights are unpacked once instead of at each run."""
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])

    def latents(self, texts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        """Latents `[N, L, D]`, float32, of a text and a seed per image."""
        size = self.noise_shape[0] * self.noise_shape[1]
        noise = np.stack([torch_randn(seed, size).reshape(self.noise_shape) for seed in seeds])
        (embedding,) = self.text_encoder.run(None, {"tokens": self.tokenize(texts)})
        return self.sampler.run(None, {"embedding": embedding, "noise": noise})[0]

    def __call__(self, texts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        """Images, uint8 `[N, H, W, C]`, of a text and a seed per image."""
        (images,) = self.generator.run(None, {"latents": self.latents(texts, seeds)})
        return np.rint((images + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--int8", action="store_true", help="take the networks with weights in eight bits")
    parser.add_argument("--output", default="image.png")
    flags = parser.parse_args()
    pipeline = OnnxPipeline(Path(__file__).resolve().parent, flags.int8)
    image = pipeline([flags.text], [flags.seed])[0]
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(flags.output)
