"""The picture that was clicked: large, with what is known of it, what can be made of it, and how to take it along."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr
from gradio.components import Component

from text2latent.serving.page.calls import complaint
from text2latent.serving.page.shown import facts, latents_file, png_file
from text2latent.serving.page.texts import both, heading, say
from text2latent.serving.results import ServedImage


class Selection:
    """The side of the page that shows one picture."""

    def __init__(self) -> None:
        gr.HTML(heading("selected"))
        self.image = gr.State(None)
        self.picture = gr.Image(type="filepath", format="png", show_label=False, interactive=False,
            buttons=["fullscreen"], elem_id="selected-picture", elem_classes="t2l-square")  # fmt: skip
        self.facts = gr.HTML(f'<p class="t2l-label">{both("nothing_selected")}</p>', elem_id="selected-facts")
        with gr.Row(elem_classes="t2l-buttons"):
            self.vary = gr.Button(say("variations"), size="md", interactive=False, elem_id="vary")
            self.refine = gr.Button(say("refine"), size="md", interactive=False, elem_id="refine")
        with gr.Row(elem_classes="t2l-buttons"):
            self.png = gr.DownloadButton(say("save_png"), size="sm", interactive=False, elem_id="save-png")
            self.latents = gr.DownloadButton(say("save_latents"), size="sm", interactive=False, elem_id="save-latents")
        with gr.Accordion(say("reproduce"), open=False, elem_id="reproduce"):
            self.needs = gr.HTML("", elem_id="needs")
            self.command = gr.Code("", language="shell", label=say("command"), lines=2, wrap_lines=True,
                interactive=False, show_line_numbers=False, buttons=["copy"], elem_id="command")  # fmt: skip
            self.python = gr.Code("", language="python", label=say("python"), lines=6, wrap_lines=True,
                interactive=False, show_line_numbers=False, buttons=["copy"], elem_id="python")  # fmt: skip
        self.outputs: list[Component] = [
            self.image, self.picture, self.facts, self.vary, self.refine, self.png, self.latents, self.needs,
            self.command, self.python,
        ]  # fmt: skip

    def follow(self, gallery: gr.Gallery, images: gr.State) -> None:
        """Show what is clicked in a gallery, whose pictures are `images`, a list."""
        gallery.select(_choose, images, self.outputs, api_visibility="private", show_progress="hidden")


def _choose(images: list[ServedImage], event: gr.SelectData) -> list[Any]:
    return show(images[event.index])


def show_first(images: list[ServedImage]) -> list[Any]:
    """Values of the selection's outputs for the first of some pictures."""
    return show(images[0])


def show_last(images: list[ServedImage]) -> list[Any]:
    """Values of the selection's outputs for the last of some pictures."""
    return show(images[-1])


def show(image: ServedImage) -> list[Any]:
    """Values of the selection's outputs for one picture."""
    png, recipe, able = png_file(image), image.recipe, gr.update(interactive=True)
    needs = f'<p class="t2l-needs">{both("needs")}{escape(recipe.needs)}</p>' if recipe.needs else ""
    saved = [gr.update(value=file, interactive=True) for file in (png, latents_file(image))]
    return [image, png, facts(image), able, able, *saved, needs, recipe.command, recipe.python]


def chosen(image: ServedImage | None) -> ServedImage:
    """The picture that is selected.

    Raises:
        gradio.Error: where there is none.
    """
    if image is None:
        raise complaint("Click a picture first. / 先に絵をクリックしてください。")
    return image
