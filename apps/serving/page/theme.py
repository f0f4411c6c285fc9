"""How the page looks: colours, type and the style sheet, without anything from the network."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import gradio as gr
from gradio.themes.utils import colors, sizes

from text2latent.apps.serving.page.texts import I18N

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Hiragino Sans", "Yu Gothic UI", "Noto Sans CJK JP", "sans-serif")
MONOSPACED = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Noto Sans Mono CJK JP", "monospace")


def make_theme() -> gr.themes.Base:
    """Ink on paper, so that the images are the most colourful things on the page; and the reverse in the dark."""
    theme = gr.themes.Base(
        primary_hue=colors.orange,
        secondary_hue=colors.orange,
        neutral_hue=colors.stone,
        spacing_size=sizes.spacing_md,
        radius_size=sizes.radius_lg,
        font=FONTS,
        font_mono=MONOSPACED,
    )
    return theme.set(
        body_background_fill="#faf9f7",
        body_background_fill_dark="#141312",
        body_text_color_subdued="*neutral_500",
        block_background_fill="#ffffff",
        block_background_fill_dark="#1d1b1a",
        block_border_color="#e7e3dd",
        block_border_color_dark="#322e2b",
        block_label_text_color="*neutral_600",
        block_title_text_weight="600",
        block_shadow="none",
        input_background_fill="#f8f6f3",
        input_background_fill_dark="#262321",
        input_border_color="#d9d4cc",
        input_border_color_dark="#3d3834",
        button_primary_background_fill="*neutral_900",
        button_primary_background_fill_dark="*neutral_100",
        button_primary_background_fill_hover="*neutral_700",
        button_primary_background_fill_hover_dark="#ffffff",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="*neutral_900",
        button_secondary_background_fill="#f1eee9",
        button_secondary_background_fill_dark="#2b2725",
        button_secondary_background_fill_hover="#e7e3dd",
        button_secondary_background_fill_hover_dark="#3a3532",
        slider_color="*primary_600",
        slider_color_dark="*primary_500",
    )


def appearance() -> dict[str, Any]:
    """What `mount_gradio_app` and `launch` take beside the blocks: theme, style sheet, translations, links below."""
    style = files("text2latent.apps.serving.page").joinpath("style.css").read_text(encoding="utf-8")
    return {
        "theme": make_theme(),
        "css": style,
        "i18n": I18N,
        "footer_links": ["api", "settings"],
        "run_history": False,
    }
