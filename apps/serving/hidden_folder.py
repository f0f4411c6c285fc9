"""Addresses of the page's files that reveal nothing of the server's folders."""

from __future__ import annotations

import json
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NAME = "/pictures"
"""What clients take the folder for."""
REWRITTEN = ("application/json", "text/event-stream")


class HiddenFolder:
    """ASGI middleware that gives Gradio's folder of files another name in all that is sent to clients.

    Gradio sends the paths of its files, as such and as parts of addresses.
    """

    def __init__(self, app: ASGIApp, folder: str) -> None:
        self.app, self.folder = app, folder
        in_json = (json.dumps(folder, ensure_ascii=escaped)[1:-1] for escaped in (True, False))
        self._paths = {text.encode() for text in (*in_json, quote(folder))}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "/gradio_api/" not in scope["path"]:
            return await self.app(scope, receive, send)
        headers = MutableHeaders(raw=list(scope["headers"]))
        # What is compressed can't be read here.
        del headers["accept-encoding"]
        await self.app({**scope, "headers": headers.raw}, receive, self._renaming(send))

    def _renaming(self, send: Send) -> Send:
        renames = False

        async def rename(message: Message) -> None:
            nonlocal renames
            if message["type"] == "http.response.start":
                renames = Headers(raw=message["headers"]).get("content-type", "").startswith(REWRITTEN)
                if renames:
                    # The text is another, of another length.
                    del MutableHeaders(raw=message["headers"])["content-length"]
            elif renames:
                # An event, and a JSON document, comes as a whole.
                for path in self._paths:
                    message = {**message, "body": message.get("body", b"").replace(path, NAME.encode())}
            await send(message)

        return rename
