"""What the tabs share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from text2latent.apps.serving.page.controls import Controls
from text2latent.apps.serving.page.selection import Selection
from text2latent.apps.serving.page.texts import heading, say
from text2latent.apps.serving.page.visits import Visits
from text2latent.apps.serving.results import ServedImage
from text2latent.apps.serving.visitor_files import Uploads

if TYPE_CHECKING:
    from text2latent.apps.serving.engine import Engine

Images = list[ServedImage]


@dataclass(frozen=True)
class Desk:
    """The parts around the tabs.

    Attributes:
        engine: what draws.
        controls: the settings.
        selection: where the picture is that was clicked.
        tabs: the tabs, to go to one of them.
        visits: what is being done for whom.
        uploads: the files that visitors have sent.
    """

    engine: Engine
    controls: Controls
    selection: Selection
    tabs: gr.Tabs
    visits: Visits
    uploads: Uploads


def text_box(key: str, max_length: int, **more: Any) -> gr.Textbox:
    """A line for a text, with a hint in it, that Enter sends off; Shift and Enter make a new line."""
    hint = say(f"{key}_hint")
    return gr.Textbox("", label=say(key), placeholder=hint, lines=1, max_lines=4, max_length=max_length, **more)


def pictures(name: str, square: bool = True) -> gr.Gallery:
    """A gallery whose pictures can be clicked; square, whatever is in it, so that nothing moves when they come."""
    return gr.Gallery(format="png", show_label=False, object_fit="contain", allow_preview=False,
        interactive=False, buttons=[], elem_id=name,
        elem_classes="t2l-gallery t2l-square" if square else "t2l-gallery")  # fmt: skip


def titled_pictures(name: str, title: str) -> gr.Gallery:
    """As `pictures`, under a heading."""
    with gr.Column():
        gr.HTML(heading(title))
        return pictures(name)
