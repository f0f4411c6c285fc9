"""The environments that other tools are run in have these tools and what they require, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from text2latent.tests.apps.exports.alone import run_alone
from text2latent.tests.apps.exports.environments import closure, link, versions

ENVIRONMENTS = {
    "diffusers_python": ("torch", "diffusers", "open_clip_torch"),
    "torch_python": ("torch", "numpy", "pillow", "tokenizers"),
    "onnx_python": ("onnxruntime", "numpy", "pillow", "tokenizers"),
}
FOREIGN_EVERYWHERE = ("text2latent", "lightning", "webdataset", "jsonargparse", "accelerate", "transformers", "pytest")
FOREIGN = {
    "diffusers_python": ("onnxruntime", "onnx", "tokenizers"),
    "torch_python": ("onnxruntime", "onnx", "diffusers", "open_clip", "torchvision", "safetensors"),
    "onnx_python": ("torch", "diffusers", "open_clip", "onnx", "safetensors"),
}
LOOK = """
import importlib, importlib.metadata, json, sys
def can_import(name):
    try:
        return bool(importlib.import_module(name))
    except ModuleNotFoundError:
        return False
installed = {one.name.lower().replace("_", "-"): one.version for one in importlib.metadata.distributions()}
found = [name for name in sys.argv[1:] if can_import(name)]
print(json.dumps({"installed": sorted(map("==".join, installed.items())), "found": found, "path": sys.path}))
"""


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_nothing_else_can_be_imported(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    python: Path = request.getfixturevalue(name)
    report = json.loads(run_alone(python, tmp_path, "-c", LOOK, *FOREIGN_EVERYWHERE, *FOREIGN[name], "numpy"))
    assert report["installed"] == versions(closure(ENVIRONMENTS[name]))
    assert report["found"] == ["numpy"]
    sites = [Path(entry) for entry in report["path"] if "site-packages" in entry]
    assert sites == list(python.parents[1].glob("lib/python*/site-packages"))


def test_requirements_of_requirements_are_there() -> None:
    assert closure(["tokenizers"]) >= {"tokenizers", "huggingface-hub", "typing-extensions", "pyyaml"}
    assert not closure(["torch"]) & {"torchvision", "lightning", "pytest"}


def test_folders_of_several_distributions_are_linked_file_by_file(tmp_path: Path) -> None:
    link({"typing-extensions"}, tmp_path)
    links = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_symlink()}
    assert "typing_extensions.py" in links
    assert "__pycache__" not in links
    assert all("typing_extensions" in name for name in links)
    assert all((tmp_path / name).exists() for name in links)
