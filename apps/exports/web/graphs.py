"""The ONNX graphs of a web folder: guidance is an input, and conditions may come from between texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from text2latent.apps.exports.networks import (
    GraphSettings,
    ImageDecoder,
    LatentSampler,
    TextEncoder,
    example_inputs,
    undecorated,
)
from text2latent.apps.exports.onnx_folder import PACKED, export_graph, finish_graph
from text2latent.apps.exports.quantization import halve_weights, quantize_weights
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.generators.layouts import to_w
from text2latent.models.priors.diffusion import Denoiser, initial_noise, integrate

NAMES = ("text_encoder", "sampler", "generator")


class GuidedPrior:
    """A denoiser with classifier-free guidance (arXiv:2207.12598) whose scale is a tensor.

    Args:
        prior: called once, on 2N rows, whatever the scale.
        scale: `[N]`, at least 0.
    """

    def __init__(self, prior: Denoiser, scale: Tensor) -> None:
        self.prior, self.scale = prior, scale

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor, drop: Tensor | None = None) -> Tensor:
        """`null + scale (conditional - null)`, `[N, L, D]`; see `Denoiser`."""
        n = x.shape[0]
        dropped = torch.arange(2 * n, device=x.device) >= n
        both = self.prior(torch.cat([x, x]), torch.cat([t, t]), torch.cat([condition, condition]), dropped)
        conditional, null = both[:n], both[n:]
        return null + self.scale[:, None, None] * (conditional - null)

    def denormalize(self, x: Tensor) -> Tensor:
        """Latents in the generator's units; see `Denoiser`."""
        return self.prior.denormalize(x)


class GuidedSampler(LatentSampler):
    """Conditions `[N, E]`, noise of the prior's shape and guidance scales `[N]` to latents `[N, L, D]`.

    Arguments and errors are those of `LatentSampler`.
    """

    def forward(self, condition: Tensor, noise: Tensor, guidance_scale: Tensor) -> Tensor:  # type: ignore[override]
        guided = GuidedPrior(self.prior, guidance_scale)
        drawn = undecorated(integrate)(guided, self.scheduler, condition, self.num_inference_steps, 1.0, noise)
        return undecorated(to_w)(self.prior.denormalize(drawn), self.prior.latent_layout, self.generator)


def networks(pipeline: Text2LatentPipeline, how: GraphSettings) -> dict[str, tuple[nn.Module, dict[str, Tensor], str]]:
    """Network, example inputs by name and name of the output, of each of `NAMES`."""
    tokens, noise = example_inputs(pipeline)
    condition = torch.full((len(noise), pipeline.prior.embedding_dim), pipeline.prior.embedding_dim**-0.5)
    sampler = GuidedSampler(pipeline, how)
    inputs = {"condition": condition, "noise": noise, "guidance_scale": torch.full((len(noise),), 2.0)}
    latents = sampler(**inputs)
    return {
        "text_encoder": (TextEncoder(pipeline.clip), {"tokens": tokens}, "text_embedding"),
        "sampler": (sampler, inputs, "latents"),
        "generator": (ImageDecoder(pipeline.generator), {"latents": latents}, "images"),
    }


def write_graph(
    name: str,
    network: nn.Module,
    inputs: dict[str, Tensor],
    output: str,
    folder: Path,
    record: dict[str, Any],
    int8: bool,
) -> bytes:
    """Write one of `networks` as `NAME.onnx`, with weights as small as they get without a change.

    Args:
        record: goes into the file's metadata.
        int8: whether weights of `PACKED` are written in eight bits, which changes them.

    Returns:
        The file's content.

    Raises:
        InputError: naming the network, when it can't be written as ONNX.
    """
    file = folder / f"{name}.onnx"
    export_graph(network, inputs, output, file)
    finish_graph(file, record)
    if int8 and name in PACKED:
        quantize_weights(file, file)
    halve_weights(file, file)
    return file.read_bytes()


class GraphPipeline:
    """Draws with the graphs of a folder as the page does, to compare the page with `infer`.

    Args:
        folder: with `NAME.onnx` of each of `NAMES`.
        pipeline: whose tokenizer, conditions and noise to take.
        guidance_scale: of all pictures.
    """

    def __init__(self, folder: Path, pipeline: Text2LatentPipeline, guidance_scale: float) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        self.sessions = {
            name: onnxruntime.InferenceSession(folder / f"{name}.onnx", options, ["CPUExecutionProvider"])
            for name in NAMES
        }
        self.pipeline, self.guidance_scale = pipeline, guidance_scale

    def run(self, name: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        return self.sessions[name].run(None, dict(inputs))[0]

    def __call__(self, texts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        """Images, uint8 `[N, H, W, C]`, of a text and a seed per image."""
        prior = self.pipeline.prior
        embedding = self.run("text_encoder", {"tokens": self.pipeline.clip.tokenize(texts).numpy()})
        with torch.no_grad():
            condition = prior.text_condition(torch.from_numpy(embedding)).numpy()
        scale = np.full(len(seeds), self.guidance_scale, np.float32)
        noise = initial_noise(seeds, prior.latent_shape).numpy()
        latents = self.run("sampler", {"condition": condition, "noise": noise, "guidance_scale": scale})
        images = self.run("generator", {"latents": latents})
        return np.rint((images.clip(-1, 1) + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
