"""What a web folder holds, and models that can't be one."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
import yaml
from torch import nn

from text2latent.apps.exports import command as export
from text2latent.apps.exports import inspect as inspect_
from text2latent.apps.exports.web.graphs import GuidedPrior, write_graph
from text2latent.common.errors import InputError
from text2latent.models.priors.diffusion import guided_prediction
from text2latent.models.priors.folder import load_prior, save_prior
from text2latent.models.priors.schedulers import build_scheduler
from text2latent.tests.apps.exports.alone import PROVENANCE
from text2latent.tests.apps.exports.web.conftest import SOURCES

Export = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run_export(runtime_package: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Export:
    """Exports a model into `OUT` as a page; gives the exit code, stdout and stderr."""

    def run(model: Path, *flags: str, out: str = "out") -> tuple[int, str, str]:
        words = [str(model), str(tmp_path / out), "--format", "web", "--onnxruntime-web", runtime_package]
        return export.main([*words, *flags]), *capsys.readouterr()

    return run


def test_every_file_is_listed_and_parts_are_named_after_their_content(tiny_site: Path) -> None:
    model = json.loads((tiny_site / "model.json").read_text())
    for part in model["parts"].values():
        packed = (tiny_site / part["file"]).read_bytes()
        assert len(packed) == part["bytes"]
        assert Path(part["file"]).name.startswith(hashlib.sha256(packed).hexdigest()[:12])
    found = {path.relative_to(tiny_site).as_posix() for path in tiny_site.rglob("*") if path.is_file()}
    listed = {*model["files"], *(part["file"] for part in model["parts"].values())}
    assert found - listed == {"model.json", "README.md", "text2latent.json"}
    assert listed <= found
    sources = {path.relative_to(SOURCES / "site").as_posix() for path in (SOURCES / "site").rglob("*.*")}
    assert sources <= found
    assert model["examples"] == ["a hat", "帽子"]


def test_the_record_tells_where_the_model_is_from(tiny_site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect_.main([str(tiny_site), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    model = json.loads((tiny_site / "model.json").read_text())
    assert record["export"]["formats"] == ["web"]
    assert record["export"]["metrics"]["web_difference"] <= 1 / 255
    assert record["generator"]["sha256"] == model["recipe"]["generator"]["sha256"]
    assert "/" not in record["generator"]["source"]
    for name in ("text_encoder", "sampler", "generator"):
        graph = onnx.load_from_string(
            gzip.decompress((tiny_site / model["parts"][f"{name}.onnx"]["file"]).read_bytes())
        )
        carried = json.loads({one.key: one.value for one in graph.metadata_props}["text2latent"])
        assert {key: carried.get(key) for key in PROVENANCE} == {
            key: {**record, "metrics": carried.get("metrics")}.get(key) for key in PROVENANCE
        }


def test_a_changed_file_is_found(tiny_site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(tiny_site, tmp_path / "site"))
    (folder / "index.html").write_text("<h1>changed</h1>")
    assert inspect_.main([str(folder)]) == 1
    assert "index.html: expected" in capsys.readouterr().err


def test_the_card_is_that_of_a_static_space(tiny_site: Path) -> None:
    _, head, text = (tiny_site / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    card = yaml.safe_load(head)
    assert (card["sdk"], card["license"], card["title"]) == ("static", "mit", "tiny")
    assert len(card["custom_headers"]) == 3
    assert "$" not in head + text


def test_no_address_of_another_server_is_in_the_page() -> None:
    pages = [path for path in (SOURCES / "site").rglob("*") if path.suffix in (".js", ".html", ".css", ".webmanifest")]
    assert len(pages) > 15
    assert not [path for path in pages if "https://" in path.read_text() or "http://" in path.read_text()]


def test_a_folder_is_replaced_on_request_and_another_kind_of_export_too(
    run_export: Export, tiny_model: Path, tiny_site: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_site, tmp_path / "out")
    code, _, error = run_export(tiny_model)
    assert (code, "exists already; expected a new name, or --overwrite" in error) == (1, True)
    assert export.main([str(tiny_model), str(tmp_path / "out"), "--overwrite"]) == 0
    assert not (tmp_path / "out" / "index.html").exists()


def test_the_page_is_a_folder_of_its_own(run_export: Export, tiny_model: Path, tmp_path: Path) -> None:
    code, _, error = run_export(tiny_model, "--format", "onnx")
    assert code == 2
    assert "--format web: expected no other format, since it is a folder of its own; got onnx" in error
    assert not (tmp_path / "out").exists()


def test_a_sampler_that_draws_noise_is_refused(run_export: Export, tiny_model: Path, tmp_path: Path) -> None:
    trained = load_prior(tiny_model)
    folder = tmp_path / "noisy"
    save_prior(folder, type(trained)(trained.prior, build_scheduler("ddpm", "v"), trained.record))
    code, _, error = run_export(folder)
    assert (code, error.count("error:")) == (1, 1)
    assert "scheduler DDPMScheduler: draws noise at each step; expected one that doesn't, such as DDIM" in error
    assert not (tmp_path / "out").exists()


class Eigen(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvalsh(x)


def test_a_network_that_onnx_cannot_say_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"^generator: cannot be written as ONNX: No ONNX function found for .*eigh"
    ) as refused:
        write_graph("generator", Eigen(), {"x": torch.eye(3).repeat(2, 1, 1)}, "y", tmp_path, {}, False)
    assert "\n" not in str(refused.value)


def test_guidance_by_a_tensor_is_that_by_a_number(tiny_model: Path) -> None:
    prior = load_prior(tiny_model).prior
    rng = torch.Generator().manual_seed(0)
    x, condition = (
        torch.randn(2, 1, 16, generator=rng),
        torch.nn.functional.normalize(torch.randn(2, 16, generator=rng)),
    )
    t = torch.tensor([0.3, 0.9])
    guided = GuidedPrior(prior, torch.tensor([1.0, 2.5]))(x, t, condition)
    for row, scale in enumerate((1.0, 2.5)):
        expected = guided_prediction(prior, x, t, condition, scale)[row]
        torch.testing.assert_close(guided[row], expected, atol=1e-5, rtol=1e-5)
