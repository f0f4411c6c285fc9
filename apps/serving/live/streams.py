"""The endpoints: a stream of one's own, changes of it, and the picture that all share as MJPEG."""

import asyncio
import base64
import json
import sys
import traceback
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, create_model
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from text2latent.apps.serving.errors import FAILED, RESPONSES, ErrorBody, ErrorDetail
from text2latent.apps.serving.hosts import client_of
from text2latent.apps.serving.limits import MAX_FPS, Limits
from text2latent.apps.serving.live.changes import DEFAULT_EASE, MAX_EASE, Change
from text2latent.apps.serving.live.frames import Frame, FrameFormat
from text2latent.apps.serving.live.readers import FrameStream
from text2latent.apps.serving.live.stage import Opening, Stage, Stream
from text2latent.apps.serving.schemas import MODEL_CHARACTERS, WHOLE, field_types
from text2latent.common.errors import InputError, UsageError
from text2latent.inference.settings import MAX_SEED, MAX_STRENGTH, Settings, choose_guidance_scale

# Annotations are looked at when a router is made, and name classes that are made with it: they stay expressions here.
MJPEG = "/live.mjpg"
BOUNDARY = "frame"
EVENTS, PARTS = "text/event-stream", f"multipart/x-mixed-replace; boundary={BOUNDARY}"
REPEAT_SECONDS = (0.05, 1.0)
"""When the latest frame is repeated while nothing changes: soon, for browsers, which show a picture when the next one
begins, and then again and again, for programs that take silence for an end."""
COMMENT_SECONDS = (15.0, 15.0)
CHANGED = ("prompt", "mix_prompt", "mix", "seed", "truncation", "ease")
NOT_SHARED = "address: nothing is shared here; expected a server with --osc, --camera or --live-prompt"


class StreamState(BaseModel):
    """What a stream shows, or is to show."""

    prompt: str = Field(description="The text.")
    mix_prompt: str | None = Field(description="The text that is shown as `mix` nears 1.")
    mix: float = Field(description="Share of the second text.")
    seed: int = Field(description="Of the starting noise.")
    truncation: float = Field(description="Below 1 moves images towards the generator's average one.")
    edits: dict[str, float] = Field(description="Strengths of the edits that were used.")
    ease: float = Field(description="Seconds that a change takes.")


class StreamChanged(BaseModel):
    """A stream after a change."""

    id: str = Field(description="Of the stream.")
    state: StreamState = Field(description="What it is on its way to.")


def make_live_router(stage: Stage) -> APIRouter:
    """The endpoints of a stage; a token may be asked for all of them."""
    router = APIRouter()
    _add_streams(router, stage)
    _add_changes(router, stage)
    _add_shared(router, stage)
    return router


def _add_streams(router: APIRouter, stage: Stage) -> None:
    query_type: Any = stream_query(stage.engine.limits)
    answers: dict[int | str, Any] = {
        **RESPONSES,
        200: {"content": {EVENTS: {}}, "description": "Events `stream`, `frame`, `frame`, ..., perhaps `error`."},
    }

    @router.get("/v1/stream", name="open_stream", response_class=Response, responses=answers)
    async def open_stream(request: Request, asked: Annotated[query_type, Query()]) -> Response:
        """Pictures as server-sent events while parameters change; `PATCH /v1/stream/ID` changes them."""
        if request.headers.get("sec-fetch-site") == "cross-site":
            # A page elsewhere couldn't read it, and would only keep the server busy.
            raise HTTPException(403, "stream: expected a request of this server's own pages, or of a program")
        return await _opened(stage, _opening(asked), client_of(request.scope))


async def _opened(stage: Stage, opening: Opening, client: str) -> Response:
    stage.enter(client)
    try:
        future = await run_in_threadpool(stage.submit_opening, opening, client)
        stream = await asyncio.wrap_future(future)
    except BaseException:
        stage.leave(client)
        raise

    def end() -> None:
        stage.close_stream(stream)
        stage.leave(client)

    return FrameStream(
        stream.source,
        EVENTS,
        _event("stream", _described(stream)),
        partial(_frame_event, stream),
        lambda _: b": nothing new\n\n",
        COMMENT_SECONDS,
        partial(_end_event, stream),
        end,
    )


def _add_changes(router: APIRouter, stage: Stage) -> None:
    change_type: Any = stream_change(stage.engine.limits)

    @router.patch("/v1/stream/{id}", name="change_stream", responses=RESPONSES)
    async def change_stream(request: Request, id: str, body: change_type) -> StreamChanged:
        """Change what an open stream shows: all parameters that are named, at once and smoothly."""
        stream = stage.find(id)
        if stream is None:
            raise HTTPException(404, f"stream: expected the id of an open one, got {id[:80]!r}")
        change = Change(**{name: getattr(body, name) for name in CHANGED}, edits=body.edits or {})
        future = await run_in_threadpool(stage.submit_change, stream, change, client_of(request.scope))
        return StreamChanged(id=id, state=StreamState(**await asyncio.wrap_future(future)))


def _add_shared(router: APIRouter, stage: Stage) -> None:
    answers: dict[int | str, Any] = {
        **RESPONSES,
        200: {"content": {"multipart/x-mixed-replace": {}}, "description": "JPEG files, one after the other."},
    }

    @router.get(MJPEG, name="shared_stream", response_class=Response, responses=answers)
    async def shared_stream(request: Request) -> Response:
        """The picture that all share as motion JPEG, steered by OSC and by `PATCH /v1/stream/live`."""
        if stage.shared is None:
            raise HTTPException(404, NOT_SHARED)
        client = client_of(request.scope)
        stage.enter(client)
        first = f"--{BOUNDARY}\r\n".encode()
        return FrameStream(
            stage.shared.source,
            PARTS,
            first,
            _part,
            lambda frame: b"" if frame is None else _part(frame),
            REPEAT_SECONDS,
            lambda: b"",
            partial(stage.leave, client),
        )


def stream_query(limits: Limits) -> type[BaseModel]:
    """The parameters of `GET /v1/stream`: a class of its own for each server, since its bounds are in it."""
    shared = field_types(limits)
    edit = Field(description=f"NAME:STRENGTH of an edit, from -{MAX_STRENGTH:g} to {MAX_STRENGTH:g}; may be repeated.")
    kind = Field(description="Of the pictures.")
    fps = Field(ge=1, le=MAX_FPS, allow_inf_nan=False, description="Pictures per second; at most, and by default, the "
        "server's --fps.")  # fmt: skip
    model = Field(max_length=MODEL_CHARACTERS, description="A name that `/v1/models` lists; by default the first.")
    begun = {**_change_types(limits), "prompt": (Annotated[str, _text(limits, "What to show.")], ...)}
    fields: dict[str, Any] = {
        **begun,
        "edit": (Annotated[list[str], edit], []),
        "model": (Annotated[str | None, model], None),
        "steps": shared["steps"],
        "guidance_scale": shared["guidance_scale"],
        "fps": (Annotated[float | None, fps], None),
        "format": (Annotated[FrameFormat, kind], "jpeg"),
    }
    return create_model("StreamQuery", __config__=ConfigDict(extra="forbid"), **fields)


def stream_change(limits: Limits) -> type[BaseModel]:
    """The body of `PATCH /v1/stream/ID`, likewise."""
    strength = Field(ge=-MAX_STRENGTH, le=MAX_STRENGTH, allow_inf_nan=False)
    edits = Field(description="Strengths by the names of edits, which the event `stream` lists.")
    fields: dict[str, Any] = {
        **_change_types(limits),
        "edits": (Annotated[dict[str, Annotated[float, strength]] | None, edits], None),
    }
    return create_model("StreamChange", __config__=ConfigDict(strict=True, extra="forbid"), **fields)


def _change_types(limits: Limits) -> dict[str, Any]:
    """What both take; null leaves a parameter as it is."""
    finite: dict[str, Any] = {"ge": 0, "allow_inf_nan": False}
    mix = Field(le=1, description="Share of the second text.", **finite)
    psi = Field(le=limits.max_truncation, description="Below 1 moves images towards the average one.", **finite)
    ease = Field(le=MAX_EASE, description=f"Seconds that a change takes; {DEFAULT_EASE:g} at first.", **finite)
    seed = Field(ge=0, lt=MAX_SEED, description="Of the starting noise; 0 at first.")
    second = _text(limits, "A second text, which is shown as `mix` nears 1.")
    return {
        "prompt": (Annotated[str | None, _text(limits, "What to show.")], None),
        "mix_prompt": (Annotated[str | None, second], None),
        "mix": (Annotated[float | None, mix], None),
        "seed": (Annotated[int | None, seed, WHOLE], None),
        "truncation": (Annotated[float | None, psi], None),
        "ease": (Annotated[float | None, ease], None),
    }


def _text(limits: Limits, description: str) -> Any:
    return Field(min_length=1, max_length=limits.max_prompt_characters, description=description)


def _opening(asked: Any) -> Opening:
    change = Change(**{name: getattr(asked, name) for name in CHANGED}, edits=dict(map(_read_edit, asked.edit)))
    scale = choose_guidance_scale(asked.guidance_scale, negative=False)
    settings = Settings(asked.steps, scale, return_scores=False)
    return Opening(change, asked.model, settings, asked.fps, asked.format)


def _read_edit(given: str) -> tuple[str, float]:
    name, _, strength = given.rpartition(":")
    try:
        return name, float(strength)
    except ValueError:
        raise UsageError(f"edit: expected NAME:STRENGTH such as smile:0.5, got {given[:80]!r}") from None


def _described(stream: Stream) -> dict[str, Any]:
    width, height = stream.size
    return {
        "id": stream.name,
        "model": stream.model,
        "size": f"{width}x{height}",
        "fps": stream.source.fps,
        "format": stream.source.kind,
        "edits": stream.edits,
        "state": stream.source.scene.wanted,
    }


def _event(name: str, data: dict[str, Any]) -> bytes:
    """A server-sent event; JSON has no line ends, which would end it."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def _frame_event(stream: Stream, frame: Frame) -> bytes:
    data = {
        "number": frame.number,
        "seconds": round(frame.seconds, 4),
        "is_moving": frame.is_moving,
        "state": frame.state,
        "format": stream.source.kind,
        "b64_json": base64.b64encode(frame.data).decode("ascii"),
    }
    return _event("frame", data)


def _end_event(stream: Stream) -> bytes:
    failure = stream.source.failure
    message = "the stream has been closed" if failure is None else str(failure)
    if failure is not None and not isinstance(failure, InputError):
        traceback.print_exception(failure, file=sys.stderr)
        message = "the server failed; its log says why"
    detail = ErrorDetail(message=message, type=FAILED, param=None, code=None)
    return _event("error", ErrorBody(error=detail).model_dump())


def _part(frame: Frame) -> bytes:
    """A file, and what begins the next one: readers that wait for that have the file at once."""
    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(frame.data)}\r\n\r\n"
    return head.encode() + frame.data + f"\r\n--{BOUNDARY}\r\n".encode()
