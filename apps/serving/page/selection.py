"""The picture that was clicked: large, with what is known of it, what can be made of it, and how to take it along."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr
from gradio.components import Component

from text2latent.apps.serving.page.calls import complaint
from text2latent.apps.serving.page.shown import facts, latents_file, png_file
from text2latent.apps.serving.page.texts import both, heading, say
from text2latent.apps.serving.results import ServedImage

NONE = -1
"""Index of no picture; at None, a gallery keeps its outline."""


class Selection:
    """The side of the page that shows one picture, which is outlined in its gallery, and no other picture is.

    First the tabs register what there is to show, with `follow` and `show_after`; then `wire` connects it.
    """

    def __init__(self) -> None:
        self._galleries: list[tuple[gr.Gallery, gr.State]] = []
        self._events: list[tuple[Any, gr.Gallery, int, dict[str, Any]]] = []
        gr.HTML(heading("selected"))
        self.image = gr.State(None)
        self.picture = gr.Image(type="filepath", format="png", show_label=False, interactive=False,
            buttons=["fullscreen"], elem_id="selected-picture", elem_classes="t2l-square")  # fmt: skip
        self.facts = gr.HTML(f'<p class="t2l-label">{both("nothing_selected")}</p>', elem_id="selected-facts")
        with gr.Row(elem_classes="t2l-buttons"):
            self.vary = gr.Button(say("more_like_this"), size="md", interactive=False, elem_id="vary")
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
        self._galleries.append((gallery, images))

    def show_after(self, event: Any, gallery: gr.Gallery, index: int = 0, **how: Any) -> None:
        """Show a picture of a followed gallery, by default the first, once an event has succeeded."""
        self._events.append((event, gallery, index, how))

    def wire(self) -> None:
        galleries = [gallery for gallery, _ in self._galleries]
        outputs = [*self.outputs, *galleries]
        shared: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        for gallery, images in self._galleries:
            gallery.select(_chooser(galleries, gallery), images, outputs, **shared)
        for event, gallery, index, how in self._events:
            event.success(_shower(galleries, gallery, index), dict(self._galleries)[gallery], outputs, **shared, **how)


def _chooser(galleries: list[gr.Gallery], chosen: gr.Gallery) -> Callable[..., list[Any]]:
    """Shows what is clicked in one of the galleries."""

    def choose(images: list[ServedImage], event: gr.SelectData) -> list[Any]:
        return [*show(images[event.index]), *_outlines(galleries, chosen, event.index)]

    return choose


def _shower(galleries: list[gr.Gallery], chosen: gr.Gallery, index: int) -> Callable[..., list[Any]]:
    """Shows a picture of one of the galleries."""

    def show_one(images: list[ServedImage]) -> list[Any]:
        return [*show(images[index]), *_outlines(galleries, chosen, index % len(images))]

    return show_one


def _outlines(galleries: list[gr.Gallery], chosen: gr.Gallery, index: int) -> list[Any]:
    """Updates that outline a picture of one gallery, and none of the others'."""
    return [gr.update(selected_index=index if gallery is chosen else NONE) for gallery in galleries]


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
