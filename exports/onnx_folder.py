"""ONNX graphs of a pipeline's networks, and the script that draws with them."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from text2latent.configs.errors import InputError, one_line
from text2latent.exports.networks import (
    GraphSettings,
    ImageDecoder,
    LatentSampler,
    TextEncoder,
    example_inputs,
    settings_json,
)
from text2latent.exports.provenance import to_json
from text2latent.exports.quantization import quantize_weights
from text2latent.exports.scripts import write_scripts
from text2latent.exports.tokenizer import TOKENIZER_FOLDER, write_tokenizer
from text2latent.models.pipeline import Text2LatentPipeline

FOLDER = "onnx"
METADATA_KEY = "text2latent"
OPSET = 20
INT8_SUFFIX = ".int8.onnx"
PACKAGES = ("ftfy", "onnx", "onnxruntime", "onnxscript", "tokenizers")


def write_onnx(pipeline: Text2LatentPipeline, folder: Path, record: dict[str, Any], how: GraphSettings) -> None:
    """Add `onnx/`, `tokenizer/` and `infer_onnx.py` to an exported folder.

    The graphs take any batch: `text_encoder` (tokens to embedding), `sampler` (embedding and noise to latents, all
    steps unrolled) and `generator` (latents to images).

    Args:
        pipeline: whose networks to write.
        folder: the exported folder.
        record: its record, which goes into each graph's metadata.
        how: what becomes part of the graphs.

    Raises:
        InputError: when the packages of the extra `export` are missing, or a network cannot be exported.
    """
    require_packages(PACKAGES)
    target = folder / FOLDER
    target.mkdir()
    (target / "settings.json").write_text(json.dumps(settings_json(pipeline, how)) + "\n", encoding="utf-8")
    write_tokenizer(pipeline.clip.tokenizer, folder / TOKENIZER_FOLDER)
    for name, (network, inputs, output) in graphs(pipeline, how).items():
        file = target / f"{name}.onnx"
        export_graph(network, inputs, output, file)
        add_metadata(file, record)
        if how.int8:
            quantize_weights(file, file.with_name(f"{name}{INT8_SUFFIX}"))
    write_scripts(("infer_onnx", "clip_text", "torch_noise"), folder)


def graphs(pipeline: Text2LatentPipeline, how: GraphSettings) -> dict[str, tuple[nn.Module, dict[str, Tensor], str]]:
    """Network, example inputs by name and name of the output, of each graph."""
    tokens, noise = example_inputs(pipeline)
    embedding = torch.full((len(noise), pipeline.prior.embedding_dim), pipeline.prior.embedding_dim**-0.5)
    sampler = LatentSampler(pipeline, how)
    latents = sampler(embedding, noise)
    return {
        "text_encoder": (TextEncoder(pipeline.clip), {"tokens": tokens}, "text_embedding"),
        "sampler": (sampler, {"embedding": embedding, "noise": noise}, "latents"),
        "generator": (ImageDecoder(pipeline.generator), {"latents": latents}, "images"),
    }


def export_graph(network: nn.Module, inputs: dict[str, Tensor], output: str, file: Path) -> None:
    """Write a network as an ONNX file with a dynamic batch.

    Raises:
        InputError: naming the network, when it has an operation that ONNX lacks.
    """
    batch = torch.export.Dim("batch")
    try:
        with quiet():
            torch.onnx.export(
                network.eval(),
                kwargs=inputs,
                f=file,
                input_names=list(inputs),
                output_names=[output],
                dynamic_shapes={name: {0: batch} for name in inputs},
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        # The exporter wraps whatever went wrong in any of its passes.
        raise InputError(f"{file.stem}: cannot be written as ONNX: {one_line(error)}") from error


def add_metadata(file: Path, record: dict[str, Any]) -> None:
    """Put a record into an ONNX file's metadata."""
    import onnx

    model = onnx.load(file)
    onnx.helper.set_model_props(model, {METADATA_KEY: to_json(record)})
    onnx.save(model, file)


def require_packages(names: tuple[str, ...]) -> None:
    """Refuse to start without packages of the extra `export`.

    Raises:
        InputError: naming those that are missing.
    """
    from importlib.util import find_spec

    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise InputError(f"{', '.join(missing)}: not installed; expected pip install 'text2latent[export]'")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' progress and their warnings, which speak to who writes the networks."""
    noisy = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx", "torch.export")]
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
