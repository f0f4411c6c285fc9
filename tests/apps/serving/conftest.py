"""An engine on a tiny model, whose parts have random weights, and its API on loopback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.limits import Batching, Limits
from text2latent.inference.pipeline import Text2LatentPipeline

if TYPE_CHECKING:
    import httpx

SMALL_LIMITS = Limits(
    max_prompt_characters=200,
    max_images=4,
    max_steps=8,
    max_rerank=3,
    max_refine=5,
    max_iterations=5,
    max_frames=6,
    max_side=256,
    max_upload_bytes=300_000,
    max_upload_pixels=1_000_000,
)


@pytest.fixture(scope="session")
def engine(tiny_model: Path) -> Iterator[Engine]:
    """An engine whose one model is called tiny, with small limits."""
    with Engine([f"tiny={tiny_model}"], "cpu", SMALL_LIMITS, Batching(8, 0.01)) as engine:
        yield engine


@pytest.fixture(scope="session")
def pipeline(tiny_model: Path) -> Text2LatentPipeline:
    """The same model, without the engine."""
    return Text2LatentPipeline.from_pretrained(str(tiny_model))


@pytest.fixture(scope="session")
def address(engine: Engine) -> Iterator[str]:
    """Where the engine's API answers, without a page."""
    with serving(engine, page=False) as address:
        yield address


@pytest.fixture(scope="session")
def client(address: str) -> Iterator[httpx.Client]:
    """A client of the API."""
    httpx = pytest.importorskip("httpx")
    with httpx.Client(base_url=address, timeout=600, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def faces_engine() -> Iterator[Engine]:
    """An engine on the faces that ship with the package."""
    with Engine(["faces"]) as engine:
        yield engine


@pytest.fixture(scope="session")
def page_address(faces_engine: Engine) -> Iterator[str]:
    """Where page and API of the faces answer."""
    pytest.importorskip("gradio")
    with serving(faces_engine) as address:
        yield address


@contextlib.contextmanager
def serving(engine: Engine, **options: Any) -> Iterator[str]:
    """Where an engine's application answers; skips the test without the extra [serve]."""
    for module in ("fastapi", "fastapi_offline", "multipart", "uvicorn"):
        pytest.importorskip(module, reason=f"{module} of the extra [serve] is not installed")
    from text2latent.apps.serving.app import build_app
    from text2latent.tests.apps.serving.running import running

    with running(build_app(engine, **options)) as address:
        yield address
