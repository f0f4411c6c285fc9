"""What makes an exported folder one that `DiffusionPipeline.from_pretrained` loads: `model_index.json` and its code."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

from text2latent.apps.exports.bundle import bundle
from text2latent.apps.exports.runtime.diffusers_clip import FolderClip
from text2latent.apps.exports.runtime.diffusers_pipeline import LatentPriorPipeline
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.sources.exported import MODEL_INDEX

PIPELINE = "pipeline"
DROPPED = ("ClipEncoder.from_pretrained",)
REPLACED = {"text2latent.models.network": "text2latent.apps.exports.runtime.diffusers_network"}
"""Networks in the folder are diffusers' own kind."""
USAGE = """from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained(PATH, custom_pipeline=PATH, trust_remote_code=True)
pipe("TEXT", num_inference_steps=8, generator=torch.Generator().manual_seed(0)).images[0].save("image.png")"""


def write_diffusers(pipeline: Text2LatentPipeline, folder: Path, record: dict[str, Any]) -> None:
    """Add `model_index.json` and the code of pipeline and networks to a folder that has the parts.

    diffusers takes a component's code from a file in the component's own folder, and copies no other file with it, so
    each of the four files has all that it needs.

    Args:
        pipeline: whose classes to write.
        folder: which has the parts.
        record: whose `generator` and `clip` are what the pipeline is to be used with.
    """
    classes = {"prior": type(pipeline.prior), "generator": type(pipeline.generator), "clip": FolderClip}
    index: dict[str, Any] = {
        "_class_name": [PIPELINE, LatentPriorPipeline.__name__],
        "_diffusers_version": importlib.metadata.version("diffusers"),
        "scheduler": ["diffusers", pipeline.scheduler.name],
        "trained_with": {part: _public(record[part]) for part in ("generator", "clip")},
    }
    for part, cls in classes.items():
        module = f"text2latent_{part}"
        (folder / part / f"{module}.py").write_text(class_source(cls), encoding="utf-8")
        index[part] = [module, cls.__name__]
    (folder / f"{PIPELINE}.py").write_text(class_source(LatentPriorPipeline), encoding="utf-8")
    (folder / MODEL_INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def class_source(cls: type) -> str:
    """Python source of a file that has a class of this package and all that it uses."""
    version = importlib.metadata.version("text2latent")
    about = f"{cls.__name__} of text2latent {version}, with all that it uses; written by `text2latent export`."
    return bundle(cls.__module__, cls.__name__, about, DROPPED, REPLACED)


def _public(identity: dict[str, Any]) -> dict[str, str]:
    """An identity without the place on somebody's disk where it lay."""
    return {"name": identity["name"], "source": identity["name"], "sha256": identity["sha256"]}
