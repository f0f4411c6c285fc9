"""The measure that training of a prior for this world logs; see `models.sources.zoo`."""

from __future__ import annotations

from typing import Any

from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.zoo.faces.evaluation import held_out_captions, prompt_faithfulness
from text2latent.zoo.faces.judge import load_judge


def attribute_accuracy(pipeline: Text2LatentPipeline, num_captions: int, **settings: Any) -> float:
    """Share of the attributes named by English held-out captions that the judge sees, one picture per caption.

    Args:
        num_captions: always the first of the same captions, so that validations compare.
        settings: keyword arguments of the pipeline.
    """
    judge = load_judge().to(pipeline.device)
    return prompt_faithfulness(pipeline, judge, held_out_captions(num_captions, "en"), 1, **settings).named
