"""The tiny model as a web folder, served by Python's own server, and visitors of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from text2latent.apps.exports import command as export
from text2latent.apps.exports.web import runtime_files
from text2latent.benchmarks.browsing import browsing, find_browser
from text2latent.benchmarks.web_visits import WebVisitor, file_server
from text2latent.common.errors import InputError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[4]
SOURCES = ROOT / "apps" / "exports" / "web"
KEPT = Path(sys.prefix) / "onnxruntime-web"
"""Where the package is kept between runs, if npm hasn't installed it."""
SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
"""Flags that give Chromium a graphics processor which it computes itself."""
ELSEWHERE = "elsewhere.test"
"""A name of this machine that Chromium takes for another's."""
Visit = Callable[..., WebVisitor]


@pytest.fixture(scope="session")
def runtime_package() -> str:
    """The npm package onnxruntime-web: what `make lint` installed, or a download that is kept."""
    installed = SOURCES / "node_modules" / runtime_files.PACKAGE
    if installed.is_dir():
        return str(installed)
    try:
        fetched = runtime_files.download(runtime_files.ADDRESS, KEPT, runtime_files.SHA256, runtime_files.MAX_BYTES)
    except InputError as error:
        pytest.skip(f"no onnxruntime-web: {error}")
    return str(fetched)


@pytest.fixture(scope="session")
def tiny_site(tiny_model: Path, runtime_package: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a web folder; read only. Processes that test side by side share one."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "tiny-site"
    texts = [word for text in ("a hat", "帽子") for word in ("--text", text)]
    flags = ["--format", "web", "--license", "mit", "--onnxruntime-web", runtime_package, *texts]
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            assert export.main([str(tiny_model), str(folder), *flags]) == 0
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Closed after each file: while it is open, no other browser and no event loop can be."""
    pytest.importorskip("playwright", reason="playwright of the extra [dev] is not installed")
    if find_browser() is None:
        pytest.skip("no Chromium here; apt-get install chromium")
    with browsing(flags=(*SOFTWARE_GPU, f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1")) as browser:
        yield browser


@pytest.fixture(scope="session")
def tiny_address(tiny_site: Path) -> Iterator[str]:
    with file_server(tiny_site) as address:
        yield address


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Opens an address for a visitor; in the end, none may have met an error or another server."""
    visitors: list[WebVisitor] = []

    def visit(address: str, **how: str | int) -> WebVisitor:
        visitors.append(WebVisitor(browser, address, **how))  # type: ignore[arg-type]
        return visitors[-1]

    yield visit
    for visitor in visitors:
        visitor.__exit__()
        assert (visitor.errors, visitor.foreign) == ([], [])
