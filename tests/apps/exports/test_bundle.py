"""Bundled code: runs without this package, needs only what diffusers and open_clip bring, and does the same."""

from __future__ import annotations

import ast
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from text2latent.apps.exports.bundle import bundle
from text2latent.apps.exports.diffusers_folder import class_source
from text2latent.apps.exports.runtime.diffusers_clip import FolderClip
from text2latent.apps.exports.runtime.diffusers_pipeline import LatentPriorPipeline
from text2latent.models.generators.stylegan2 import StyleGAN2Generator
from text2latent.models.generators.stylegan3 import StyleGAN3Generator
from text2latent.models.priors.registry import NETWORKS, create_prior, prior_class

BROUGHT_BY_DIFFUSERS_AND_OPEN_CLIP = {
    *("PIL", "diffusers", "huggingface_hub", "numpy", "open_clip", "safetensors", "torch", "torchvision"),
}
PRIORS = [prior_class(name) for name in NETWORKS.values()]
CLASSES = [LatentPriorPipeline, FolderClip, StyleGAN2Generator, StyleGAN3Generator, *PRIORS]


def imported(source: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(source)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


def run(source: str) -> types.ModuleType:
    module = types.ModuleType("bundled")
    sys.modules["bundled"] = module
    exec(compile(source, "bundled.py", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_bundles_import_only_what_is_there(cls: type) -> None:
    foreign = imported(class_source(cls)) - set(sys.stdlib_module_names)
    assert foreign <= BROUGHT_BY_DIFFUSERS_AND_OPEN_CLIP


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_bundles_have_no_undefined_names(cls: type, tmp_path: Path) -> None:
    (tmp_path / "bundled.py").write_text(class_source(cls))
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E9,F821,F811,F401", "bundled.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


def same_outputs(cls: type, own: Any, inputs: list[torch.Tensor]) -> None:
    """Compare a network with one of the bundled class that has the same config and weights."""
    bundled_class = getattr(run(class_source(cls)), cls.__name__)
    assert bundled_class is not cls
    bundled = bundled_class.from_config(own.config)
    bundled.load_state_dict(own.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(bundled.eval()(*inputs), own.eval()(*inputs), rtol=0, atol=0)


@pytest.mark.parametrize("network", NETWORKS)
def test_bundled_priors_compute_the_same(network: str) -> None:
    prior = create_prior(network, (1, 16), 16, width=64, depth=1)
    x, condition = torch.randn(3, 1, 16), torch.nn.functional.normalize(torch.randn(3, 16), dim=1)
    same_outputs(type(prior), prior, [x, torch.tensor([0.1, 0.5, 1.0]), condition])


def test_bundled_generator_computes_the_same() -> None:
    generator = StyleGAN2Generator(
        z_dim=8, w_dim=8, img_resolution=16, num_mapping_layers=1, channel_base=64, channel_max=8
    )
    bundled = run(class_source(StyleGAN2Generator)).StyleGAN2Generator.from_config(generator.config)
    bundled.load_state_dict(generator.state_dict())
    w = torch.randn(2, 1, 8)
    torch.testing.assert_close(bundled.synthesize(w), generator.synthesize(w), rtol=0, atol=0)


def test_definitions_keep_their_text_and_others_stay_behind() -> None:
    source = bundle("text2latent.inference.seeds", "seeds_of", "Seeds.")
    assert source.startswith('"""Seeds."""\n\nfrom __future__ import annotations\n')
    assert "A generator fresh from `manual_seed(s)` gives s, s + 1" in source
    assert "MAX_SEED = 2**63" in source
    assert "def seeds_per_image" not in source
    assert run(source).seeds_of(torch.Generator().manual_seed(7), 2) == [7, 8]


def test_dropped_methods_are_left_out() -> None:
    source = bundle("text2latent.models.clip.encoder", "ClipEncoder", "CLIP.", dropped=["ClipEncoder.from_pretrained"])
    assert "def encode_text" in source
    assert "def from_pretrained" not in source
    assert "def locate" not in source
