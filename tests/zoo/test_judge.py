from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from text2latent.zoo.drawing.renders import render
from text2latent.zoo.fit.batches import to_tensor
from text2latent.zoo.judge import FILE, Judge, balanced_accuracy, load_judge
from text2latent.zoo.world import load_world

FACES = load_world("faces")
WEIGHTS = FACES.weights / FILE


def recalls_averaged(predicted: np.ndarray, actual: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Balanced accuracy by counting, one face at a time."""
    scores = {}
    for i, name in enumerate(FACES.names):
        right, total = defaultdict(int), defaultdict(int)
        for guess, truth, counts in zip(predicted[:, i].tolist(), actual[:, i].tolist(), mask[:, i], strict=True):
            if counts:
                total[truth] += 1
                right[truth] += guess == truth
        scores[name] = sum(right[value] / total[value] for value in total) / len(total)
    return scores


def test_shipped_judge_reads_held_out_renders(judge, renders):
    images, codes = renders
    scores = recalls_averaged(judge.classify(images), codes, FACES.visible(codes))
    assert min(scores.values()) >= 0.94, scores
    assert np.mean(list(scores.values())) >= 0.98, scores


def test_shipped_judge_reads_faces_whatever_the_nuisance(judge):
    rng = np.random.default_rng(5)
    codes = FACES.draw_codes(rng, 60)
    corners = rng.choice([-1.0, 1.0], (60, len(FACES.nuisances)))
    right = (judge.classify(to_tensor(render(FACES, codes, corners))) == codes)[FACES.visible(codes)]
    assert right.mean() >= 0.97


def test_shipped_judge_finds_nothing_in_noise_that_it_is_sure_of(judge, renders):
    noise = torch.rand(16, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    sure = [torch.stack([p.amax(1) for p in judge.probabilities(x)]).mean() for x in (renders[0][:16], noise)]
    assert sure[0] > 0.97
    assert sure[1] < sure[0] - 0.05


def test_shipped_weights_are_small_halves():
    with safe_open(WEIGHTS, "pt") as file:
        dtypes = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118 - not a mapping
    assert dtypes <= {torch.float16, torch.int64}
    assert WEIGHTS.stat().st_size < 4e6


def test_loading_gives_floats_in_eval_mode(judge):
    assert not judge.training
    assert {p.dtype for p in judge.parameters()} == {torch.float32}


def test_loading_refuses_the_weights_of_another_network(tmp_path):
    weights = load_file(WEIGHTS)
    weights.pop("heads.0.bias")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match=r"heads\.0\.bias"):
        load_judge(FACES, tmp_path / "model.safetensors")


def test_logits_probabilities_and_classes_agree(judge, renders):
    images = renders[0][:10]
    with torch.inference_mode():
        logits = judge(images)
    assert [tuple(head.shape) for head in logits] == [(10, size) for size in FACES.sizes]
    probabilities = judge.probabilities(images, batch_size=3)
    for head, shares in zip(logits, probabilities, strict=True):
        expected = head.double().exp() / head.double().exp().sum(1, keepdim=True)
        torch.testing.assert_close(shares.double(), expected, atol=1e-4, rtol=1e-3)
    classes = judge.classify(images)
    np.testing.assert_array_equal(classes, torch.stack([head.argmax(1) for head in logits], 1).numpy())
    assert classes.dtype == np.int64


def test_judge_of_other_widths():
    judge = Judge(replace(FACES, fit={"judge": {"widths": [4, 4, 8, 8, 8]}})).eval()
    assert [head.shape for head in judge(torch.zeros(2, 3, 128, 128))] == [(2, size) for size in FACES.sizes]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(20, 60))
def test_balanced_accuracy_against_counting(seed, n):
    rng = np.random.default_rng(seed)
    actual = FACES.draw_codes(rng, n)
    predicted = np.where(rng.random(actual.shape) < 0.6, actual, FACES.draw_codes(rng, n))
    mask = FACES.visible(actual)
    ours = balanced_accuracy(FACES, predicted, actual, mask)
    assert ours == pytest.approx(recalls_averaged(predicted, actual, mask))
    assert set(balanced_accuracy(FACES, actual, actual, mask).values()) == {1.0}


def test_balanced_accuracy_weighs_values_not_faces():
    actual = np.zeros((10, len(FACES.names)), dtype=int)
    actual[9] = 1
    always_first = np.zeros_like(actual)
    scores = balanced_accuracy(FACES, always_first, actual, np.ones(actual.shape, dtype=bool))
    assert set(scores.values()) == {0.5}
    hidden = np.ones(actual.shape, dtype=bool)
    hidden[9, FACES.names.index("hair_color")] = False
    assert balanced_accuracy(FACES, always_first, actual, hidden)["hair_color"] == 1
