"""What the page says, in English and Japanese.

Labels go through Gradio's translation, which follows the browser's language and the page's settings. What handlers
write into the page while it is open can't, so it carries both languages, of which the style sheet shows one.
"""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from text2latent.inference.settings import DEFAULT_GUIDANCE_SCALE, DEFAULT_NEGATIVE_GUIDANCE_SCALE

TEXTS: dict[str, tuple[str, str]] = {
    "tagline": ("Pictures from words", "言葉から絵を描く"),
    "model": ("Model", "モデル"),
    "draw": ("Draw", "描く"),
    "mix": ("Mix", "混ぜる"),
    "edit": ("Edit", "変える"),
    "compare": ("Compare", "比べる"),
    "upload": ("Upload", "画像から"),
    "stop": ("Stop", "止める"),
    "stopped": ("Stopped.", "止めました。"),
    "prompt": ("Prompt", "プロンプト"),
    "prompt_hint": ("Describe a picture, then press Enter", "描きたいものを書いて Enter"),
    "examples": ("Try one of these", "例"),
    "settings": ("Settings", "設定"),
    "num_images": ("Images", "枚数"),
    "seed": ("Seed", "シード"),
    "seed_info": ("The same seed draws the same picture", "同じシードなら同じ絵になります"),
    "new_seed": ("New seed", "シードを変える"),
    "advanced": ("Advanced", "詳細設定"),
    "guidance": ("Guidance", "ガイダンス"),
    "guidance_info": (
        "Higher follows the text more closely, with less variety; with a negative prompt, "
        f"{DEFAULT_GUIDANCE_SCALE:g} counts as {DEFAULT_NEGATIVE_GUIDANCE_SCALE:g}",
        "大きいほど文章に忠実、変化は少なめ。ネガティブプロンプトがあるとき "
        f"{DEFAULT_GUIDANCE_SCALE:g} は {DEFAULT_NEGATIVE_GUIDANCE_SCALE:g} とみなします",
    ),
    "steps": ("Steps", "ステップ数"),
    "steps_info": ("Sampling steps of the prior", "prior のサンプリング回数"),
    "truncation": ("Truncation", "トランケーション"),
    "truncation_info": ("Below 1 is nearer to the average picture", "1 未満で平均的な絵に近づきます"),
    "negative": ("Negative prompt", "ネガティブプロンプト"),
    "negative_hint": ("What not to show", "描きたくないもの"),
    "rerank": ("Rerank", "候補数"),
    "rerank_info": ("Candidates per image; CLIP's favourite is kept", "候補から CLIP が選びます"),
    "pictures": ("pictures", "枚"),
    "one_picture": ("picture", "枚"),
    "mix_from": ("From", "はじめ"),
    "mix_to": ("To", "おわり"),
    "mix_from_hint": ("a sad child", "悲しそうな子ども"),
    "mix_to_hint": ("a happy old man", "うれしそうなおじいさん"),
    "frames": ("Frames", "コマ数"),
    "position": ("Position", "位置"),
    "position_info": ("Drag from the first text to the second", "はじめからおわりへ動かせます"),
    "strip": ("The way between them", "あいだの絵"),
    "animation": ("Animation", "アニメーション"),
    "edit_from": ("Change from", "変える前"),
    "edit_to": ("Change to", "変えた後"),
    "edit_from_hint": ("a woman", "女性"),
    "edit_to_hint": ("a woman with glasses", "眼鏡をかけた女性"),
    "edit_start": ("Start with", "元の絵"),
    "edit_start_hint": ("A text; leave empty for the selected picture", "文章。空なら選択中の絵を使います"),
    "strength": ("Strength", "強さ"),
    "strength_info": ("1 is the whole way, below 0 the other way", "1 で全部、負なら逆向き"),
    "before": ("Before", "変更前"),
    "after": ("After", "変更後"),
    "compare_hint": ("The same text, drawn at once and searched for", "同じ文章を二つの方法で"),
    "iterations": ("Optimisation steps", "最適化の回数"),
    "amortised": ("Prior", "prior"),
    "optimised": ("Optimisation", "最適化"),
    "picture": ("Picture", "画像"),
    "added_text": ("Mix with a text (optional)", "文章と混ぜる（任意）"),
    "image_weight": ("Share of the picture", "画像の割合"),
    "variations": ("Variations", "バリエーション"),
    "find": ("Find it, to edit it", "この画像を見つけて変える"),
    "found": (
        "Found in the model's world: edit it under Edit.",
        "このモデルの世界で見つけました。「変える」で編集できます。",
    ),
    "more_like_this": ("More like this", "似た絵をもっと"),
    "refine": ("Refine", "仕上げる"),
    "refine_steps": ("Refinement steps", "仕上げの回数"),
    "refine_steps_info": ("How long Refine follows CLIP", "CLIP に近づける回数"),
    "frames_drawn": ("frames", "コマ"),
    "selected": ("Selected picture", "選択中の絵"),
    "save_png": ("Save PNG", "PNG を保存"),
    "save_latents": ("Save latents", "潜在変数を保存"),
    "save_gif": ("Save animation", "アニメーションを保存"),
    "reproduce": ("Draw it again elsewhere", "別の場所で再現する"),
    "command": ("Command line", "コマンド"),
    "python": ("Python", "Python"),
    "nothing_selected": ("Draw something, then click a picture.", "絵を描いて、クリックしてください。"),
    "ready": ("Write what you would like to see.", "見たいものを書いてください。"),
    "outside": (
        "This looks beyond what the model can draw; the pictures may show something else.",
        "このモデルの得意な範囲から外れているようです。別のものが描かれるかもしれません。",
    ),
    "domain_score": ("Out-of-domain score", "範囲外スコア"),
    "mix_ready": ("Two texts make a way from one to the other.", "二つの文章のあいだを描きます。"),
    "edit_ready": (
        "Click a picture, or write a text to start with; then say what to change.",
        "絵をクリックするか元の文章を書いて、変えたい点を入力してください。",
    ),
    "compare_ready": (
        "The prior answers at once; optimisation takes a step at a time.",
        "prior は一度で、最適化は一歩ずつ描きます。",
    ),
    "iterations_info": ("More steps take longer", "多いほど時間がかかります"),
    "prior_took": ("Prior:", "prior："),
    "optimisation_took": ("Optimisation:", "最適化："),
    "added_text_hint": ("with glasses", "眼鏡をかけて"),
    "upload_ready": (
        "Choose a picture; the model draws what is most like it in its world.",
        "画像を選ぶと、このモデルの世界でいちばん近いものを描きます。",
    ),
    "image_weight_info": ("0 is only the text, 1 only the picture", "0 は文章だけ、1 は画像だけ"),
    "score": ("CLIP score", "CLIP スコア"),
    "time": ("Time", "時間"),
    "needs": ("Before you run it: ", "実行の前に："),
}

I18N = gr.I18n(
    en={key: english for key, (english, _) in TEXTS.items()},
    ja={key: japanese for key, (_, japanese) in TEXTS.items()},
)


def say(key: str) -> Any:
    """A label in the reader's language."""
    assert key in TEXTS, key
    return I18N(key)


def both(key: str) -> str:
    """HTML of a text in both languages, of which the style sheet shows the reader's."""
    english, japanese = (escape(text) for text in TEXTS[key])
    return f'<span lang="en">{english}</span><span lang="ja">{japanese}</span>'


def heading(key: str) -> str:
    """HTML of the heading of a part of the page."""
    return f'<h2 class="t2l-heading">{both(key)}</h2>'
