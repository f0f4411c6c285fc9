"""What the page asks of the server, below `/page/`: settings, worlds, and all that draws.

Answers of what draws are JSON documents, one a line: `share` and `what` while it goes on, then `result` or `error`.
"""

import base64
import io
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import Response
from PIL import Image
from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool
from torch import Tensor

from text2latent.apps.serving.adjustments import AdjustRequest
from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.hosts import client_of
from text2latent.apps.serving.operations import (
    DEFAULT_ITERATIONS,
    Change,
    CompareRequest,
    Comparison,
    Halfway,
    MixRequest,
    MixResult,
    RefineRequest,
    RefineResult,
)
from text2latent.apps.serving.page.lines import Work
from text2latent.apps.serving.page.starts import Body, StartBody, picture_data, read_start
from text2latent.apps.serving.page.static import FOLDER
from text2latent.apps.serving.page.worlds import describe_world
from text2latent.apps.serving.projections import ProjectRequest
from text2latent.apps.serving.requests import DrawRequest
from text2latent.apps.serving.results import DrawResult
from text2latent.apps.serving.uploads import decode_upload
from text2latent.common.errors import UsageError
from text2latent.inference.images import to_pil
from text2latent.inference.latents_file import latents_bytes
from text2latent.inference.settings import DEFAULT_FRAMES, DEFAULT_GUIDANCE_SCALE, DEFAULT_IMAGE_WEIGHT, DEFAULT_STEPS

# Annotations are looked at when a router is made: they stay expressions here.
LONGEST_TEXT = 20_000
"""Characters of any text; the engine's own limit, which is lower, is told in words."""
PICTURE_SECONDS = 0.15
"""How often the optimisation's picture is sent anew."""
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class DrawBody(Body):
    """What a picture is to show, and how it is drawn; see `DrawRequest`."""

    prompt: Text | None = None
    model: Annotated[str, Field(max_length=200)] | None = None
    n: int = 1
    seed: int | None = None
    guidance_scale: Number | None = None
    steps: int = DEFAULT_STEPS
    truncation: Number = 1.0
    negative_prompt: Text | None = None
    rerank: int = 1
    image_weight: Number = DEFAULT_IMAGE_WEIGHT
    image_name: Annotated[str, Field(max_length=200)] = "image"

    def request(self, **changes: Any) -> DrawRequest:
        """The same for the engine; the slider's default guidance stands for the engine's choice."""
        fields = {name: value for name, value in self if name in DrawRequest.__dataclass_fields__}
        if fields["guidance_scale"] == DEFAULT_GUIDANCE_SCALE:
            fields["guidance_scale"] = None
        return DrawRequest(**{**fields, **changes})


class MixBody(DrawBody):
    """The way between two texts."""

    start: Text
    end: Text
    frames: int = DEFAULT_FRAMES


class CompareBody(DrawBody):
    """One text, two ways."""

    prompt: Text
    iterations: int = DEFAULT_ITERATIONS


class ChangeBody(Body):
    """One slider; see `Change`."""

    source: Text
    target: Text
    strength: Number


class AdjustBody(Body):
    """A picture, and how it is to be changed."""

    start: StartBody
    changes: Annotated[list[ChangeBody], Field(max_length=100)]


class RefineBody(Body):
    """A picture, and how long it is to follow CLIP."""

    start: StartBody
    iterations: int


def make_page_router(engine: Engine) -> APIRouter:
    """All of the page's own endpoints. Errors are the API's, see `errors.install_handlers`."""
    router = APIRouter(prefix=FOLDER, include_in_schema=False)
    _add_knowledge(router, engine)
    _add_drawing(router, engine)
    _add_changes(router, engine)
    _add_uploads(router, engine)
    _add_comparison(router, engine)
    return router


def _add_knowledge(router: APIRouter, engine: Engine) -> None:
    @router.get("/settings.json")
    def settings() -> dict[str, Any]:
        """Models, the first one being the default, and limits."""
        return {
            "version": version("text2latent"),
            "models": [info.name for info in engine.models],
            "limits": asdict(engine.limits),
        }

    @router.get("/worlds/{model}")
    def world(model: str) -> dict[str, Any]:
        """See `describe_world`."""
        return describe_world(engine, model)


def _add_drawing(router: APIRouter, engine: Engine) -> None:
    @router.post("/draw")
    async def draw(request: Request, body: DrawBody) -> Response:
        wanted = body.request()
        return await _answer(request, lambda client: engine.submit_draw(wanted, client), _drawn)

    @router.post("/mix")
    async def mix(request: Request, body: MixBody) -> Response:
        wanted, work = MixRequest(body.start, body.end, body.frames, body.request(prompt=None, n=1)), Work()
        return await _answer(request, lambda client: engine.submit_mix(wanted, work.progress, client), _mixed, work)


def _add_changes(router: APIRouter, engine: Engine) -> None:
    @router.post("/adjust")
    async def adjust(request: Request, body: AdjustBody) -> Response:
        changes = tuple(Change(one.source, one.target, one.strength) for one in body.changes)

        def begin(client: str) -> Future[DrawResult]:
            return engine.submit_adjust(AdjustRequest(read_start(body.start, engine), changes), client=client)

        return await _answer(request, begin, _drawn)

    @router.post("/refine")
    async def refine(request: Request, body: RefineBody) -> Response:
        work = Work()

        def begin(client: str) -> Future[RefineResult]:
            wanted = RefineRequest(read_start(body.start, engine), body.iterations)
            return engine.submit_refine(wanted, work.progress, client)

        return await _answer(request, begin, lambda result: _pictures([result.after], result.seconds), work)

    @router.post("/latents")
    def latents(body: StartBody) -> Response:
        """The file of a picture's latents."""
        start = read_start(body, engine)
        num_ws = engine.library.get(start.model).generator.num_ws
        return Response(latents_bytes([start.latent], num_ws), media_type="application/octet-stream")


def _add_uploads(router: APIRouter, engine: Engine) -> None:
    picture_type, asked_type = Annotated[UploadFile, File()], Annotated[str, Form(max_length=10 * LONGEST_TEXT)]

    async def read(picture: UploadFile, asked: str) -> tuple[Image.Image, DrawBody]:
        data = await picture.read(engine.limits.max_upload_bytes + 1)
        body = _parse(asked)
        return await run_in_threadpool(decode_upload, data, engine.limits), body

    @router.post("/vary")
    async def vary(request: Request, picture: picture_type, asked: asked_type) -> Response:  # type: ignore[valid-type]
        """Pictures like one that comes with the request, perhaps mixed with a text."""
        image, body = await read(picture, asked)
        text = body.prompt if body.prompt and body.prompt.strip() else None
        wanted = body.request(prompt=text, image=image)
        return await _answer(request, lambda client: engine.submit_draw(wanted, client), _drawn)

    @router.post("/find")
    async def find(request: Request, picture: picture_type, asked: asked_type) -> Response:  # type: ignore[valid-type]
        """A picture that comes with the request, found in the latent space."""
        image, body = await read(picture, asked)
        wanted, work = ProjectRequest(image, body.image_name, how=body.request()), Work()
        return await _answer(request, lambda client: engine.submit_project(wanted, work.progress, client), _drawn, work)


def _parse(asked: str) -> DrawBody:
    try:
        return DrawBody.model_validate_json(asked)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc'])) or 'asked'}: {first['msg']}") from None


def _add_comparison(router: APIRouter, engine: Engine) -> None:
    @router.post("/compare")
    async def compare(request: Request, body: CompareBody) -> Response:
        """First the prior's picture; then the way of the optimisation as it grows, and now and then its picture."""
        wanted, work = CompareRequest(body.prompt, body.iterations, body.request(n=1)), Work()
        watch = Watcher(work)
        return await _answer(
            request, lambda client: engine.submit_compare(wanted, work.progress, watch, client), _compared, work
        )


class Watcher:
    """Sends what is new of a comparison."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._sent, self._last_picture = 0, 0.0
        self._best: Tensor | None = None

    def __call__(self, halfway: Halfway) -> None:
        if not halfway.points:
            self._work.report({"amortised": picture_data(halfway.amortised)})
            return
        new = halfway.points[self._sent :]
        self._sent = len(halfway.points)
        line: dict[str, Any] = {"points": [[point.seconds, point.clip_score] for point in new]}
        is_new = halfway.best is not self._best
        if is_new and halfway.best is not None and time.monotonic() - self._last_picture > PICTURE_SECONDS:
            self._best, self._last_picture = halfway.best, time.monotonic()
            line["png"] = _png(to_pil(halfway.best[None])[0])
        self._work.report(line)


async def _answer(
    request: Request,
    submit: Callable[[str], Future[Any]],
    shape: Callable[[Any], dict[str, Any]],
    work: Work | None = None,
) -> Response:
    client = client_of(request.scope)
    return await (work or Work()).answer(lambda: submit(client), shape)


def _pictures(images: Any, seconds: float) -> dict[str, Any]:
    return {"pictures": [picture_data(image) for image in images], "seconds": seconds}


def _drawn(result: DrawResult) -> dict[str, Any]:
    return _pictures(result.images, result.seconds)


def _mixed(result: MixResult) -> dict[str, Any]:
    gif = base64.b64encode(result.animation(".gif")).decode("ascii")
    return {**_pictures(result.frames, result.seconds), "gif": gif}


def _compared(result: Comparison) -> dict[str, Any]:
    return {
        "amortised": picture_data(result.amortised),
        "optimised": picture_data(result.optimised),
        "points": [[point.seconds, point.clip_score] for point in result.points],
        "seconds": result.seconds,
    }


def _png(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode("ascii")
