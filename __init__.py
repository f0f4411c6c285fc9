"""Text2latent: a text interface to any pretrained image generator.

The public names are imported when first used, so that `import text2latent` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from text2latent.inference.domain import fit_domain, save_domain
    from text2latent.inference.drawing import draw_frames
    from text2latent.inference.editing import edit
    from text2latent.inference.images import to_pil
    from text2latent.inference.latents_file import load_latents
    from text2latent.inference.optimization.refine import Optimization, optimize_latents
    from text2latent.inference.pipeline import Text2LatentOutput, Text2LatentPipeline
    from text2latent.inference.projection.projector import ProjectionSettings
    from text2latent.inference.query import Query
    from text2latent.inference.settings import Settings
    from text2latent.inference.wording import fit_wording
    from text2latent.models.acceleration import Acceleration
    from text2latent.models.clip.encoder import ClipEncoder
    from text2latent.models.clip.own import ClipModel
    from text2latent.models.generators import Generator, load_generator

__all__ = [
    "Acceleration",
    "ClipEncoder",
    "ClipModel",
    "Generator",
    "Optimization",
    "ProjectionSettings",
    "Query",
    "Settings",
    "Text2LatentOutput",
    "Text2LatentPipeline",
    "draw_frames",
    "edit",
    "fit_domain",
    "fit_wording",
    "load_generator",
    "load_latents",
    "main",
    "optimize_latents",
    "save_domain",
    "to_pil",
]

_HOMES = {
    "Acceleration": "text2latent.models.acceleration",
    "ClipEncoder": "text2latent.models.clip.encoder",
    "ClipModel": "text2latent.models.clip.own",
    "Generator": "text2latent.models.generators",
    "Optimization": "text2latent.inference.optimization.refine",
    "ProjectionSettings": "text2latent.inference.projection.projector",
    "Query": "text2latent.inference.query",
    "Settings": "text2latent.inference.settings",
    "Text2LatentOutput": "text2latent.inference.pipeline",
    "Text2LatentPipeline": "text2latent.inference.pipeline",
    "draw_frames": "text2latent.inference.drawing",
    "edit": "text2latent.inference.editing",
    "fit_domain": "text2latent.inference.domain",
    "fit_wording": "text2latent.inference.wording",
    "load_generator": "text2latent.models.generators",
    "load_latents": "text2latent.inference.latents_file",
    "main": "text2latent.__main__",
    "optimize_latents": "text2latent.inference.optimization.refine",
    "save_domain": "text2latent.inference.domain",
    "to_pil": "text2latent.inference.images",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("text2latent")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
