"""The settings that all tabs share."""

from __future__ import annotations

import gradio as gr
from gradio.components import Component

from text2latent.apps.serving.limits import Limits
from text2latent.apps.serving.page.texts import heading, say
from text2latent.inference.settings import DEFAULT_GUIDANCE_SCALE, DEFAULT_STEPS

NUM_IMAGES = 4
REFINE_STEPS = 20
MOST_GUIDANCE = 6.0
NEW_SEED = "() => Math.floor(Math.random() * 2 ** 31)"


class Controls:
    """Number of images, seed, and folded away what needs explaining.

    Args:
        model: the model picker, which is elsewhere on the page.
        limits: what the server allows.
    """

    def __init__(self, model: gr.Dropdown, limits: Limits) -> None:
        gr.HTML(heading("settings"))
        most = limits.max_images
        self.num_images = gr.Slider(1, most, min(NUM_IMAGES, most), step=1, precision=0, label=say("num_images"),
            buttons=[], elem_id="num-images")  # fmt: skip
        with gr.Group(elem_id="seed-group"):
            self.seed = gr.Number(0, precision=0, minimum=0, label=say("seed"), info=say("seed_info"), elem_id="seed")
            self.new_seed = gr.Button(say("new_seed"), size="sm", elem_id="new-seed")
        with gr.Accordion(say("advanced"), open=False, elem_id="advanced"):
            advanced = self._add_advanced(limits)
            most = limits.max_refine
            self.refine_steps = gr.Slider(1, most, min(REFINE_STEPS, most), step=1, precision=0, buttons=[],
                label=say("refine_steps"), info=say("refine_steps_info"), elem_id="refine-steps")  # fmt: skip
        self.model = model
        self.inputs: list[Component] = [model, self.num_images, self.seed, *advanced]
        self.new_seed.click(None, None, self.seed, js=NEW_SEED, api_visibility="private")

    def _add_advanced(self, limits: Limits) -> list[Component]:
        """Guidance, steps, truncation, negative prompt and rerank."""
        guidance = gr.Slider(0, min(MOST_GUIDANCE, limits.max_guidance_scale), DEFAULT_GUIDANCE_SCALE, step=0.1,
            label=say("guidance"), info=say("guidance_info"), buttons=[], elem_id="guidance")  # fmt: skip
        steps = gr.Slider(1, limits.max_steps, DEFAULT_STEPS, step=1, precision=0, label=say("steps"),
            info=say("steps_info"), buttons=[], elem_id="steps")  # fmt: skip
        truncation = gr.Slider(0, limits.max_truncation, 1.0, step=0.05, label=say("truncation"),
            info=say("truncation_info"), buttons=[], elem_id="truncation")  # fmt: skip
        negative = gr.Textbox("", label=say("negative"), placeholder=say("negative_hint"), elem_id="negative",
            max_length=limits.max_prompt_characters)  # fmt: skip
        rerank = gr.Slider(1, limits.max_rerank, 1, step=1, precision=0, label=say("rerank"), info=say("rerank_info"),
            buttons=[], elem_id="rerank")  # fmt: skip
        return [guidance, steps, truncation, negative, rerank]
