"""What clients of Gradio can call: drawing, mixing, editing, comparing, varying and finding, under their names.

Gradio has an endpoint for each event of a page, whose components say what it takes and gives. This page of components
is shown to nobody.
"""

from __future__ import annotations

import io
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.components import Component
from gradio.data_classes import ImageData
from PIL import Image

from text2latent.apps.serving.limits import Limits
from text2latent.apps.serving.operations import DEFAULT_ITERATIONS, CompareRequest, EditRequest, MixRequest
from text2latent.apps.serving.page.calls import complaint, farthest, takes_settings, work, written
from text2latent.apps.serving.page.shown import cards, duration, keep, notice, score, took
from text2latent.apps.serving.page.texts import both
from text2latent.apps.serving.projections import ProjectRequest
from text2latent.apps.serving.requests import DrawRequest
from text2latent.apps.serving.uploads import decode_upload
from text2latent.inference.settings import (
    DEFAULT_FRAMES,
    DEFAULT_GUIDANCE_SCALE,
    DEFAULT_IMAGE_WEIGHT,
    DEFAULT_STEPS,
    DEFAULT_STRENGTH,
    MAX_STRENGTH,
)

if TYPE_CHECKING:
    from text2latent.apps.serving.engine import Engine
    from text2latent.apps.serving.page.visits import Visits
    from text2latent.apps.serving.results import ServedImage
    from text2latent.apps.serving.visitor_files import Uploads

TITLE = "text2latent"
NUM_IMAGES = 4
FRAME_MILLISECONDS = 125
KEEP_FILES_SECONDS, LOOK_FOR_OLD_FILES_SECONDS = 24 * 3600, 3600
MOST_EVENTS = 4096
REMEMBERED_VISITS = 200
"""Visits of which something is kept in memory; of more, those that have been quiet for longest are forgotten."""


class Endpoints(gr.Blocks):
    """Gradio's page, whose errors are texts: browsers would take them for HTML, and they quote what users wrote."""

    async def process_api(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """As Gradio has it."""
        try:
            return await super().process_api(*arguments, **options)
        except gr.Error as error:
            error.message = escape(str(error.message), quote=False)
            # What a client has asked for wrongly is no fault of the server's.
            error.print_exception = False
            raise


def build_endpoints(engine: Engine, visits: Visits, uploads: Uploads) -> gr.Blocks:
    """The endpoints of an engine.

    Args:
        engine: what draws.
        visits: what is being done for whom.
        uploads: the files that visitors have sent.
    """
    cleaning = (LOOK_FOR_OLD_FILES_SECONDS, KEEP_FILES_SECONDS)
    with Endpoints(title=TITLE, analytics_enabled=False, delete_cache=cleaning) as page:
        settings = _settings(engine)
        _add_drawing(engine, visits, settings)
        _add_mixing(engine, visits, settings)
        _add_editing(engine, visits, settings)
        _add_comparing(engine, visits, settings)
        _add_uploads(engine, visits, uploads, settings)
        page.unload(visits.leave)
    # The engine says how many may draw at once and how many may wait; here, only what never ends is refused, and what
    # waits takes nobody else's place.
    page.max_threads = MOST_EVENTS
    page.state_session_capacity = REMEMBERED_VISITS
    return page.queue(default_concurrency_limit=None, max_size=MOST_EVENTS, api_open=False)


def _settings(engine: Engine) -> list[Component]:
    """Components of `calls.SETTINGS`, whose bounds are the engine's limits."""
    limits, names = engine.limits, [model.name for model in engine.models]
    return [
        gr.Dropdown(names, value=names[0], label="model"),
        _whole(1, limits.max_images, NUM_IMAGES, "n"),
        gr.Number(0, precision=0, minimum=0, label="seed"),
        gr.Slider(0, limits.max_guidance_scale, DEFAULT_GUIDANCE_SCALE, label="guidance_scale"),
        _whole(1, limits.max_steps, DEFAULT_STEPS, "steps"),
        gr.Slider(0, limits.max_truncation, 1.0, label="truncation"),
        _text(limits, "negative_prompt"),
        _whole(1, limits.max_rerank, 1, "rerank"),
    ]


def _text(limits: Limits, label: str) -> gr.Textbox:
    return gr.Textbox("", label=label, max_length=limits.max_prompt_characters)


def _whole(least: int, most: int, default: int, label: str) -> gr.Slider:
    return gr.Slider(least, most, min(default, most), step=1, precision=0, label=label)


def _pictures(label: str = "pictures") -> gr.Gallery:
    return gr.Gallery(format="png", label=label, interactive=False)


def _add(name: str, handler: Any, inputs: list[Component], outputs: list[Component]) -> None:
    """An endpoint; as many calls of it run as the engine lets."""
    gr.Button(name).click(takes_settings(handler), inputs, outputs, api_name=name, concurrency_limit=None)


def _add_drawing(engine: Engine, visits: Visits, settings: list[Component]) -> None:
    async def draw(prompt: str, how: DrawRequest, request: gr.Request) -> list[Any]:
        """Draw pictures of a text."""
        result = await visits.ask(request, engine.submit_draw, replace(how, prompt=written(prompt)))
        images = result.images
        return [cards(images), notice(took(len(images), result.seconds), result.out_of_domain)]

    _add("draw", draw, [_text(engine.limits, "prompt"), *settings], [_pictures(), gr.HTML()])


def _add_mixing(engine: Engine, visits: Visits, settings: list[Component]) -> None:
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
        result = await visits.ask(request, engine.submit_mix, wanted, progress=progress)
        gif = keep(result.animation(".gif"), f"{result.frames[0].stem}.gif")
        outside = await farthest(engine, (start, end), how.model)
        summary = notice(f"{len(result.frames)} {both('frames_drawn')}, {duration(result.seconds)}", outside)
        return [cards(result.frames), keep(moving(result.frames), "mix.webp"), summary, gif]

    limits = engine.limits
    texts: list[Component] = [_text(limits, "start"), _text(limits, "end")]
    outputs = [_pictures("frames"), gr.Image(type="filepath", format="webp"), gr.HTML(), gr.File()]
    _add("mix", mix, [*texts, _whole(2, limits.max_frames, DEFAULT_FRAMES, "frames"), *settings], outputs)


def moving(frames: list[ServedImage]) -> bytes:
    """A WebP file of the way there and back, in all colours, which a GIF hasn't."""
    first, *others = [frame.picture for frame in [*frames, *frames[-2:0:-1]]]
    data = io.BytesIO()
    first.save(data, "WEBP", save_all=True, append_images=others, duration=FRAME_MILLISECONDS, loop=0, quality=90)
    return data.getvalue()


def _add_editing(engine: Engine, visits: Visits, settings: list[Component]) -> None:
    async def edit(
        source: str,
        target: str,
        strength: float,
        start: str,
        how: DrawRequest,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> list[Any]:
        """Move pictures of the text `start` along the direction from one text to another."""
        texts = [written(text) for text in (start, source, target)]
        wanted = EditRequest(replace(how, prompt=start), source, target, strength)
        result = await visits.ask(request, engine.submit_edit, wanted, progress=progress)
        outside = await farthest(engine, texts, how.model)
        return [cards(result.before), cards(result.after), notice(took(len(result.after), result.seconds), outside)]

    limits = engine.limits
    strength = gr.Slider(-MAX_STRENGTH, MAX_STRENGTH, DEFAULT_STRENGTH, label="strength")
    inputs = [_text(limits, "source"), _text(limits, "target"), strength, _text(limits, "start")]
    _add("edit", edit, [*inputs, *settings], [_pictures("before"), _pictures("after"), gr.HTML()])


def _add_comparing(engine: Engine, visits: Visits, settings: list[Component]) -> None:
    async def compare(
        prompt: str,
        iterations: int,
        how: DrawRequest,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> list[Any]:
        """Draw a text with the prior, and search for it by optimisation."""
        wanted = CompareRequest(written(prompt), iterations, replace(how, n=1))
        result = await visits.ask(request, engine.submit_compare, wanted, progress=progress)
        ways = result.amortised, result.optimised
        times = result.optimised.seconds / result.amortised.seconds
        summary = " ".join(
            f"{both(name)} {duration(way.seconds)} (CLIP {score(way)})."
            for name, way in zip(("prior_took", "optimisation_took"), ways, strict=True)
        )
        return [*(cards([way]) for way in ways), notice(f"{summary} <b>{times:.0f}×</b>", ways[0].out_of_domain)]

    limits = engine.limits
    iterations = _whole(1, limits.max_iterations, DEFAULT_ITERATIONS, "iterations")
    outputs = [_pictures("amortised"), _pictures("optimised"), gr.HTML()]
    _add("compare", compare, [_text(limits, "prompt"), iterations, *settings], outputs)


def _as_it_came(payload: ImageData | None) -> str | None:
    """What `Uploads` calls an uploaded file, as the gate before Gradio has put it; None without one."""
    return None if payload is None else payload.url


def _upload() -> gr.Image:
    image = gr.Image(type="filepath", label="image")
    # Gradio would look for a file, and report what is wrong with it to nobody.
    image.preprocess = _as_it_came  # type: ignore[method-assign]
    return image


def _add_uploads(engine: Engine, visits: Visits, uploads: Uploads, settings: list[Component]) -> None:
    async def read(image: Any) -> tuple[Image.Image, str]:
        """The uploaded picture and its name."""
        if image is None:
            raise complaint("Choose a picture first. / 先に画像を選んでください。")
        upload = uploads.taken(image)
        if upload is None:
            raise complaint("Upload the picture again. / もう一度アップロードしてください。")
        return await work(decode_upload, upload.data, engine.limits), Path(upload.name).stem

    async def vary(image: Any, prompt: str, image_weight: float, how: DrawRequest, request: gr.Request) -> list[Any]:
        """Draw variations of a picture, mixed with a text if there is one."""
        picture, name = await read(image)
        wanted = replace(how, image=picture, image_name=name, prompt=prompt.strip() or None, image_weight=image_weight)
        result = await visits.ask(request, engine.submit_draw, wanted)
        return [cards(result.images), notice(took(len(result.images), result.seconds), result.out_of_domain)]

    async def find(
        image: Any,
        how: DrawRequest,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> list[Any]:
        """Find a picture in the latent space."""
        picture, name = await read(image)
        result = await visits.ask(
            request, engine.submit_project, ProjectRequest(picture, name, how=how), progress=progress
        )
        return [cards(result.images), notice(f"{both('found')} {duration(result.seconds)}")]

    weight = gr.Slider(0, 1, DEFAULT_IMAGE_WEIGHT, label="image_weight")
    outputs = [_pictures(), gr.HTML()]
    _add("vary", vary, [_upload(), _text(engine.limits, "prompt"), weight, *settings], outputs)
    _add("find", find, [_upload(), *settings], outputs)
