"""Addresses of the page's files that tell nothing of the server's folders."""

from __future__ import annotations

import json
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NAME = "/pictures"
"""What clients take the folder for."""
TOLD_IN = ("application/json", "text/event-stream")


class HiddenFolder:
    """ASGI middleware that gives Gradio's folder of files another name in all that its clients are told.

    Gradio tells the paths of its files, as such and as parts of addresses.

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
        headers = MutableHeaders(raw=list(scope["headers"]))
        # What is compressed can't be read here.
        del headers["accept-encoding"]
        await self.app({**scope, "headers": headers.raw}, receive, self._telling(send))

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
