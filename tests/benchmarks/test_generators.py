"""The figures of generators: what is printed is what was measured, on small networks; the real ones when asked for."""

import re
import time
from pathlib import Path

import pytest
import torch

from text2latent.benchmarks import generators
from text2latent.benchmarks.generators import GIB, NETWORKS, STYLEGAN2, STYLEGAN3, draw, grouped, main, scaled
from text2latent.benchmarks.report import read_parts
from text2latent.models.generators.layers import modulate

FIGURES = Path(generators.__file__).with_name("generators.json")
QUOTED = re.compile(r"([\d.]+) \((\d+ x \d+ channels x \d+ pixels)\)")
TINY = {"img_resolution": 16, "channel_base": 128, "channel_max": 8}


def figures(tmp_path, *arguments: str) -> dict[str, float]:
    file = tmp_path / "figures.json"
    assert main(["--json", str(file), "--device", "cpu", *arguments]) == 0
    return {figure.name: figure.value for part in read_parts(file).values() for figure in part["figures"]}


@pytest.mark.parametrize("path", [STYLEGAN2, STYLEGAN3])
@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_seconds_and_memory_of_a_batch(path, precision):
    started = time.perf_counter()
    seconds, peak_bytes = draw(path, TINY, batch_size=2, repeats=2, device="cpu", precision=precision)
    assert 0 < seconds < time.perf_counter() - started
    assert 0.1 < peak_bytes / GIB < 16


def test_forms_of_modulation_are_compared_on_equal_results(tmp_path, monkeypatch):
    monkeypatch.setattr(generators, "MODULATIONS", ((2, 4, 8),))
    measured = figures(tmp_path, "--only", "modulation", "--repeats", "1")
    assert list(measured) == ["modulation, 2 x 4 channels x 8 pixels: kernels per sample / scaled features"]
    assert all(0 < ratio < 1000 for ratio in measured.values())
    operands = (torch.randn(2, 4, 8, 8), torch.randn(4, 4, 3, 3), torch.randn(2, 4), torch.rand(2, 4))
    torch.testing.assert_close(grouped(*operands), scaled(*operands), atol=1e-4, rtol=1e-4)


def test_the_docstring_quotes_what_was_measured_last():
    quoted = {what: float(ratio) for ratio, what in QUOTED.findall(" ".join((modulate.__doc__ or "").split()))}
    kept = {figure.name: figure.value for figure in read_parts(FIGURES)["modulation"]["figures"]}
    assert len(quoted) == 3
    for what, ratio in quoted.items():
        measured = kept[f"modulation, {what}: kernels per sample / scaled features"]
        assert (measured < 1) == (ratio < 1)
        assert 0.7 < measured / ratio < 1.4


def test_an_unknown_precision_is_refused(capsys):
    assert main(["--precision", "fp8"]) == 2
    assert "--precision: expected one of 32, bf16, got 'fp8'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_real_sizes_run_within_three_gibibytes(tmp_path, name):
    measured = figures(tmp_path, "--only", name, "--batch-size", "1", "--repeats", "1")
    assert 0 < measured[f"{name}, batch of 1: an image"] < 300
    assert measured[f"{name}, batch of 1: memory"] < 3
