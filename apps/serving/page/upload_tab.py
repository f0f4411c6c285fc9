"""A picture as the prompt, alone or mixed with a text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData
from PIL import Image

from text2latent.apps.serving.limits import Limits
from text2latent.apps.serving.page.calls import complaint, takes_settings, work
from text2latent.apps.serving.page.desk import Desk, pictures, text_box
from text2latent.apps.serving.page.shown import cards, duration, notice, took
from text2latent.apps.serving.page.texts import both, say
from text2latent.apps.serving.projections import ProjectRequest
from text2latent.apps.serving.requests import DrawRequest
from text2latent.apps.serving.uploads import decode_upload
from text2latent.inference.settings import DEFAULT_IMAGE_WEIGHT


def as_it_came(payload: ImageData | None) -> str | None:
    """What `Uploads` calls an uploaded file, as the gate before Gradio has put it; None without one."""
    return None if payload is None else payload.url


class UploadTab:
    """A picture, perhaps a text and the picture's share, and variations of it."""

    def __init__(self, limits: Limits) -> None:
        with gr.Tab(say("upload"), id="upload", elem_id="tab-upload"):
            with gr.Row(elem_classes="t2l-pair"):
                self.image = gr.Image(type="filepath", sources=["upload", "clipboard"], label=say("picture"),
                    buttons=[], elem_id="upload-image", elem_classes="t2l-square")  # fmt: skip
                # Gradio would look for a file, and report what is wrong with it to nobody.
                self.image.preprocess = as_it_came  # type: ignore[method-assign]
                with gr.Column(elem_id="upload-form"):
                    self.prompt = text_box("added_text", limits.max_prompt_characters, elem_id="upload-prompt")
                    self.weight = gr.Slider(0, 1, DEFAULT_IMAGE_WEIGHT, step=0.05, label=say("image_weight"),
                        info=say("image_weight_info"), buttons=[], elem_id="image-weight")  # fmt: skip
                    self.button = gr.Button(say("variations"), variant="primary", elem_id="upload-draw")
                    self.find = gr.Button(say("find"), elem_id="upload-find")
            self.notice = gr.HTML(notice(both("upload_ready")), elem_id="upload-notice")
            self.gallery = pictures("upload-gallery")
            self.images = gr.State([])

    def wire(self, desk: Desk) -> None:
        vary, find = _handlers(desk)
        shown = [self.gallery, self.notice, self.images]
        asked: dict[str, Any] = {"outputs": shown, "show_progress_on": self.gallery, "concurrency_limit": None}
        inputs = [self.image, self.prompt, self.weight, *desk.controls.inputs]
        drawn = gr.on([self.prompt.submit, self.button.click], takes_settings(vary), inputs, api_name="vary", **asked)
        found = self.find.click(takes_settings(find), [self.image, *desk.controls.inputs], api_name="find", **asked)
        for event in (drawn, found):
            desk.selection.show_after(event, self.gallery)
        desk.selection.follow(self.gallery, self.images)


def _handlers(desk: Desk) -> tuple[Any, Any]:
    """What the two buttons do."""
    engine = desk.engine

    async def read(image: Any) -> tuple[Image.Image, str]:
        """The uploaded picture and its name."""
        if image is None:
            raise complaint("Choose a picture first. / 先に画像を選んでください。")
        upload = desk.uploads.taken(image)
        if upload is None:
            raise complaint("Upload the picture again. / もう一度アップロードしてください。")
        return await work(decode_upload, upload.data, engine.limits), Path(upload.name).stem

    async def vary(image: Any, prompt: str, image_weight: float, how: DrawRequest, request: gr.Request) -> list[Any]:
        """Draw variations of a picture, mixed with a text if there is one."""
        picture, name = await read(image)
        wanted = replace(how, image=picture, image_name=name, prompt=prompt.strip() or None, image_weight=image_weight)
        result = await desk.visits.ask(request, engine.submit_draw, wanted)
        images = result.images
        return [cards(images), notice(took(len(images), result.seconds), result.out_of_domain), images]

    async def find(
        image: Any,
        how: DrawRequest,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> list[Any]:
        """Find a picture in the latent space, so that it can be edited."""
        picture, name = await read(image)
        wanted = ProjectRequest(picture, name, how=how)
        result = await desk.visits.ask(request, engine.submit_project, wanted, progress=progress)
        return [cards(result.images), notice(f"{both('found')} {duration(result.seconds)}"), result.images]

    return vary, find
