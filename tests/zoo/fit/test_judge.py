from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from text2latent.zoo.fit import judge as module
from text2latent.zoo.fit.fitting import FitPlan
from text2latent.zoo.fit.judge import fit_judge, judge_loss
from text2latent.zoo.judge import Judge, load_judge
from text2latent.zoo.world import load_world

FACES = load_world("faces")


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(module, "BATCH", 8)


def test_a_judge_without_an_opinion_has_the_entropy_of_chance_as_loss():
    judge = Judge(FACES)
    for head in judge.heads:
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    loss, _ = judge_loss(judge.train(), 5, FACES)
    assert loss.item() == pytest.approx(np.mean(np.log(FACES.sizes)), rel=0.01)


def test_the_shipped_judge_has_next_to_no_loss(judge):
    with torch.no_grad():
        assert np.mean([judge_loss(judge, step, FACES)[0].item() for step in (10**6, 10**6 + 1)]) < 0.1


def test_a_step_is_drawn_from_its_number_alone(judge):
    with torch.no_grad():
        losses = [judge_loss(judge, step, FACES)[0].item() for step in (7, 7, 8)]
    assert losses[0] == losses[1] != losses[2]


def test_fitting_writes_halves_that_load_and_is_through_when_rerun(tmp_path, monkeypatch):
    plan = FitPlan(num_steps=2, lr=1e-3, warmup_steps=1, log_every=1, save_every=1)
    monkeypatch.setattr(module, "make_plan", lambda world: plan)
    path = tmp_path / "weights" / "judge" / "model.safetensors"
    fit_judge(FACES, tmp_path / "work", path)
    stored = load_file(path)
    assert {t.dtype for t in stored.values()} == {torch.float16, torch.int64}
    fitted = torch.load(tmp_path / "work" / "judge" / "last.pt", weights_only=True)["average"]
    for name, tensor in load_judge(FACES, path).state_dict().items():
        torch.testing.assert_close(tensor, fitted[f"module.{name}"].to(tensor.dtype), atol=1e-3, rtol=1e-3)
    before = path.read_bytes()
    fit_judge(FACES, tmp_path / "work", path)
    assert path.read_bytes() == before
