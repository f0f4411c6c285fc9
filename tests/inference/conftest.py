"""The small model of the tests, loaded once for each file."""

from __future__ import annotations

from pathlib import Path

import pytest

from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.models.clip.encoder import ClipEncoder


@pytest.fixture(scope="module")
def pipe(tiny_model: Path) -> Text2LatentPipeline:
    return Text2LatentPipeline.from_pretrained(str(tiny_model))


@pytest.fixture(scope="module")
def clip(tiny_world: Path) -> ClipEncoder:
    return ClipEncoder.from_pretrained(str(tiny_world))
