"""Draw pictures of a text; variations and refinements of the selected picture come here too."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import gradio as gr

from text2latent.apps.serving.limits import Limits
from text2latent.apps.serving.operations import RefineRequest
from text2latent.apps.serving.page.calls import takes_settings, work, written
from text2latent.apps.serving.page.desk import Desk, Images, pictures, text_box
from text2latent.apps.serving.page.selection import chosen
from text2latent.apps.serving.page.shown import cards, duration, notice, score, took
from text2latent.apps.serving.page.texts import both, say
from text2latent.apps.serving.requests import DrawRequest
from text2latent.apps.serving.results import ServedImage

if TYPE_CHECKING:
    from text2latent.apps.serving.engine import Engine

TAB = "draw"


def examples_for(engine: Engine, model: str) -> list[str]:
    """Prompts that suit a model: those of its name or of its generator's; none where nothing is known.

    Raises:
        ModelUnavailable: when the model has another name, and can't be loaded.
    """
    if examples := read_examples(model):
        return examples
    identity = engine.library.get(model).generator.identity
    return [] if identity is None else read_examples(identity.name)


def read_examples(name: str) -> list[str]:
    """Prompts for a world of that name; none for one that nothing is known of."""
    files_there = files("text2latent.apps.serving.page").joinpath("examples").iterdir()
    lines = [file.read_text(encoding="utf-8").splitlines() for file in files_there if file.name == f"{name}.txt"]
    return lines[0] if lines else []


def _samples(examples: list[str]) -> dict[str, Any]:
    """Properties of the component that shows them."""
    return {"samples": [[text] for text in examples], "visible": bool(examples)}


class DrawTab:
    """The first tab."""

    def __init__(self, limits: Limits, examples: list[str]) -> None:
        with gr.Tab(say("draw"), id=TAB, elem_id="tab-draw"):
            with gr.Row(elem_classes="t2l-ask"):
                self.prompt = text_box("prompt", limits.max_prompt_characters, autofocus=True, scale=1,
                    elem_id="prompt", show_label=False, container=False)  # fmt: skip
                self.button = gr.Button(say("draw"), variant="primary", scale=0, elem_id="draw")
            self.examples = gr.Dataset(components=[self.prompt], label=say("examples"), elem_id="examples",
                **_samples(examples))  # fmt: skip
            self.notice = gr.HTML(notice(both("ready")), elem_id="notice")
            self.gallery = pictures("gallery")
            self.images = gr.State([])
        self.outputs = [self.gallery, self.notice, self.images]

    def wire(self, desk: Desk) -> None:
        controls, selection = desk.controls, desk.selection
        draw, vary_selected, refine = _handlers(desk)

        async def suggest(model: str) -> gr.Dataset:
            return gr.Dataset(**_samples(await work(examples_for, desk.engine, model)))

        asked: dict[str, Any] = {"outputs": self.outputs, "show_progress_on": self.gallery, "concurrency_limit": None}
        drawn = gr.on([self.prompt.submit, self.button.click], takes_settings(draw),
            [self.prompt, *controls.inputs], api_name="draw", **asked)  # fmt: skip
        example = self.examples.click(lambda sample: sample[0], self.examples, self.prompt, api_visibility="private")
        example = example.then(takes_settings(draw), [self.prompt, *controls.inputs], api_visibility="private", **asked)
        varied = selection.vary.click(vary_selected, [selection.image, controls.num_images, controls.seed],
            api_visibility="private", **asked)  # fmt: skip
        refined = selection.refine.click(refine, [selection.image, controls.refine_steps],
            api_visibility="private", **asked)  # fmt: skip
        for event in (selection.vary.click, selection.refine.click):
            event(lambda: gr.Tabs(selected=TAB), None, desk.tabs, api_visibility="private", queue=False)
        for event, index in ((drawn, 0), (example, 0), (varied, 0), (refined, -1)):
            selection.show_after(event, self.gallery, index)
        selection.follow(self.gallery, self.images)
        controls.model.change(suggest, controls.model, self.examples, api_visibility="private",
            show_progress="hidden", concurrency_limit=None)  # fmt: skip


def _handlers(desk: Desk) -> tuple[Any, Any, Any]:
    """What drawing, varying and refining do."""
    engine, ask = desk.engine, desk.visits.ask

    async def draw(prompt: str, how: DrawRequest, request: gr.Request) -> list[Any]:
        """Draw pictures of a text."""
        result = await ask(request, engine.submit_draw, with_prompt(how, prompt))
        return _shown(result.images, took(len(result.images), result.seconds))

    async def vary_selected(image: ServedImage | None, n: int, seed: int | None, request: gr.Request) -> list[Any]:
        result = await ask(request, engine.submit_vary, chosen(image), n, seed)
        return _shown(result.images, took(len(result.images), result.seconds))

    async def refine(
        image: ServedImage | None,
        steps: int,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> list[Any]:
        wanted = RefineRequest(chosen(image), steps)
        result = await ask(request, engine.submit_refine, wanted, progress=progress)
        before, after = result.before, result.after
        return _shown([before, after], f"CLIP {score(before)} → {score(after)}, {duration(result.seconds)}")

    return draw, vary_selected, refine


def with_prompt(how: DrawRequest, prompt: str) -> DrawRequest:
    """A request for pictures of a text that somebody has written."""
    return replace(how, prompt=written(prompt))


def _shown(images: Images, text: str) -> list[Any]:
    """Values of the tab's outputs."""
    return [cards(images), notice(text, images[0].out_of_domain), images]
