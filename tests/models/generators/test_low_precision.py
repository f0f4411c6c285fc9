"""Networks whose weights are cast to half precision draw nearly the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from text2latent.models.generators import load_generator

DATA = Path(__file__).parents[2] / "data"
GENERATORS = ["generators/sg2ada-64.pkl", "generators/sg2ada-cond-32.pkl", "generators/sg3t-64.pkl"]
GENERATORS += ["generators/sg3r-64.pkl", "biggan", "dalle/decoder.pkl"]
TOLERANCES = {torch.bfloat16: 0.06, torch.float16: 0.01}
"""Root mean square error in standard deviations of the images: eight significant bits, and eleven."""


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("name", GENERATORS)
def test_rounded_weights_draw_nearly_the_same(name: str, dtype: torch.dtype) -> None:
    exact, rough = (load_generator(DATA / name) for _ in range(2))
    torch.nn.Module.to(rough, dtype)
    ws = exact.sample_w(2, 0)
    expected, drawn = exact.synthesize(ws), rough(ws)
    assert drawn.dtype == torch.float32
    assert (drawn - expected).square().mean().sqrt() < TOLERANCES[dtype] * expected.std()
    mapped = rough.sample_w(2, 0)
    assert (mapped - ws).square().mean().sqrt() < TOLERANCES[dtype] * ws.std()
    assert rough.truncate(ws, 0.5).isfinite().all()
