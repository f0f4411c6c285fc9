"""API and page as one application."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from text2latent.apps.serving.api import make_open_router, make_router
from text2latent.apps.serving.errors import install_handlers, install_page_handlers
from text2latent.apps.serving.guards import BodyLimit, TokenGuard
from text2latent.apps.serving.hosts import HostGuard
from text2latent.apps.serving.image_store import ImageStore
from text2latent.apps.serving.limits import MIB
from text2latent.apps.serving.live.stage import Stage
from text2latent.apps.serving.live.streams import make_live_router

if TYPE_CHECKING:
    from text2latent.apps.serving.engine import Engine
    from text2latent.apps.serving.page.visits import Visits

FORM_OVERHEAD = MIB
"""Bytes of a request beside its picture."""
DESCRIPTION = (
    "Images of a pretrained generator's domain from texts. Requests and answers are shaped as in OpenAI's images API; "
    "`seed`, `guidance_scale`, `steps`, `negative_prompt`, `truncation` and `rerank` come on top."
)


class NoSniff:
    """ASGI middleware that makes browsers take files for the type they are declared as."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                further = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin")]
                message = {**message, "headers": [*message.get("headers", []), *further]}
            await send(message)

        await self.app(scope, receive, add)


class Prefix:
    """ASGI middleware that gives the application the prefix under which a proxy offers it, such as `/draw`."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app, self.prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, "root_path": self.prefix}, receive, send)


def build_app(
    engine: Engine,
    token: str | None = None,
    page: bool = True,
    root_path: str = "",
    allowed_hosts: Sequence[str] = (),
    visits: Visits | None = None,
    stage: Stage | None = None,
) -> FastAPI:
    """The application.

    Args:
        token: what requests have to bring; None asks for none.
        page: offer the page at `/`, not only the API.
        root_path: prefix under which a proxy offers the server, such as `/draw`.
        allowed_hosts: names that the server is asked under, beside those of its own machine, see `HostGuard`.
        visits: of the page; None makes them.
        stage: of live streams; None makes one without a shared picture.
    """
    middleware = [Middleware(NoSniff), Middleware(HostGuard, allowed_hosts)]
    middleware += [Middleware(BodyLimit, engine.limits.max_upload_bytes + FORM_OVERHEAD)]
    if token is not None:
        middleware.append(Middleware(TokenGuard, token))
    if root_path:
        middleware.insert(0, Middleware(Prefix, root_path))
    # FastAPI's own pages for readers of the document load their scripts from other servers.
    app = FastAPIOffline(
        redoc_url=None,
        title="text2latent",
        version=version("text2latent"),
        description=DESCRIPTION,
        middleware=middleware,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    install_handlers(app)
    store = ImageStore()
    # The guard asks for the token; this documents it for readers and clients of the OpenAPI documents.
    asked = [] if token is None else [Depends(HTTPBearer(auto_error=False, description="The server's token."))]
    app.include_router(make_router(engine, store), dependencies=asked)
    app.include_router(make_live_router(stage or Stage(engine)), dependencies=asked)
    app.include_router(make_open_router(engine, store))
    return _mount_page(app, engine, root_path, visits) if page else app


def _page_folder() -> str:
    # Gradio counts its users unless that is turned off.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    from gradio.utils import get_upload_folder

    return os.path.abspath(get_upload_folder())


def _mount_page(app: FastAPI, engine: Engine, root_path: str, visits: Visits | None) -> FastAPI:
    folder, most = _page_folder(), engine.limits.max_upload_bytes
    import gradio

    from text2latent.apps.serving.gate import Gate
    from text2latent.apps.serving.page import build_endpoints, make_page_router, make_static_router
    from text2latent.apps.serving.page.visits import Visits
    from text2latent.apps.serving.visitor_files import UPLOADS_OF_A_CLIENT, Uploads

    visits, uploads = visits or Visits(), Uploads(UPLOADS_OF_A_CLIENT * most)
    app.include_router(make_page_router(engine))
    app.include_router(make_static_router())
    page = build_endpoints(engine, visits, uploads)
    # Gradio looks at the places of files only for pages that it believes to be launched.
    page.has_launched = True
    gradio.mount_gradio_app(
        app,
        page,
        "/",
        root_path=root_path or None,
        show_error=False,
        max_file_size=most,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        run_history=False,
    )
    # What is mounted at `/` would be asked before other routes say that only the method is wrong.
    (mount,) = (route for route in app.routes if isinstance(route, Mount) and isinstance(route.app, FastAPI))
    app.router.routes.remove(mount)
    app.router.default = Gate(mount.app, folder, uploads, visits, most)
    assert isinstance(mount.app, FastAPI)
    install_page_handlers(mount.app)
    return app
