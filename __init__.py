"""Text2latent: a text interface to any pretrained image generator.

The public names are imported when first used, so that `import text2latent` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from text2latent.inference.pipeline import Text2LatentOutput, Text2LatentPipeline
    from text2latent.models.clip.encoder import ClipEncoder
    from text2latent.models.generators import Generator, load_generator

__all__ = ["ClipEncoder", "Generator", "Text2LatentOutput", "Text2LatentPipeline", "load_generator"]

_HOMES = {
    "ClipEncoder": "text2latent.models.clip.encoder",
    "Generator": "text2latent.models.generators",
    "Text2LatentOutput": "text2latent.inference.pipeline",
    "Text2LatentPipeline": "text2latent.inference.pipeline",
    "load_generator": "text2latent.models.generators",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("text2latent")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
