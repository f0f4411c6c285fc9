import numpy as np
import pytest
import torch

from text2latent.benchmarks.priors.out_of_domain import UNRELATED, area_under_curve, main
from text2latent.inference.prompts import read_prompt_file


def test_there_are_400_different_sentences_half_of_them_in_latin_letters():
    texts = [line.text for line in read_prompt_file(UNRELATED)]
    assert len(set(texts)) == len(texts) == 400
    assert sum(text.isascii() for text in texts) == 200


def test_area_under_curve_is_torchmetrics():
    from torchmetrics.functional.classification import binary_auroc

    rng = np.random.default_rng(0)
    inside, outside = rng.integers(0, 10, 50), rng.integers(3, 13, 40)
    scores = torch.from_numpy(np.concatenate([inside, outside]) / 20)
    labels = torch.cat([torch.zeros(50, dtype=torch.long), torch.ones(40, dtype=torch.long)])
    assert area_under_curve(inside, outside) == pytest.approx(float(binary_auroc(scores, labels)), abs=1e-6)


def test_model_without_a_domain_is_refused(tiny_model, capsys):
    assert main(["--model", str(tiny_model)]) == 1
    assert "domain.safetensors" in capsys.readouterr().err
