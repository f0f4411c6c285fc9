"""The API: `POST /v1/images` and what goes with it, shaped as OpenAI's images API, on top of an engine."""

import asyncio
import base64
import time
from concurrent.futures import Future
from importlib.metadata import version
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from text2latent.apps.serving.engine import Engine
from text2latent.apps.serving.errors import RESPONSES
from text2latent.apps.serving.hosts import client_of
from text2latent.apps.serving.image_store import ImageStore
from text2latent.apps.serving.library import ModelInfo
from text2latent.apps.serving.requests import DrawRequest
from text2latent.apps.serving.results import DrawResult, OutputFormat
from text2latent.apps.serving.schemas import (
    Health,
    ImagesAnswer,
    Model,
    Models,
    domain_data,
    image_data,
    image_request,
    parse_size,
    to_draw_request,
    variation_request,
)
from text2latent.apps.serving.uploads import decode_upload

# Annotations are looked at when a router is made, and name classes that are made with it: they stay expressions here.
LOOK_SECONDS = 1.0
"""How often it is looked whether a client that waits is still there."""
CLIENT_GONE = 499
FILES = "/v1/images/files"
ANSWERS: dict[str, Any] = {"responses": RESPONSES, "response_model_exclude_unset": True}


class ClientGone(Exception):
    """The client has hung up."""


def make_router(engine: Engine, store: ImageStore) -> APIRouter:
    """The endpoints that a token may be asked for: drawing, and the list of models."""
    router = APIRouter()
    _add_drawing(router, engine, store)
    _add_variations(router, engine, store)
    _add_models(router, engine)
    return router


def make_open_router(engine: Engine, store: ImageStore) -> APIRouter:
    """The endpoints that need no token: images by names that can't be guessed, and the server's health."""
    router = APIRouter()
    _add_files(router, store)

    @router.get("/health", responses={"default": RESPONSES["default"]})
    def health() -> Health:
        """Whether the server is up; needs no token."""
        return Health(version=version("text2latent"), waiting=engine.num_waiting)

    return router


def _add_drawing(router: APIRouter, engine: Engine, store: ImageStore) -> None:
    body_type: Any = image_request(engine.limits)

    async def draw_images(request: Request, body: body_type) -> ImagesAnswer:
        """Draw images of a text. `/v1/images/generations` is the same, for OpenAI's clients."""
        return await _answer(request, engine, store, body, to_draw_request(body))

    for path, name in (("/v1/images", "draw_images"), ("/v1/images/generations", "generate_images")):
        router.add_api_route(path, draw_images, methods=["POST"], operation_id=name, **ANSWERS)


def _add_variations(router: APIRouter, engine: Engine, store: ImageStore) -> None:
    form_type: Any = variation_request(engine.limits)
    form = Form(media_type="multipart/form-data")

    async def vary_image(request: Request, body: Annotated[form_type, form]) -> ImagesAnswer:
        """Draw variations of a picture: its CLIP embedding is the prompt, or is mixed with one."""
        data = await body.image.read(engine.limits.max_upload_bytes + 1)
        picture = await run_in_threadpool(decode_upload, data, engine.limits)
        return await _answer(request, engine, store, body, to_draw_request(body, picture))

    router.add_api_route("/v1/images/variations", vary_image, methods=["POST"], **ANSWERS)


def _add_files(router: APIRouter, store: ImageStore) -> None:
    content: dict[str, Any] = {f"image/{kind}": {} for kind in get_args(OutputFormat)}

    @router.get(f"{FILES}/{{name}}", name="image_file", response_class=Response,
        responses={**RESPONSES, 200: {"content": content, "description": "The image."}})  # fmt: skip
    def image_file(name: str) -> Response:
        """An image by the address that an answer has given."""
        data = store.get(name)
        if data is None:
            raise HTTPException(404, "image: there is none of this name, or none any more")
        kind = name.rpartition(".")[2]
        return Response(data, media_type=f"image/{kind}", headers={"Cache-Control": "private, max-age=3600, immutable"})


def _add_models(router: APIRouter, engine: Engine) -> None:
    started = int(time.time())

    def described(info: ModelInfo) -> Model:
        return Model(
            id=info.name, created=started, owned_by=info.kind, is_loaded=info.is_loaded, image_size=info.image_size
        )

    @router.get("/v1/models", responses=RESPONSES)
    def list_models() -> Models:
        """The models that requests can name, the default one first."""
        return Models(data=[described(info) for info in engine.models])

    @router.get("/v1/models/{model}", responses=RESPONSES)
    def retrieve_model(model: str) -> Model:
        """One of them."""
        name = engine.library.check(model)
        return next(described(info) for info in engine.models if info.name == name)


async def _answer(request: Request, engine: Engine, store: ImageStore, body: Any, wanted: DrawRequest) -> Any:
    """Draw what is wanted and answer in the form that is asked for; to a client that has hung up, an empty response."""
    # Loading a model takes seconds, in which others go on.
    size = await run_in_threadpool(_size, engine, wanted, body.size)
    future = await run_in_threadpool(engine.submit_draw, wanted, client_of(request.scope))
    try:
        result = await _wait(request, future)
    except ClientGone:
        return Response(status_code=CLIENT_GONE)
    kind, quality = body.output_format, body.output_compression
    files = await run_in_threadpool(lambda: [image.encoded(kind, size, quality) for image in result.images])
    places = [_place(request, store, file, body) for file in files]
    return ImagesAnswer(
        created=int(time.time()),
        data=[image_data(image, place) for image, place in zip(result.images, places, strict=True)],
        model=result.images[0].model,
        size=f"{size[0]}x{size[1]}",
        output_format=kind,
        background="opaque",
        seconds=round(result.seconds, 4),
        out_of_domain=domain_data(result),
    )


def _place(request: Request, store: ImageStore, file: bytes, body: Any) -> dict[str, str]:
    """Where an image's file is, or itself in base64."""
    if body.response_format == "b64_json":
        return {"b64_json": base64.b64encode(file).decode("ascii")}
    return {"url": str(request.url_for("image_file", name=store.put(file, f".{body.output_format}")))}


def _size(engine: Engine, wanted: DrawRequest, size: str) -> tuple[int, int]:
    wanted.check(engine.limits)
    height, width = engine.library.get(wanted.model).generator.image_shape
    return parse_size(size, (width, height), engine.limits)


async def _wait(request: Request, future: Future[DrawResult]) -> DrawResult:
    """The result; what nobody waits for any more isn't drawn.

    Raises:
        ClientGone: when the client has hung up before.
    """
    waiting = asyncio.wrap_future(future)
    while not (await asyncio.wait({waiting}, timeout=LOOK_SECONDS))[0]:
        if await request.is_disconnected():
            future.cancel()
            raise ClientGone
    return waiting.result()
