"""The one way to Gradio's endpoints: what isn't known to be harmless isn't passed on.

Gradio has some seventy addresses and takes files, addresses of the network and whole components' states from its
clients. They need a few of the addresses, and of their values only plain ones and pictures that they have uploaded.
Those pass; all else is refused, with the same words whatever it was.
"""

from __future__ import annotations

import json
import mimetypes
import re
import secrets
from contextlib import nullcontext
from http.cookies import CookieError, SimpleCookie
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from starlette.datastructures import Headers, MutableHeaders, UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from text2latent.apps.serving.errors import error_response
from text2latent.apps.serving.guards import path_below_root
from text2latent.apps.serving.hidden_folder import NAME as PICTURES
from text2latent.apps.serving.hidden_folder import HiddenFolder
from text2latent.apps.serving.hosts import client_of
from text2latent.apps.serving.visitor_files import Upload, Uploads, read_kept
from text2latent.common.errors import UsageError

if TYPE_CHECKING:
    from text2latent.apps.serving.page.visits import Visits

UPLOADS = "/uploads"
"""What clients take the folder of their uploads for; there is none."""
COOKIE = "text2latent-visit"
COOKIE_VALUE = re.compile(r"[A-Za-z0-9_-]{32}")
API = "/gradio_api"
SESSION = r"[A-Za-z0-9_-]{1,64}"
READ = re.compile(
    rf"/config/?|{API}/(?:info/?|openapi\.json|app_id/?|startup-events|login_check/?|queue/(?:data|status))"
    rf"|{API}/heartbeat/{SESSION}|{API}/call/(?:v2/)?\w+/{SESSION}"
)
ASKED = re.compile(rf"{API}/(?:queue/join|(?:call/(?:v2/)?|run/|api/)\w+/?|cancel|reset/?)")
STREAM = re.compile(rf"{API}/(?:heartbeat/({SESSION})|call/(?:v2/)?\w+/({SESSION})|queue/data)")
PASSED_KEYS = ("fn_index", "session_hash", "trigger_id", "event_id")
SHOWN_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp")
REFUSED = "data: expected texts, numbers, and pictures that this page has uploaded during this visit"
NOT_FOUND = "there is nothing at this address"


class Refused(UsageError):
    """A client's value isn't one that the page takes."""


class Gate:
    """ASGI application before Gradio's.

    Args:
        app: Gradio's application.
        folder: where it keeps the page's pictures; clients know it as `PICTURES`.
        uploads: what visitors have sent.
        visits: is informed which sessions are being listened to.
    """

    def __init__(self, app: ASGIApp, folder: str, uploads: Uploads, visits: Visits, max_upload_bytes: int) -> None:
        self._app = HiddenFolder(app, folder)
        self._folder, self._uploads, self._visits, self._max_bytes = folder, uploads, visits, max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        visit, send = _visit(scope, send)
        path, method = path_below_root(scope), scope["method"]
        if method == "POST" and path == f"{API}/upload":
            response = await self._take_upload(Request(scope, receive), visit)
        elif method == "POST" and ASKED.fullmatch(path):
            return await self._ask(scope, receive, send, visit)
        elif method not in ("GET", "HEAD"):
            response = _nothing_there(method, path)
        elif path.startswith(f"{API}/file="):
            response = self._file(path.removeprefix(f"{API}/file="), visit)
        elif path == f"{API}/upload_progress":
            # An upload is there once it has been answered; browsers don't ask again after an empty answer.
            response = Response(status_code=204)
        elif READ.fullmatch(path):
            with self._listening(scope, path):
                return await self._app(scope, receive, send)
        else:
            response = _nothing_there(method, path)
        await response(scope, receive, send)

    def _listening(self, scope: Scope, path: str) -> Any:
        """While an answer that goes on and on is being sent, somebody is there."""
        match = STREAM.fullmatch(path)
        if match is None:
            return nullcontext()
        given = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
        return self._visits.listening(match[1] or match[2] or given)

    async def _ask(self, scope: Scope, receive: Receive, send: Send, visit: str) -> None:
        """Pass on what is asked for, made of nothing but what has been checked."""
        headers = MutableHeaders(raw=list(scope["headers"]))
        try:
            # Other types need no consent of the server's to be sent by a page elsewhere.
            if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                raise Refused(REFUSED)
            given = await Request(scope, receive).body()
            body = json.dumps(self._checked(given, is_named="/v2/" in scope["path"], visit=visit)).encode()
        except Refused as error:
            return await _refusal(400, str(error))(scope, receive, send)
        except ClientDisconnect:
            return
        headers["content-length"] = str(len(body))
        receive = _first({"type": "http.request", "body": body}, receive)
        await self._app({**scope, "headers": headers.raw}, receive, send)

    def _checked(self, given: bytes, is_named: bool, visit: str) -> dict[str, Any]:
        try:
            body = json.loads(given)
        except (ValueError, RecursionError):
            raise Refused(REFUSED) from None
        if not isinstance(body, dict):
            raise Refused(REFUSED)
        if is_named:
            return {key: self._value(value, visit) for key, value in body.items() if key != "oauth_token"}
        checked = {key: _plain(body[key]) for key in PASSED_KEYS if key in body}
        data = body.get("data")
        if data is not None:
            if not isinstance(data, list):
                raise Refused(REFUSED)
            checked["data"] = [self._value(value, visit) for value in data]
        if body.get("event_data") is not None:
            checked["event_data"] = _event(body["event_data"])
        return checked

    def _value(self, value: Any, visit: str) -> Any:
        """A plain value, or a picture of the visit's: by its name in memory, and not as a file."""
        if not isinstance(value, dict):
            return _plain(value)
        path = value.get("path")
        name = path.removeprefix(f"{UPLOADS}/").partition("/")[0] if isinstance(path, str) else ""
        upload = self._uploads.get(name, visit) if name else None
        if upload is None or path != upload_path(name, upload.name):
            raise Refused(REFUSED)
        return {"path": None, "url": name, "orig_name": upload.name, "meta": {"_type": "gradio.FileData"}}

    async def _take_upload(self, request: Request, visit: str) -> Response:
        try:
            async with request.form(max_files=1, max_fields=0) as form:
                file = form.get("files")
                if not isinstance(file, UploadFile):
                    return _refusal(400, "files: expected one file")
                data = await file.read(self._max_bytes + 1)
        except MultiPartException:
            return _refusal(400, "files: expected one file")
        except ClientDisconnect:
            return Response(status_code=400)
        if len(data) > self._max_bytes:
            return _refusal(413, f"files: expected at most {self._max_bytes} bytes")
        upload = Upload(data, _file_name(file.filename or ""), visit, client_of(request.scope))
        return JSONResponse([upload_path(self._uploads.put(upload), upload.name)])

    def _file(self, given: str, visit: str) -> Response:
        data, name = None, given.rpartition("/")[2]
        if given.startswith(f"{PICTURES}/"):
            data = read_kept(given.removeprefix(f"{PICTURES}/"), self._folder)
        elif given.startswith(f"{UPLOADS}/"):
            upload = self._uploads.get(given.removeprefix(f"{UPLOADS}/").partition("/")[0], visit)
            data = upload.data if upload is not None and upload.name == name else None
        if data is None:
            return _refusal(404, NOT_FOUND)
        kind = mimetypes.guess_type(name)[0]
        shown = kind if kind in SHOWN_TYPES else "application/octet-stream"
        way = "inline" if kind in SHOWN_TYPES else "attachment"
        headers = {"Content-Disposition": f"{way}; filename*=UTF-8''{quote(name, safe='')}",
            "Cache-Control": "private, max-age=3600"}  # fmt: skip
        return Response(data, media_type=shown, headers=headers)


def upload_path(name: str, file_name: str) -> str:
    return f"{UPLOADS}/{name}/{file_name}"


def _file_name(given: str) -> str:
    """The last part of what a client calls its file, as far as it can stand in an address."""
    last = PureWindowsPath(PurePosixPath(given).name).name
    return re.sub(r"[^\w .,()\[\]+-]", "_", last)[-100:].strip(". ") or "picture"


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise Refused(REFUSED)


def _event(given: Any) -> Any:
    """What the page's handlers look at of an event: which of several was clicked."""
    if not isinstance(given, dict):
        return _plain(given)
    return {"index": _plain(given.get("index")), "value": None}


def _visit(scope: Scope, send: Send) -> tuple[str, Send]:
    """The visit that a request belongs to, and how to answer it; new visits get their name in a cookie."""
    try:
        morsel = SimpleCookie(Headers(scope=scope).get("cookie", "")).get(COOKIE)
    except CookieError:
        morsel = None
    if morsel is not None and COOKIE_VALUE.fullmatch(morsel.value):
        return morsel.value, send
    visit = secrets.token_urlsafe(24)
    # Inside a frame of another site, as on a Hugging Face Space, browsers send only such cookies.
    how = "SameSite=None; Secure; Partitioned" if scope.get("scheme") == "https" else "SameSite=Lax"
    root = scope.get("root_path", "").rstrip("/")
    cookie = f"{COOKIE}={visit}; Path={quote(root)}/; HttpOnly; {how}".encode("latin-1")

    async def send_with_name(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), (b"set-cookie", cookie)]}
        await send(message)

    return visit, send_with_name


def _nothing_there(method: str, path: str) -> JSONResponse:
    """What the API says of addresses that nothing is at; of Gradio's, all get one and the same answer."""
    if path.startswith(f"{API}/"):
        return _refusal(404, NOT_FOUND)
    return error_response(404, f"address: nothing is there, got {method} {path}")


def _refusal(status: int, message: str) -> JSONResponse:
    """An error in OpenAI's shape, which Gradio's clients find their own in."""
    response = error_response(status, message, code="not_found" if status == 404 else "invalid_value")
    body = {**json.loads(bytes(response.body)), "detail": message}
    return JSONResponse(body, status)


def _first(message: Message, receive: Receive) -> Receive:
    waiting = [message]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message
