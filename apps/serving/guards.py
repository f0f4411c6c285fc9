"""What stands before page and API: a limit on the bytes of a request, and perhaps a token."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from html import escape
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from text2latent.apps.serving.errors import error_response
from text2latent.common.errors import UsageError

COOKIE = "text2latent"
LOGIN = "/login"
OPEN_PATHS = re.compile(r"/health|/v1/images/files/[A-Za-z0-9_-]+\.(png|jpeg|webp)")
"""Names of images can't be guessed, and whoever knows one may see the image, as with OpenAI's API."""
MIN_TOKEN_CHARACTERS = 8
FORM_BYTES = 4096
LOGIN_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>text2latent</title>
<style>
:root {{ color-scheme: light dark; font-family: system-ui, sans-serif }}
body {{ display: grid; place-items: center; min-height: 90vh }}
form {{ display: grid; gap: .75rem; width: min(20rem, 85vw) }}
input, button {{ font: inherit; padding: .6rem .8rem; border-radius: .5rem; border: 1px solid #8888 }}
p {{ margin: 0 }}
</style>
<form method="post" action="{action}">
<label for="token">Token / トークン</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Continue / 続ける</button>
<p role="alert">{message}</p>
</form></html>
"""


def check_token(token: str | None) -> str | None:
    """The token; None for none.

    Raises:
        UsageError: for one that is too short to be safe, or that no header can carry; it isn't shown.
    """
    if token is None:
        return None
    if len(token) < MIN_TOKEN_CHARACTERS or not all("!" <= char <= "~" for char in token):
        raise UsageError(
            f"--token: expected at least {MIN_TOKEN_CHARACTERS} characters, all printable ASCII without spaces, "
            f"got {len(token)}"
        )
    return token


class BodyLimit:
    """ASGI middleware that answers 413 to requests of more than `max_bytes`, whether they state their length or not."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self.max_bytes:
            return await self._refusal(scope, receive, send)
        seen, answered, refused = 0, False, False

        async def count() -> Message:
            nonlocal seen, refused
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_bytes:
                refused = True
                return {"type": "http.disconnect"}
            return message

        async def watch(message: Message) -> None:
            nonlocal answered
            if not refused or answered:
                answered = answered or message["type"] == "http.response.start"
                await send(message)

        try:
            await self.app(scope, count, watch)
        except Exception:
            if not refused:
                raise
        if refused and not answered:
            await self._refusal(scope, receive, send)

    @property
    def _refusal(self) -> Response:
        message = f"body: expected at most {self.max_bytes} bytes"
        return error_response(413, message, code="too_large", headers={"Connection": "close"})


class TokenGuard:
    """ASGI middleware that lets requests with the token pass: as a bearer token, or by the cookie of the login page."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self._token = app, token
        # Cookies don't hold the token itself, and end with the process.
        self._session = hmac.new(secrets.token_bytes(32), token.encode(), hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        path = path_below_root(scope)
        if scope["type"] == "http" and path == LOGIN:
            response = await self._log_in(Request(scope, receive))
            return await response(scope, receive, send)
        if OPEN_PATHS.fullmatch(path) or self._is_known(Headers(scope=scope)):
            return await self.app(scope, receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        await _ask(scope)(scope, receive, send)

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _equal(given.strip(), self._token):
            return True
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return morsel is not None and _equal(morsel.value, self._session)

    async def _log_in(self, request: Request) -> Response:
        if request.method != "POST":
            return _login_page(request)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > FORM_BYTES:
                return _login_page(request, "That is too long.", 413)
        given = parse_qs(body.decode("latin-1")).get("token", [""])[0]
        if not _equal(given, self._token):
            return _login_page(request, "That isn't the token. / トークンが違います。", 401)
        response = RedirectResponse(_root(request.scope) + "/", 303)
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, self._session, httponly=True, samesite="strict", secure=secure)
        return response


def _ask(scope: Scope) -> Response:
    """The login page to browsers, an error to programs."""
    headers = Headers(scope=scope)
    if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
        return RedirectResponse(_root(scope) + LOGIN, 303)
    message = "token: expected 'Authorization: Bearer TOKEN' with this server's token"
    asked = {"WWW-Authenticate": "Bearer"}
    return error_response(401, message, "authentication_error", code="invalid_api_key", headers=asked)


def _login_page(request: Request, message: str = "", status: int = 200) -> Response:
    page = LOGIN_PAGE.format(action=escape(_root(request.scope) + LOGIN), message=escape(message))
    return HTMLResponse(page, status, {"Cache-Control": "no-store"})


def _root(scope: Scope) -> str:
    root: str = scope.get("root_path", "")
    return root.rstrip("/")


def path_below_root(scope: Scope) -> str:
    """The path below the prefix under which a proxy offers the server."""
    path: str = scope["path"]
    return path.removeprefix(_root(scope)) or "/"


def _equal(given: str, expected: str) -> bool:
    """Compare in a time that doesn't reveal how much is right."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())
