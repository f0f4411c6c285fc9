"""The way from one text to another: a strip to look along, and an animation."""

from __future__ import annotations

import io
from typing import Any

import gradio as gr

from text2latent.apps.serving.limits import Limits
from text2latent.apps.serving.operations import MixRequest
from text2latent.apps.serving.page.calls import farthest, takes_settings, written
from text2latent.apps.serving.page.desk import Desk, Images, pictures, text_box
from text2latent.apps.serving.page.shown import cards, duration, keep, notice
from text2latent.apps.serving.page.texts import both, say
from text2latent.apps.serving.requests import DrawRequest
from text2latent.inference.settings import DEFAULT_FRAMES

FRAME_MILLISECONDS = 125


class MixTab:
    """Two texts, a slider between them, all frames in a row, and the animation."""

    def __init__(self, limits: Limits) -> None:
        with gr.Tab(say("mix"), id="mix", elem_id="tab-mix"):
            with gr.Row(elem_classes="t2l-ask"):
                self.start = text_box("mix_from", limits.max_prompt_characters, elem_id="mix-from")
                self.end = text_box("mix_to", limits.max_prompt_characters, elem_id="mix-to")
                self.button = gr.Button(say("mix"), variant="primary", scale=0, elem_id="mix")
            self.notice = gr.HTML(notice(both("mix_ready")), elem_id="mix-notice")
            with gr.Row(elem_classes="t2l-pair"):
                self.frame = pictures("mix-frame")
                self.animation = gr.Image(type="filepath", format="webp", show_label=False, interactive=False,
                    buttons=[], elem_id="mix-animation", elem_classes="t2l-square")  # fmt: skip
            self.position = gr.Slider(0, 1, 0, label=say("position"), info=say("position_info"), buttons=[],
                interactive=False, elem_id="mix-position")  # fmt: skip
            self.strip = pictures("mix-strip", square=False)
            with gr.Row(elem_classes="t2l-buttons"):
                self.frames = gr.Slider(2, limits.max_frames, DEFAULT_FRAMES, step=1, precision=0, label=say("frames"),
                    buttons=[], elem_id="mix-frames")  # fmt: skip
                self.save = gr.DownloadButton(say("save_gif"), interactive=False, scale=0, elem_id="mix-save")
            self.images = gr.State([])
            self.shown = gr.State([])

    def wire(self, desk: Desk) -> None:
        inputs = [self.start, self.end, self.frames, *desk.controls.inputs]
        outputs = [self.strip, self.animation, self.notice, self.images, self.save]
        mixed = gr.on([self.start.submit, self.end.submit, self.button.click], takes_settings(_handler(desk)), inputs,
            outputs, api_name="mix", show_progress_on=self.frame, concurrency_limit=None)  # fmt: skip
        look: dict[str, Any] = {"fn": _look, "inputs": [self.images, self.position],
            "outputs": [self.frame, self.shown, self.strip],
            "api_visibility": "private", "show_progress": "hidden"}  # fmt: skip
        mixed.success(_unlock, self.images, [self.position, self.save], api_visibility="private",
            show_progress="hidden")  # fmt: skip
        first = mixed.success(**{**look, "fn": _look_at_first, "inputs": self.images})
        moved = self.position.input(**look, trigger_mode="always_last")
        clicked = self.strip.select(_place, self.images, self.position, api_visibility="private").then(**look)
        for event in (first, moved, clicked):
            desk.selection.show_after(event, self.frame, trigger_mode="always_last")
        desk.selection.follow(self.frame, self.shown)


def _handler(desk: Desk) -> Any:
    engine = desk.engine

    async def mix(
        start: str,
        end: str,
        frames: int,
        how: DrawRequest,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> list[Any]:
        """Draw the way from one text to another."""
        wanted = MixRequest(written(start), written(end), frames, how)
        result = await desk.visits.ask(request, engine.submit_mix, wanted, progress=progress)
        gif = keep(result.animation(".gif"), f"{result.frames[0].stem}.gif")
        # The strip's pictures are small, so the large one says what they are.
        strip = [path for path, _ in cards(result.frames)]
        outside = await farthest(engine, (start, end), how.model)
        summary = notice(f"{len(result.frames)} {both('frames_drawn')}, {duration(result.seconds)}", outside)
        return [strip, keep(moving(result.frames), "mix.webp"), summary, result.frames, gif]

    return mix


def moving(frames: Images) -> bytes:
    """A WebP file of the way there and back, in all colours, which a GIF hasn't."""
    first, *others = [frame.picture for frame in [*frames, *frames[-2:0:-1]]]
    data = io.BytesIO()
    first.save(data, "WEBP", save_all=True, append_images=others, duration=FRAME_MILLISECONDS, loop=0, quality=90)
    return data.getvalue()


def _unlock(images: Images) -> list[Any]:
    """The slider, with a step for each frame, and the button that saves them."""
    return [gr.Slider(value=0, step=1 / (len(images) - 1), interactive=True), gr.DownloadButton(interactive=True)]


def _look(images: Images, position: float) -> list[Any]:
    """The frame at a position in [0, 1], outlined in the strip."""
    index = round(position * (len(images) - 1))
    return [cards([images[index]]), [images[index]], gr.update(selected_index=index)]


def _look_at_first(images: Images) -> list[Any]:
    return _look(images, 0)


def _place(images: Images, event: gr.SelectData) -> float:
    """The position of the frame that was clicked."""
    return float(event.index) / (len(images) - 1)
