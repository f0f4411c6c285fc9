"""The figures of a page that draws in the browser, of small networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from text2latent.benchmarks import web_page
from text2latent.benchmarks.browsing import find_browser
from text2latent.benchmarks.report import read_parts
from text2latent.benchmarks.tables import main as tables
from text2latent.benchmarks.web_page import KINDS, limit_of, main, sizes_of
from text2latent.tests.apps.exports.web.conftest import runtime_package  # noqa: F401

pytest.importorskip("playwright", reason="playwright of the extra [dev] is not installed")
COLUMNS = ("folder", "fetched", "first picture", "one picture", "mean difference", "values that differ")


@pytest.mark.slow
@pytest.mark.skipif(find_browser() is None, reason="no Chromium here; apt-get install chromium")
def test_large_networks_are_measured_as_they_are_and_in_eight_bits(
    runtime_package: str,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "figures.json"
    flags = ["--only", "ffhq", "--quick", "--onnxruntime-web", runtime_package, "--json", str(file)]
    assert main(flags) == 0
    figures = {figure.name: figure.value for figure in read_parts(file)["ffhq"]["figures"]}
    assert [*figures] == [f"{name}, {column}" for name in ("FFHQ-1024, int8", "FFHQ-1024") for column in COLUMNS]
    assert figures["FFHQ-1024, int8, folder"] < figures["FFHQ-1024, folder"]
    assert figures["FFHQ-1024, values that differ"] < figures["FFHQ-1024, int8, values that differ"]
    capsys.readouterr()
    assert tables(["--only", "web", "--json", str(file), "--page", "-"]) == 0
    assert "| FFHQ-1024 |" in capsys.readouterr().out


def test_each_file_is_of_one_kind(tmp_path: Path) -> None:
    names = {
        "parts/a-generator.onnx.gz": "networks",
        "parts/b-tokenizer.json.gz": "vocabulary",
        "parts/c-ort-wasm-simd-threaded.wasm.gz": "onnxruntime-web",
        "runtime/ort.wasm.min.mjs": "onnxruntime-web",
        "parts/d-ort-wasm-simd-threaded.asyncify.wasm.gz": "onnxruntime-web for WebGPU",
        "runtime/ort.webgpu.min.mjs": "onnxruntime-web for WebGPU",
        "scripts/page.js": "page",
    }
    expected = dict.fromkeys(KINDS, 0)
    for size, (name, kind) in enumerate(names.items(), start=1):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
        expected[kind] += size
    assert sizes_of(tmp_path) == expected


def test_only_unchanged_weights_are_held_to_the_pictures_of_infer() -> None:
    assert limit_of("faces, values that differ", True) == web_page.MAX_SHARE
    assert limit_of("faces, int8, values that differ", False) is None
    assert limit_of("faces, int8, folder", False) == web_page.MAX_FOLDER_MB
