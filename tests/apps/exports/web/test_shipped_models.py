"""What ships with the package in the browser: small, quick, and the pictures of `infer`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from text2latent.apps.exports import command as export
from text2latent.benchmarks.web_visits import WebVisitor, file_server
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.tests.apps.exports.alone import JAPANESE, TEXT, assert_same_picture, mean_difference
from text2latent.tests.apps.exports.web.conftest import Visit

pytestmark = pytest.mark.slow
MAX_BYTES = 35_000_000
MAX_BYTES_OF_INT8 = 16_000_000
LIMIT_OF_INT8 = 4.0
"""Levels of 255, on the mean, as for other folders with weights in eight bits."""
DRAWN = [
    (TEXT, 0),
    (JAPANESE, 7),
    ("an old man with a white beard and a hat", 123456),
    ("夕焼けの前で怒っている男性", 2**40 + 3),
    ("a smiling child with curly red hair in a forest", 2**53 - 1),
    ("woman:1.2 | 眼鏡:-0.4 | 海:0.5", 99),
]
LANDSCAPES = [("tropical beach with palm trees", 5), ("山の向こうの夕暮れ", 2**40 + 3)]


def export_site(model: str, folder: Path, runtime: str, *flags: str) -> Path:
    assert export.main([model, str(folder), "--format", "web", "--onnxruntime-web", runtime, *flags]) == 0
    return folder


@pytest.fixture(scope="module")
def site(runtime_package: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_site("faces", tmp_path_factory.mktemp("sites") / "faces", runtime_package)


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with file_server(site) as address:
        yield address


def draw_all(visitor: WebVisitor, drawn: Sequence[tuple[str, int]] = DRAWN) -> list[np.ndarray]:
    pictures = []
    for text, seed in drawn:
        visitor.write("seed", str(seed))
        visitor.write("text", text)
        pictures.append(visitor.save()[1])
    return pictures


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_folder_is_small(site: Path) -> None:
    assert size_of(site) <= MAX_BYTES


def assert_pictures_of_infer(
    pictures: list[np.ndarray], pipeline: Text2LatentPipeline, drawn: Sequence[tuple[str, int]] = DRAWN
) -> None:
    expected = pipeline([text for text, _ in drawn], seeds=[seed for _, seed in drawn], return_scores=False).images
    for ours, theirs in zip(pictures, expected, strict=True):
        assert_same_picture(ours, np.asarray(theirs))


def test_pictures_are_those_of_infer(visit: Visit, address: str, faces: Text2LatentPipeline) -> None:
    assert_pictures_of_infer(draw_all(visit(address, query="?device=wasm")), faces)


def test_pictures_of_a_stylegan3_are_those_of_infer(visit: Visit, runtime_package: str, tmp_path: Path) -> None:
    folder = export_site("landscapes", tmp_path / "landscapes", runtime_package)
    assert size_of(folder) <= MAX_BYTES
    with file_server(folder) as address:
        drawn = draw_all(visit(address, query="?device=wasm"), LANDSCAPES)
    assert_pictures_of_infer(drawn, Text2LatentPipeline.from_pretrained("landscapes"), LANDSCAPES)


def test_pictures_of_webgpu_are_those_of_infer(visit: Visit, address: str, faces: Text2LatentPipeline) -> None:
    """On a graphics processor that Chromium computes itself, slowly, and that the page doesn't choose by itself."""
    plain = visit(address)
    assert "GPU" not in plain.page.locator("#facts").inner_text()
    if not plain.page.evaluate("async () => Boolean(await navigator.gpu?.requestAdapter())"):
        pytest.skip("this Chromium has no WebGPU in software")
    visitor = visit(address, query="?device=webgpu")
    assert "on the GPU" in visitor.page.locator("#facts").inner_text()
    assert_pictures_of_infer(draw_all(visitor), faces)


def test_eight_bits_are_smaller_and_draw_nearly_the_same(
    visit: Visit, runtime_package: str, faces: Text2LatentPipeline, tmp_path: Path
) -> None:
    folder = export_site("faces", tmp_path / "int8", runtime_package, "--int8")
    assert size_of(folder) <= MAX_BYTES_OF_INT8
    expected = faces([text for text, _ in DRAWN], seeds=[seed for _, seed in DRAWN], return_scores=False).images
    with file_server(folder) as address:
        drawn = draw_all(visit(address))
    differences = [mean_difference(ours, np.asarray(theirs)) for ours, theirs in zip(drawn, expected, strict=True)]
    assert 0 < max(differences) < LIMIT_OF_INT8
