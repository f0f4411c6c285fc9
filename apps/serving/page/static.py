"""The page's own files: its document, style sheets and scripts."""

from __future__ import annotations

import hashlib
import mimetypes
from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

FOLDER = "/page"
DOCUMENT = "index.html"
SHARED = ("checksum.js", "elements.js", "memory.js", "translation.js")
"""Scripts of the page that runs without a server, of which this one has the base of its style and its icon, too."""
READING = ["GET", "HEAD"]
POLICY = "default-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'none'"
"""Nothing is asked of other servers. Frames are allowed, as on a Hugging Face Space."""


def read_files() -> dict[str, bytes]:
    """The page's files by name; style sheets and scripts lie in one folder for browsers."""
    own = files("text2latent.apps.serving.page").joinpath("site")
    shared = files("text2latent.apps.exports.web").joinpath("site")
    scripts = [*own.joinpath("scripts").iterdir(), *(shared.joinpath("scripts").joinpath(name) for name in SHARED)]
    there = [*own.iterdir(), *scripts, shared.joinpath("base.css"), shared.joinpath("icon.svg")]
    return {file.name: file.read_bytes() for file in there if file.is_file()}


def make_static_router() -> APIRouter:
    """The page at `/`, and its files below `/page/`, found by their names in memory."""
    router, site = APIRouter(include_in_schema=False), read_files()

    @router.api_route("/", methods=READING)
    def document(request: Request) -> Response:
        # Addresses in the document are relative to its own, under whatever prefix a proxy offers it.
        return answer(request, DOCUMENT)

    @router.api_route(f"{FOLDER}/{{name}}", methods=READING)
    def file(request: Request, name: str) -> Response:
        if name not in site or name == DOCUMENT:
            raise HTTPException(404)
        return answer(request, name)

    def answer(request: Request, name: str) -> Response:
        tag = f'"{hashlib.sha256(site[name]).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0]
        return Response(site[name], media_type=kind, headers=headers)

    return router
