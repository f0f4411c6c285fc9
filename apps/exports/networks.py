"""The networks of a pipeline as functions of tensors alone, for tracing into graphs that other tools run."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from text2latent.common.errors import InputError, one_line
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.inference.settings import DEFAULT_GUIDANCE_SCALE, DEFAULT_STEPS
from text2latent.models.clip.encoder import ClipEncoder
from text2latent.models.generators.base import Generator
from text2latent.models.generators.layouts import to_w
from text2latent.models.priors.diffusion import integrate
from text2latent.models.priors.prior import Prior
from text2latent.models.priors.schedulers import is_stochastic

NOISY_LOGGERS = ("onnxscript", "onnx_ir", "torch.onnx", "torch.export", "torch._export")


class TextEncoder(nn.Module):
    """Tokens `[N, context_length]` to embeddings `[N, E]` of unit length.

    The whole context is computed, since a graph can't choose its length by what the tokens are.
    """

    def __init__(self, clip: ClipEncoder) -> None:
        super().__init__()
        self.model: Any = clip.model

    def forward(self, tokens: Tensor) -> Tensor:
        return normalize(self.model.encode_text(tokens).float(), dim=-1)


class ImageDecoder(nn.Module):
    """Latents `[N, L, D]` to images `[N, 3, H, W]` in [-1, 1]."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, latents: Tensor) -> Tensor:
        return undecorated(type(self.generator).synthesize)(self.generator, latents)


@dataclass(frozen=True)
class GraphSettings:
    """What becomes part of a graph.

    Attributes:
        num_inference_steps: as `text2latent.models.priors.diffusion.sample`.
        guidance_scale: likewise.
        int8: ONNX: also write graphs with weights in eight bits, see `onnx_folder.PACKED`.
        compile: torch.export: `yes`, `no`, or `auto` to compile a package where there is a C++ compiler.
    """

    num_inference_steps: int = DEFAULT_STEPS
    guidance_scale: float = DEFAULT_GUIDANCE_SCALE
    int8: bool = False
    compile: str = "auto"


class LatentSampler(nn.Module):
    """Text embeddings `[N, E]` and noise of the prior's shape to latents `[N, L, D]` of the generator.

    Args:
        pipeline: whose prior, scheduler and generator to take.
        how: steps and guidance, which become part of the graph.

    Raises:
        InputError: for a scheduler that draws noise of its own, which a graph can't repeat.
    """

    def __init__(self, pipeline: Text2LatentPipeline, how: GraphSettings) -> None:
        super().__init__()
        if is_stochastic(pipeline.scheduler.name):
            name = pipeline.scheduler.name
            raise InputError(f"scheduler {name}: draws noise at each step; expected one that doesn't, such as DDIM")
        self.prior, self.generator, self.scheduler = pipeline.prior, pipeline.generator, pipeline.scheduler
        self.num_inference_steps, self.guidance_scale = how.num_inference_steps, how.guidance_scale

    def forward(self, embedding: Tensor, noise: Tensor) -> Tensor:
        condition = self.prior.text_condition(embedding)
        steps, scale = self.num_inference_steps, self.guidance_scale
        normalized = undecorated(integrate)(self.prior, self.scheduler, condition, steps, scale, noise)
        drawn = self.prior.denormalize(normalized)
        return undecorated(to_w)(drawn, self.prior.latent_layout, self.generator)


class TextToImage(nn.Module):
    """Tokens `[N, context_length]` and noise of the prior's shape to images `[N, 3, H, W]` in [-1, 1]."""

    def __init__(self, pipeline: Text2LatentPipeline, how: GraphSettings) -> None:
        super().__init__()
        self.text_encoder = TextEncoder(pipeline.clip)
        self.sampler = LatentSampler(pipeline, how)
        self.decoder = ImageDecoder(pipeline.generator)

    def forward(self, tokens: Tensor, noise: Tensor) -> Tensor:
        return self.decoder(self.sampler(self.text_encoder(tokens), noise))


def require_unit_embeddings(prior: Prior, folder: Path) -> None:
    """Refuse to export clip2latent's own priors, whose conditions have other lengths than those that graphs compute.

    Raises:
        InputError: naming the folder that was to be written.
    """
    if prior.takes_raw_embeddings:
        raise InputError(f"{folder}: expected a prior that takes embeddings of unit length, this is clip2latent's own")


def settings_json(pipeline: Text2LatentPipeline, how: GraphSettings) -> dict[str, Any]:
    """What whoever runs the graphs has to know: `noise_shape`, and what became part of them."""
    return {
        "noise_shape": list(pipeline.prior.latent_shape),
        "context_length": pipeline.clip.context_length,
        "steps": how.num_inference_steps,
        "guidance_scale": how.guidance_scale,
    }


def example_inputs(pipeline: Text2LatentPipeline, n: int = 2) -> tuple[Tensor, Tensor]:
    """Tokens `[n, context_length]` and noise of the prior's shape to trace with."""
    tokens = pipeline.clip.tokenize(["a photo"] * n)
    return tokens, torch.zeros(n, *pipeline.prior.latent_shape, device=tokens.device)


def undecorated(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function without its `torch.no_grad()`, which would become a part of the graph that can't be read back."""
    return inspect.unwrap(function)


def trace(network: nn.Module, inputs: dict[str, Tensor]) -> torch.export.ExportedProgram:
    """A network's program, whose first dimension of every input is an open batch.

    Args:
        network: whose `forward` has arguments of these names, in this order.
        inputs: examples, all of one batch size that is at least 2.

    Raises:
        InputError: when the network does something that can't be traced.
    """
    batch = torch.export.Dim("batch")
    shapes = {name: {0: batch} for name in inputs}
    try:
        # With autograd on, generators don't choose their way by the size of the batch, which the graph leaves open.
        with quiet(), torch.enable_grad():
            return torch.export.export(network.eval(), (), inputs, dynamic_shapes=shapes, strict=False)
    except Exception as error:
        # The tracer raises whatever a network's code does on symbolic shapes.
        raise InputError(f"{type(network).__name__}: cannot be traced: {one_line(error)}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' progress and their warnings, which speak to who writes the networks."""
    noisy = [logging.getLogger(name) for name in NOISY_LOGGERS]
    levels = [logger.level for logger in noisy]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in noisy:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(noisy, levels, strict=True):
                logger.setLevel(level)
