"""What clients see of the folder of the page's files, and what the page takes back."""

from __future__ import annotations

import io
import json
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="fastapi of the extra [serve] is not installed")
pytest.importorskip("httpx")

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from text2latent.apps.serving.hidden_folder import NAME, HiddenFolder
from text2latent.tests.apps.serving.running import result_of
from text2latent.tests.apps.serving.test_page import PATIENCE, SETTINGS, TEXT

FOLDERS = ["/var/tmp/some one/gradio", "/tmp/絵/gradio", r"C:\Users\someone\gradio"]


def client_of(folder: str, answer: Response | None = None) -> TestClient:
    async def serve_file(request: Request) -> Response:
        assert answer is not None
        return answer

    routes = [
        Route("/gradio_api/files", serve_file),
        Route("/files", serve_file),
    ]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(HiddenFolder, folder)]))


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("escapes", [True, False])
def test_documents_and_events_tell_another_name(folder: str, escapes: bool) -> None:
    file = {"path": f"{folder}/a.png", "url": f"http://host/file={quote(folder)}/a.png", "label": "絵"}
    hidden = {"path": f"{NAME}/a.png", "url": f"http://host/file={NAME}/a.png", "label": "絵"}
    text = json.dumps(file, ensure_ascii=escapes)
    answer = client_of(folder, Response(text, media_type="application/json")).get("/gradio_api/files")
    assert answer.json() == hidden
    events = StreamingResponse(iter([f"data: {text}\n\n"] * 2), media_type="text/event-stream")
    lines = client_of(folder, events).get("/gradio_api/files").text.split("\n\n")
    assert [json.loads(line.removeprefix("data: ")) for line in lines[:2]] == [hidden, hidden]


def test_pictures_and_other_addresses_stay_as_they_are() -> None:
    data = b"\x89PNG /srv/files " * 9
    picture = client_of("/srv/files", Response(data, media_type="image/png")).get("/gradio_api/files")
    assert (picture.content, picture.headers["content-length"]) == (data, str(len(data)))
    assert client_of("/srv/files", Response(data, media_type="application/json")).get("/files").content == data


def test_the_page_tells_no_folder_and_takes_its_own_files_back(page_address: str) -> None:
    pytest.importorskip("gradio")
    from gradio.utils import get_upload_folder

    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "gray").save(picture, "PNG")
    with httpx.Client(base_url=page_address, timeout=PATIENCE, trust_env=False) as client:
        page = client.get("/").text + client.get("/config").text + client.get("/gradio_api/info").text
        uploaded = client.post("/gradio_api/upload", files={"files": ("mine.png", picture.getvalue(), "image/png")})
        settings = {**SETTINGS, "n": 1}
        drawn = result_of(client, "draw", [TEXT, *settings.values()])
        mine = {"path": uploaded.json()[0], "meta": {"_type": "gradio.FileData"}}
        varied = result_of(client, "vary", [mine, "", 0.5, *settings.values()])
        refused = client.get(f"/gradio_api/file={NAME}/../../etc/passwd")
        assert client.get(f"/gradio_api/file={uploaded.json()[0]}").content == picture.getvalue()
        for text in (page, uploaded.text, drawn, varied, refused.text):
            assert str(Path(get_upload_folder())) not in text
        for events in (drawn, varied):
            assert "event: complete" in events
            (gallery, *_) = json.loads(events.rpartition("data: ")[2])
            file = gallery[0]["image"]
            assert file["path"].startswith(f"{NAME}/")
            assert file["url"] == f"{page_address}/gradio_api/file={file['path']}"
            with Image.open(io.BytesIO(client.get(file["url"]).content)) as shown:
                assert shown.size == (128, 128)
        assert refused.status_code in (403, 404)
