"""Behind a real nginx, set up as the page on serving says: all addresses are the proxy's, its port included."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from text2latent.apps.serving.engine import Engine
from text2latent.benchmarks.browsing import Visitor, browsing, find_browser
from text2latent.tests.apps.serving.conftest import serving

httpx = pytest.importorskip("httpx")
gradio_client = pytest.importorskip("gradio_client")
pytest.importorskip("gradio")

NGINX = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx here; apt-get install nginx-light")
TEXT = (Path(__file__).resolve().parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
PATIENCE = 60.0
BAD = 400
SETUP = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr error;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        {location}
    }}
}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def proxy(faces_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where nginx offers the page and the API."""
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    (location,) = re.findall(r"^    location /draw/ \{.*?^    \}", TEXT, re.DOTALL | re.MULTILINE)
    user = "user root;" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
    with serving(faces_engine, root_path="/draw") as address:
        assert "http://127.0.0.1:7860/" in location
        location = location.replace("http://127.0.0.1:7860/", f"{address}/")
        setup = SETUP.format(folder=folder, port=port, user=user, location=location)
        (folder / "nginx.conf").write_text(setup, encoding="utf-8")
        command = [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            wait_for(process, port)
            yield f"http://127.0.0.1:{port}/draw"
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)


def wait_for(process: subprocess.Popen[str], port: int) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, process.communicate()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.05)
        else:
            return


def test_images_of_the_api_are_at_the_proxys_address(proxy: str) -> None:
    with httpx.Client(timeout=600, trust_env=False) as client:
        answer = client.post(f"{proxy}/v1/images", json={"prompt": "a woman", "steps": 2})
        url = answer.json()["data"][0]["url"]
        assert url.startswith(f"{proxy}/v1/images/files/")
        assert client.get(url).headers["content-type"] == "image/png"
        assert client.get(f"{proxy}/config").json()["root"] == proxy


def test_functions_of_the_page_can_be_called_through_the_proxy(proxy: str, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "teal").save(tmp_path / "teal.png")
    client = gradio_client.Client(f"{proxy}/", verbose=False, analytics_enabled=False)
    try:
        picture = gradio_client.handle_file(str(tmp_path / "teal.png"))
        gallery, _ = client.predict(image=picture, prompt="", n=2, steps=2, api_name="/vary")
    finally:
        client.close()
    for item in gallery:
        with Image.open(item["image"]) as drawn:
            assert drawn.format == "PNG"


@pytest.mark.skipif(find_browser() is None, reason="no Chromium here; apt-get install chromium")
def test_the_page_shows_its_pictures_through_the_proxy(proxy: str) -> None:
    pytest.importorskip("playwright", reason="playwright of the extra [dev] is not installed")
    failed: list[str] = []
    with browsing() as browser, Visitor(browser, f"{proxy}/") as visitor:
        visitor.page.on("response", lambda answer: failed.append(answer.url) if answer.status >= BAD else None)
        visitor.page.reload()
        visitor.wait_until_ready()
        asked: list[str] = []
        visitor.page.on("request", lambda request: asked.append(request.url))
        visitor.draw("a woman with a hat")
        assert f"{proxy}/page/draw" in asked
        assert (failed, visitor.foreign) == ([], [])
