"""ONNX graphs of a pipeline's networks, and the script that draws with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from text2latent.apps.exports.networks import (
    GraphSettings,
    ImageDecoder,
    LatentSampler,
    TextEncoder,
    example_inputs,
    quiet,
    settings_json,
    trace,
)
from text2latent.apps.exports.provenance import METADATA_KEY, to_json
from text2latent.apps.exports.quantization import quantize_weights
from text2latent.apps.exports.scripts import write_scripts
from text2latent.apps.exports.tokenizer import TOKENIZER_FOLDER, write_tokenizer
from text2latent.common.errors import InputError, one_line
from text2latent.common.extras import require_extra
from text2latent.inference.pipeline import Text2LatentPipeline

FOLDER = "onnx"
OPSET = 20
INT8_SUFFIX = ".int8.onnx"
PACKED = ("text_encoder", "generator")
"""Graphs also written with weights in eight bits: the sampler is small, and its errors add up over the steps."""
PACKAGES = ("ftfy", "onnx", "onnxruntime", "onnxscript", "tokenizers")


def write_onnx(pipeline: Text2LatentPipeline, folder: Path, record: dict[str, Any], how: GraphSettings) -> None:
    """Add `onnx/`, `tokenizer/` and `infer_onnx.py` to an exported folder.

    The graphs take any batch: `text_encoder` (tokens to embedding), `sampler` (embedding and noise to latents, all
    steps unrolled) and `generator` (latents to images).

    Args:
        pipeline: whose networks to write.
        record: its record, which goes into each graph's metadata.
        how: what becomes part of the graphs.

    Raises:
        InputError: when the packages of the extra `export` are missing, or a network cannot be exported.
    """
    require_packages()
    target = folder / FOLDER
    target.mkdir()
    settings = {**settings_json(pipeline, how), "int8": list(PACKED) if how.int8 else []}
    (target / "settings.json").write_text(json.dumps(settings) + "\n", encoding="utf-8")
    write_tokenizer(pipeline.clip.tokenizer, folder / TOKENIZER_FOLDER)
    for name, (network, inputs, output) in graphs(pipeline, how).items():
        file = target / f"{name}.onnx"
        export_graph(network, inputs, output, file)
        finish_graph(file, record)
        if name in settings["int8"]:
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
    """Write a network as an ONNX file with an open batch.

    Raises:
        InputError: naming the network, when it has an operation that ONNX lacks.
    """
    program = trace(network, inputs)
    try:
        with quiet():
            torch.onnx.export(
                program,
                f=file,
                input_names=list(inputs),
                output_names=[output],
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        # The exporter wraps whatever went wrong in any of its passes in advice to those who write exporters.
        raise InputError(f"{file.stem}: cannot be written as ONNX: {one_line(_first_cause(error))}") from error


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def finish_graph(file: Path, record: dict[str, Any]) -> None:
    """Put a record into an ONNX file's metadata, and call its open dimension `batch`."""
    import onnx

    model = onnx.load(file)
    graph = model.graph
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = dimension.dim_param.replace(symbol, "batch")
    onnx.helper.set_model_props(model, {METADATA_KEY: to_json(record)})
    onnx.save(model, file)


def require_packages(format_name: str = FOLDER) -> None:
    """Refuse to start without the packages that write this format, or the other that consists of its graphs.

    Raises:
        InputError: naming those that are missing.
    """
    require_extra(f"--format {format_name}", "export", PACKAGES)
