"""What endpoints for clients of Gradio say, in English and Japanese; the page's own texts are in `site/scripts`."""

from __future__ import annotations

from html import escape

TEXTS: dict[str, tuple[str, str]] = {
    "pictures": ("pictures", "枚"),
    "one_picture": ("picture", "枚"),
    "frames_drawn": ("frames", "コマ"),
    "found": ("Found in the model's world.", "このモデルの世界で見つけました。"),
    "outside": (
        "This looks beyond what the model can draw; the pictures may show something else.",
        "このモデルの得意な範囲から外れているようです。別のものが描かれるかもしれません。",
    ),
    "domain_score": ("Out-of-domain score", "範囲外スコア"),
    "prior_took": ("Prior:", "prior："),
    "optimisation_took": ("Optimisation:", "最適化："),
}


def both(key: str) -> str:
    english, japanese = (escape(text) for text in TEXTS[key])
    return f'<span lang="en">{english}</span><span lang="ja">{japanese}</span>'
