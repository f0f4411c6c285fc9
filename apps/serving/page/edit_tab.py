"""Move pictures along the direction from one text to another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from text2latent.apps.serving.limits import Limits
from text2latent.apps.serving.operations import EditRequest, EditResult
from text2latent.apps.serving.page.calls import farthest, takes_settings, written
from text2latent.apps.serving.page.desk import Desk, Images, text_box, titled_pictures
from text2latent.apps.serving.page.selection import chosen
from text2latent.apps.serving.page.shown import cards, notice, took
from text2latent.apps.serving.page.texts import both, say
from text2latent.apps.serving.requests import DrawRequest
from text2latent.apps.serving.results import ServedImage
from text2latent.inference.settings import DEFAULT_STRENGTH

if TYPE_CHECKING:
    from text2latent.inference.domain import DomainScore

MOST_STRENGTH = 3.0


class EditTab:
    """Two texts, a slider for how far, and the pictures before and after."""

    def __init__(self, limits: Limits) -> None:
        most = limits.max_prompt_characters
        with gr.Tab(say("edit"), id="edit", elem_id="tab-edit"):
            with gr.Row(elem_classes="t2l-ask"):
                self.source = text_box("edit_from", most, elem_id="edit-from")
                self.target = text_box("edit_to", most, elem_id="edit-to")
                self.button = gr.Button(say("edit"), variant="primary", scale=0, elem_id="edit")
            self.start = text_box("edit_start", most, elem_id="edit-start")
            self.strength = gr.Slider(-MOST_STRENGTH, MOST_STRENGTH, DEFAULT_STRENGTH, step=0.1, label=say("strength"),
                info=say("strength_info"), buttons=[], elem_id="strength")  # fmt: skip
            self.notice = gr.HTML(notice(both("edit_ready")), elem_id="edit-notice")
            with gr.Row(elem_classes="t2l-pair"):
                self.before = titled_pictures("edit-before", "before")
                self.after = titled_pictures("edit-after", "after")
            self.images_before, self.images = gr.State([]), gr.State([])

    def wire(self, desk: Desk) -> None:
        """Connect the events; once there is a result, moving the slider draws it anew."""
        edit, move = _handlers(desk)
        shown = [self.before, self.after, self.notice, self.images_before, self.images]
        selected = [desk.selection.image, self.images_before, self.images]
        asked: dict[str, Any] = {"outputs": shown, "show_progress_on": self.after, "concurrency_limit": None}
        texts = [self.source, self.target, self.strength, self.start]
        triggers = [self.source.submit, self.target.submit, self.start.submit, self.button.click]
        edited = gr.on(triggers, takes_settings(edit), [*texts, *desk.controls.inputs, *selected], api_name="edit",
            **asked)  # fmt: skip
        moved = self.strength.release(move, [*texts[:3], self.images_before], api_visibility="private",
            trigger_mode="always_last", **asked)  # fmt: skip
        for event in (edited, moved):
            desk.selection.show_after(event, self.after)
        desk.selection.follow(self.before, self.images_before)
        desk.selection.follow(self.after, self.images)


def _handlers(desk: Desk) -> tuple[Any, Any]:
    """What the button and what the slider does."""
    submit, ask = desk.engine.submit_edit, desk.visits.ask

    async def edit(
        source: str,
        target: str,
        strength: float,
        start: str,
        how: DrawRequest,
        selected: ServedImage | None,
        before: Images,
        after: Images,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> list[Any]:
        """Move pictures of the text `start` along the direction from one text to another."""
        base: Any = replace(how, prompt=start) if start.strip() else _base(selected, before, after)
        wanted = EditRequest(base, written(source), written(target), strength)
        result = await ask(request, submit, wanted, progress=progress)
        texts = [text for text in (start, source, target) if text.strip()]
        return _shown(result, await farthest(desk.engine, texts, how.model))

    async def move(source: str, target: str, strength: float, before: Images, request: gr.Request) -> list[Any]:
        if not before:
            return [gr.skip()] * 5
        wanted = EditRequest(tuple(before), written(source), written(target), strength)
        return _shown(await ask(request, submit, wanted))

    return edit, move


def _base(selected: ServedImage | None, before: Images, after: Images) -> tuple[ServedImage, ...]:
    """What to edit: the selected picture, or, if it is the latest edit's, what that was made of."""
    image = chosen(selected)
    return tuple(before) if any(image is one for one in after) else (image,)


def _shown(result: EditResult, outside: DomainScore | None = None) -> list[Any]:
    """Values of the tab's outputs."""
    summary = notice(took(len(result.after), result.seconds), outside)
    return [cards(result.before), cards(result.after), summary, result.before, result.after]
