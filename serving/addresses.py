"""Addresses of the page's files that tell nothing of the server's folders."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NAME = "/pictures"
"""What clients take the folder for."""
TOLD_IN = ("application/json", "text/event-stream")


class HiddenFolder:
    """ASGI middleware that gives Gradio's folder of files another name in all that its clients are told and tell.

    Gradio tells the paths of its files, as such and as parts of addresses, and takes them back in JSON as `path`.

    Args:
        app: what knows the folder.
        folder: its path.
    """

    def __init__(self, app: ASGIApp, folder: str) -> None:
        self.app, self.folder = app, folder
        in_json = (json.dumps(folder, ensure_ascii=escaped)[1:-1] for escaped in (True, False))
        self._told = {text.encode() for text in (*in_json, quote(folder))}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or "/gradio_api/" not in scope["path"]:
            return await self.app(scope, receive, send)
        scope = {**scope, "path": scope["path"].replace(f"/file={NAME}/", f"/file={self.folder}/", 1)}
        headers = MutableHeaders(scope=scope)
        # What is compressed can't be read here.
        del headers["accept-encoding"]
        if headers.get("content-type", "").startswith("application/json"):
            try:
                body = self._heard(await Request(scope, receive).body())
            except ClientDisconnect:
                return
            headers["content-length"] = str(len(body))
            receive = _first({"type": "http.request", "body": body}, receive)
        await self.app(scope, receive, self._telling(send))

    def _heard(self, body: bytes) -> bytes:
        if NAME.encode() not in body:
            return body
        try:
            return json.dumps(self._with_folder(json.loads(body))).encode()
        except (ValueError, RecursionError):
            return body

    def _with_folder(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._with_folder(one) for one in value]
        if isinstance(value, dict):
            value = {key: self._with_folder(one) for key, one in value.items()}
            path = value.get("path")
            if isinstance(path, str) and path.startswith(NAME):
                value["path"] = self.folder + path.removeprefix(NAME)
        return value

    def _telling(self, send: Send) -> Send:
        tells = False

        async def tell(message: Message) -> None:
            nonlocal tells
            if message["type"] == "http.response.start":
                tells = Headers(raw=message["headers"]).get("content-type", "").startswith(TOLD_IN)
                if tells:
                    # The text is another, of another length.
                    del MutableHeaders(raw=message["headers"])["content-length"]
            elif tells:
                # An event, and a JSON document, comes as a whole.
                for told in self._told:
                    message = {**message, "body": message.get("body", b"").replace(told, NAME.encode())}
            await send(message)

        return tell


def _first(message: Message, receive: Receive) -> Receive:
    """A channel that gives a message before all others."""
    waiting = [message]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message
