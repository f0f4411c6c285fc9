"""An engine on a tiny model, whose parts have random weights, and its API on loopback."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.limits import Batching, Limits
from text2latent.benchmarks.browsing import Visitor, browsing, find_browser
from text2latent.inference.pipeline import Text2LatentPipeline

if TYPE_CHECKING:
    import httpx
    from playwright.sync_api import Browser

Visit = Callable[..., Visitor]

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
    return Text2LatentPipeline.from_pretrained(str(tiny_model))


@pytest.fixture(scope="session")
def address(engine: Engine) -> Iterator[str]:
    """Where the engine's API answers, without a page."""
    with serving(engine, page=False) as address:
        yield address


@pytest.fixture(scope="session")
def client(address: str) -> Iterator[httpx.Client]:
    httpx = pytest.importorskip("httpx")
    with httpx.Client(base_url=address, timeout=600, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def faces_engine() -> Iterator[Engine]:
    with Engine(["faces"]) as engine:
        yield engine


@pytest.fixture(scope="session")
def page_address(faces_engine: Engine) -> Iterator[str]:
    """Where page and API of the faces answer."""
    pytest.importorskip("gradio")
    with serving(faces_engine) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Closed after each file: while it is open, no other browser and no event loop can be."""
    pytest.importorskip("playwright", reason="playwright of the extra [dev] is not installed")
    if find_browser() is None:
        pytest.skip("no Chromium here; apt-get install chromium")
    with browsing() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, page_address: str) -> Iterator[Visit]:
    """Opens the page for a visitor; in the end, none may have met an error or another server."""
    visitors: list[Visitor] = []

    def open_page(**how: Any) -> Visitor:
        visitors.append(Visitor(browser, page_address, **how))
        return visitors[-1]

    yield open_page
    for visitor in visitors:
        visitor.__exit__()
        assert (visitor.errors, visitor.foreign) == ([], [])


@contextlib.contextmanager
def serving(engine: Engine, **options: Any) -> Iterator[str]:
    """Where an engine's application answers; skips the test without the extra [serve]."""
    for module in ("fastapi", "fastapi_offline", "multipart", "uvicorn"):
        pytest.importorskip(module, reason=f"{module} of the extra [serve] is not installed")
    from text2latent.apps.serving.app import build_app
    from text2latent.tests.apps.serving.running import running

    with running(build_app(engine, **options)) as address:
        yield address
