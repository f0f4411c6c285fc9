"""torch.export's program of a whole pipeline, tokens and noise to images, and the script that draws with it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from text2latent.apps.exports.networks import GraphSettings, TextToImage, example_inputs, quiet, settings_json, trace
from text2latent.apps.exports.provenance import METADATA_KEY, to_json
from text2latent.apps.exports.scripts import write_scripts
from text2latent.apps.exports.tokenizer import TOKENIZER_FOLDER, write_tokenizer
from text2latent.common.errors import InputError, one_line
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.sources.exported import RECORD

FOLDER = "pt2"
PROGRAM = "text2latent.pt2"
COMPILED = "text2latent.aoti.pt2"
COMPILERS = ("g++", "clang++", "c++")


def write_pt2(pipeline: Text2LatentPipeline, folder: Path, record: dict[str, Any], how: GraphSettings) -> None:
    """Add `pt2/`, `tokenizer/` and `infer_pt2.py` to an exported folder.

    Args:
        pipeline: whose networks to write.
        record: its record, which goes into the program's extra files.
        how: what becomes part of the program, and whether to compile it for this machine too.

    Raises:
        InputError: when a network cannot be traced, or a wanted compilation fails or has no compiler.
    """
    if how.compile == "yes" and compiler() is None:
        raise InputError(f"--compile yes: expected a C++ compiler ({', '.join(COMPILERS)}), found none")
    target = folder / FOLDER
    target.mkdir()
    (target / "settings.json").write_text(json.dumps(settings_json(pipeline, how)) + "\n", encoding="utf-8")
    write_tokenizer(pipeline.clip.tokenizer, folder / TOKENIZER_FOLDER)
    tokens, noise = example_inputs(pipeline)
    program = trace(TextToImage(pipeline, how), {"tokens": tokens, "noise": noise})
    with quiet():
        torch.export.save(program, target / PROGRAM, extra_files={RECORD: to_json(record)})
    if how.compile == "yes" or (how.compile == "auto" and compiler() is not None):
        compile_program(program, target / COMPILED, record)
    write_scripts(("infer_pt2", "clip_text"), folder)


def compile_program(program: torch.export.ExportedProgram, file: Path, record: dict[str, Any]) -> None:
    """Compile a program into an AOTInductor package, which runs on machines like this one only.

    Args:
        file: the package to write.
        record: goes into the package's metadata.

    Raises:
        InputError: when the compiler fails.
    """
    metadata = {"aot_inductor.metadata": {METADATA_KEY: to_json(record)}}
    try:
        with quiet():
            torch._inductor.aoti_compile_and_package(program, package_path=str(file), inductor_configs=metadata)
    except Exception as error:
        # Inductor and the compiler fail in many ways.
        raise InputError(f"--compile: AOTInductor failed: {one_line(error)}") from error


def compiler() -> str | None:
    """Path of the C++ compiler that inductor would take; None where there is none."""
    candidates = [os.environ["CXX"]] if os.environ.get("CXX") else COMPILERS
    return next((found for name in candidates if (found := shutil.which(name))), None)
