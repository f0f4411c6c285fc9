"""The same text drawn by the prior at once, and searched for by optimisation, side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from text2latent.apps.serving.limits import Limits
from text2latent.apps.serving.operations import DEFAULT_ITERATIONS, CompareRequest
from text2latent.apps.serving.page.calls import takes_settings, written
from text2latent.apps.serving.page.desk import Desk, text_box, titled_pictures
from text2latent.apps.serving.page.shown import cards, duration, notice, score
from text2latent.apps.serving.page.texts import both, say
from text2latent.apps.serving.requests import DrawRequest

STARTED = "() => { document.documentElement.dataset.comparing = 'yes'; return []; }"
ENDED = "() => { delete document.documentElement.dataset.comparing; return []; }"
"""The style sheet shows the button that stops, in the place of the one that starts, while the page is marked so."""


class CompareTab:
    """A text, the optimisation's steps, and the two pictures."""

    def __init__(self, limits: Limits) -> None:
        with gr.Tab(say("compare"), id="compare", elem_id="tab-compare"):
            with gr.Row(elem_classes="t2l-ask"):
                self.prompt = text_box("prompt", limits.max_prompt_characters, elem_id="compare-prompt",
                    show_label=False, container=False, scale=1)  # fmt: skip
                self.button = gr.Button(say("compare"), variant="primary", scale=0, elem_id="compare")
                self.stop = gr.Button(say("stop"), scale=0, elem_id="compare-stop")
            most = limits.max_iterations
            self.iterations = gr.Slider(1, most, min(DEFAULT_ITERATIONS, most), step=1, precision=0,
                label=say("iterations"), info=say("iterations_info"), buttons=[], elem_id="iterations")  # fmt: skip
            self.notice = gr.HTML(notice(both("compare_ready")), elem_id="compare-notice")
            with gr.Row(elem_classes="t2l-pair"):
                self.amortised = titled_pictures("amortised", "amortised")
                self.optimised = titled_pictures("optimised", "optimised")
            self.images_amortised, self.images = gr.State([]), gr.State([])

    def wire(self, desk: Desk) -> None:
        inputs = [self.prompt, self.iterations, *desk.controls.inputs]
        outputs = [self.amortised, self.optimised, self.notice, self.images_amortised, self.images]
        triggers = [self.prompt.submit, self.button.click]
        gr.on(triggers, None, js=STARTED, api_visibility="private")
        compared = gr.on(triggers, takes_settings(_handler(desk)), inputs, outputs,
            api_name="compare", show_progress_on=self.optimised, concurrency_limit=None)  # fmt: skip
        # What only the browser does isn't done by Gradio's `then` after a failure.
        for ended in (compared.success, compared.failure):
            ended(None, js=ENDED, api_visibility="private")
        self.stop.click(lambda: notice(both("stopped")), None, self.notice, js=ENDED, cancels=compared, queue=False,
            api_visibility="private", show_progress="hidden")  # fmt: skip
        desk.selection.show_after(compared, self.amortised)
        desk.selection.follow(self.amortised, self.images_amortised)
        desk.selection.follow(self.optimised, self.images)


def _handler(desk: Desk) -> Any:
    engine = desk.engine

    async def compare(
        prompt: str,
        iterations: int,
        how: DrawRequest,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> list[Any]:
        """Draw a text with the prior, and search for it by optimisation."""
        wanted = CompareRequest(written(prompt), iterations, replace(how, n=1))
        result = await desk.visits.ask(request, engine.submit_compare, wanted, progress=progress)
        ways = result.amortised, result.optimised
        times = result.optimised.seconds / result.amortised.seconds
        summary = " ".join(
            f"{both(name)} {duration(way.seconds)} (CLIP {score(way)})."
            for name, way in zip(("prior_took", "optimisation_took"), ways, strict=True)
        )
        return [
            *(cards([way]) for way in ways),
            notice(f"{summary} <b>{times:.0f}×</b>", result.amortised.out_of_domain),
            *([way] for way in ways),
        ]

    return compare
