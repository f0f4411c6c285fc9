"""Model cards: what they say, and that the hub's own library reads them."""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import ModelCard

from text2latent.apps.exports.model_card import CardContent, model_card

RECORD = {
    "generator": {"name": "ffhq", "source": "hf://org/stylegan/ffhq.pkl", "sha256": "a" * 64},
    "clip": {"name": "laion/CLIP-B", "source": "hf-hub:laion/CLIP-B", "sha256": "b" * 64},
    "dataset": {"path": "pairs", "sha256": "c" * 64, "num_pairs": 60000},
    "metrics": {"val_loss": 0.78, "step": 30000},
    "export": {"formats": ["diffusers", "onnx"], "metrics": {"clip_score_of_samples": 0.31}},
}
CONTENT = CardContent("Faces: a test", "apache-2.0", ["a cat", "猫"], image_shape=(256, 256), context_length=77)


def test_front_matter_is_what_the_hub_reads() -> None:
    data = ModelCard(model_card(RECORD, CONTENT)).data
    assert data.license == "apache-2.0"
    assert data.base_model == ["org/stylegan", "laion/CLIP-B"]
    assert data.pipeline_tag == "text-to-image"
    assert data.library_name == "diffusers"
    assert data.to_dict()["training_pairs"] == 60000
    results = {result.metric_type: result.metric_value for result in data.eval_results}
    assert results == {"val_loss": 0.78, "step": 30000.0, "clip_score_of_samples": 0.31}


def test_text_tells_parts_training_figures_limits_and_samples() -> None:
    text = model_card(RECORD, CONTENT)
    for part in ("60,000 pairs", "c" * 64, "a" * 64, "| val_loss | 0.78 |", "256 x 256", "77 tokens", "](sample.png)"):
        assert part in text
    assert "custom_pipeline" in text
    assert "infer_onnx.py" in text
    assert "infer_pt2.py" not in text


def test_a_base_model_off_the_hub_is_told_in_the_text_only() -> None:
    record = {**RECORD, "generator": {"name": "mine", "source": "mine", "sha256": "d" * 64}}
    card = ModelCard(model_card(record, CONTENT))
    assert card.data.base_model == ["laion/CLIP-B"]
    assert "| generator | mine |" in card.content


def test_forced_pairing_is_told() -> None:
    record = {**RECORD, "trained_with": {"generator": {"name": "other"}}}
    assert "**Exported with another generator than the prior was trained with.**" in model_card(record, CONTENT)


def test_card_of_an_export_without_a_record_of_training(tiny_export: Path) -> None:
    card = ModelCard.load(tiny_export / "README.md")
    assert card.data.license == "unknown"
    assert card.data.eval_results is not None
    assert "No record of the training" in card.content
    assert (tiny_export / "sample.png").is_file()
    assert "clip_score_of_samples" in json.loads((tiny_export / "text2latent.json").read_text())["export"]["metrics"]
